//! A part of a file as the body of a response: read here, piece by piece as the client takes them, and never by a
//! worker, which only says which of its descriptors it is.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use bytes::Bytes;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::{Errno, ReadWriteFlags};

/// Bytes that are read at once: what a response holds of its file.
const PIECE: u64 = 64 << 10;

/// What is still to be sent of a file.
#[derive(Debug)]
pub(crate) struct FileBody {
    /// `None` if it could not be opened.
    file: Option<Arc<File>>,
    offset: u64,
    left: u64,
    /// The kernel can say whether a read would have to wait for the disk.
    tells_waits: bool,
    reading: Reading,
}

#[derive(Debug)]
enum Reading {
    No,
    /// A thread that may wait has been given the next piece.
    Away,
    Back(io::Result<Bytes>),
}

/// What comes next of a file.
#[derive(Debug)]
pub(crate) enum Next {
    /// These bytes.
    Piece(Bytes),
    /// They are being read elsewhere.
    Wait,
    /// They have to be read where one may wait.
    Read(Read),
    /// The file cannot be read, or is shorter than it was.
    Failed,
}

impl FileBody {
    /// Opens what the descriptor of a process stands for. The new descriptor lives on without that process.
    pub(crate) fn open(process: u32, descriptor: u32, offset: u64, len: u64) -> Self {
        let file = open(&format!("/proc/{process}/fd/{descriptor}"))
            .inspect_err(|error| tracing::warn!("cannot open the file of a response: {error}"));
        let file = file.ok().map(Arc::new);
        Self { file, offset, left: len, tells_waits: true, reading: Reading::No }
    }

    /// Bytes that are still to be read.
    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    /// Whether [`FileBody::next`] has to wait.
    pub(crate) fn is_away(&self) -> bool {
        matches!(self.reading, Reading::Away)
    }

    /// The next piece, if it can be had without waiting for the disk.
    pub(crate) fn next(&mut self) -> Next {
        let Some(file) = &self.file else { return Next::Failed };
        let outcome = match std::mem::replace(&mut self.reading, Reading::No) {
            Reading::Away => {
                self.reading = Reading::Away;
                return Next::Wait;
            }
            Reading::Back(outcome) => outcome,
            Reading::No => {
                let len = self.left.min(PIECE) as usize;
                let cached = if self.tells_waits { read_cached(file, self.offset, len) } else { Ok(None) };
                match cached {
                    Ok(Some(piece)) => Ok(piece),
                    Ok(None) => {
                        self.reading = Reading::Away;
                        return Next::Read(Read { file: Arc::clone(file), offset: self.offset, len });
                    }
                    Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => {
                        self.tells_waits = false;
                        return self.next();
                    }
                    Err(error) => Err(error.into()),
                }
            }
        };
        match outcome {
            Ok(piece) if piece.is_empty() => {
                tracing::warn!("the file of a response ended {} bytes early", self.left);
                Next::Failed
            }
            Ok(piece) => {
                self.offset += piece.len() as u64;
                self.left -= piece.len() as u64;
                Next::Piece(piece)
            }
            Err(error) => {
                tracing::warn!("cannot read the file of a response: {error}");
                Next::Failed
            }
        }
    }

    /// The piece that [`Next::Read`] asked for.
    pub(crate) fn came_back(&mut self, outcome: io::Result<Bytes>) {
        self.reading = Reading::Back(outcome);
    }
}

/// A read that may wait for the disk.
#[derive(Debug)]
pub(crate) struct Read {
    file: Arc<File>,
    offset: u64,
    len: usize,
}

impl Read {
    /// Reads; an empty piece means that the file has no more.
    pub(crate) fn run(self) -> io::Result<Bytes> {
        let mut piece = vec![0; self.len];
        loop {
            match self.file.read_at(&mut piece, self.offset) {
                Ok(len) => {
                    piece.truncate(len);
                    return Ok(piece.into());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Opens a regular file, without waiting for anything that is none.
fn open(path: &str) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = rustix::fs::open(path, flags, Mode::empty())?;
    if FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) != FileType::RegularFile {
        return Err(io::Error::other("it is no regular file"));
    }
    Ok(file.into())
}

/// What the page cache holds of a file; `None` if that is nothing.
fn read_cached(file: &File, offset: u64, len: usize) -> Result<Option<Bytes>, Errno> {
    let mut piece = vec![0; len];
    match rustix::io::preadv2(file, &mut [IoSliceMut::new(&mut piece)], offset, ReadWriteFlags::NOWAIT) {
        Ok(len) => {
            piece.truncate(len);
            Ok(Some(piece.into()))
        }
        Err(Errno::AGAIN | Errno::INTR) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek as _, Write as _};
    use std::os::fd::AsRawFd as _;

    use super::*;

    fn body(file: &File, offset: u64, len: u64) -> FileBody {
        FileBody::open(std::process::id(), file.as_raw_fd().cast_unsigned(), offset, len)
    }

    /// A file without a name that holds `bytes`.
    fn file_of(bytes: &[u8]) -> File {
        let memory = rustix::fs::memfd_create("file", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        let mut file = File::from(memory);
        file.write_all(bytes).unwrap();
        file
    }

    /// Reads to the end, or to a failure.
    fn drain(body: &mut FileBody) -> (Vec<u8>, bool) {
        let mut bytes = Vec::new();
        while body.left() > 0 {
            match body.next() {
                Next::Piece(piece) => {
                    assert!(piece.len() as u64 <= PIECE);
                    bytes.extend_from_slice(&piece);
                }
                Next::Read(read) => {
                    assert!(body.is_away() && matches!(body.next(), Next::Wait));
                    body.came_back(read.run());
                }
                Next::Wait => panic!("nothing is away"),
                Next::Failed => return (bytes, false),
            }
        }
        (bytes, true)
    }

    #[test]
    fn a_part_is_read_in_pieces_whether_the_kernel_tells_of_waits_or_not() {
        let bytes: Vec<u8> = (0..200_000u32).map(|n| (n % 251) as u8).collect();
        let file = file_of(&bytes);
        for tells_waits in [true, false] {
            let mut body = body(&file, 1000, 150_000);
            body.tells_waits = tells_waits;
            let (read, whole) = drain(&mut body);
            assert!(whole && read == bytes[1000..151_000]);
        }
    }

    #[test]
    fn the_place_of_the_descriptor_is_left_alone_and_its_end_does_not_matter() {
        let mut file = file_of(b"0123456789");
        file.rewind().unwrap();
        let mut body = body(&file, 2, 5);
        assert_eq!(file.stream_position().unwrap(), 0);
        drop(file);
        assert_eq!(drain(&mut body), (b"23456".to_vec(), true));
    }

    #[test]
    fn a_file_that_has_shrunk_fails() {
        let file = file_of(&[7; 100]);
        let mut body = body(&file, 0, 100);
        file.set_len(60).unwrap();
        assert_eq!(drain(&mut body), (vec![7; 60], false));
    }

    #[test]
    fn what_is_no_regular_file_is_not_opened() {
        let (near, _far) = io::pipe().unwrap();
        let mut body = FileBody::open(std::process::id(), near.as_raw_fd().cast_unsigned(), 0, 1);
        assert!(matches!(body.next(), Next::Failed));
        assert!(matches!(FileBody::open(std::process::id(), 999_999, 0, 1).next(), Next::Failed));
    }
}
