//! A part of a file in a response's body. Its descriptor passes to the edge, or its bytes are read here.

use rustix::buffer::spare_capacity;
use rustix::io::{Errno, pread};

use super::{Phase, Stalled, Stream};
use crate::credit::{FILE_COST, piece_cost};
use crate::frame::DATA_MAX;
use crate::from_worker::FromWorker;
use crate::outbox::{FileOut, Outbox};

impl<B: AsRef<[u8]>> Stream<B> {
    /// Moves the waiting part, or one piece of it.
    pub(super) fn pump_file(&mut self, out: &mut Outbox) -> Stalled {
        let Some(file) = &mut self.file else { return Stalled::No };
        if out.is_full() {
            return Stalled::Outbox;
        }
        let is_end = self.phase == Phase::Closed && !self.has_trailers;
        if self.passes_files {
            if !self.window.spend(FILE_COST) {
                return Stalled::Window;
            }
            self.ended = is_end;
            if let Some(file) = self.file.take() {
                out.push_file(is_end, self.id, file);
            }
        } else {
            let len = (DATA_MAX.min(self.window.room()) as u64).min(file.len) as usize;
            if len == 0 {
                return Stalled::Window;
            }
            let piece = match read(file, len) {
                Ok(piece) if !piece.is_empty() => piece,
                // The file is shorter than it was, or cannot be read: the response cannot be completed.
                Ok(_) | Err(_) => {
                    self.file = None;
                    self.trailers = None;
                    self.phase = Phase::Closed;
                    self.ended = true;
                    out.push(&FromWorker::AppFailed { stream: self.id });
                    return Stalled::No;
                }
            };
            let has_spent = self.window.spend(piece_cost(piece.len()));
            debug_assert!(has_spent, "invariant: a piece is cut to the window");
            file.offset += piece.len() as u64;
            file.len -= piece.len() as u64;
            let is_last = file.len == 0;
            self.ended = is_last && is_end;
            out.push_body(self.ended, self.id, &piece);
            if !is_last {
                return Stalled::No;
            }
            self.file = None;
        }
        if self.phase == Phase::Closed
            && let Some(block) = self.trailers.take()
        {
            self.trailers(block, out);
        }
        Stalled::No
    }
}

/// Reads at most `len` bytes of a part of a file.
fn read(file: &FileOut, len: usize) -> Result<Vec<u8>, Errno> {
    let mut piece = Vec::with_capacity(len);
    loop {
        match pread(&file.descriptor, spare_capacity(&mut piece), file.offset) {
            Ok(_) => {
                piece.truncate(len);
                return Ok(piece);
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}
