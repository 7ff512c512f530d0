//! The encoders that the connections of one thread share.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;

use crate::coding::Coding;
use crate::encoder::{
    AnyEncoder, BrotliEncoder, EncodeError, GzipEncoder, GzipWhole, Then, ZstdEncoder, ZstdWhole,
};

/// The size of a body up to which it is encoded as a whole, in bytes.
pub const WHOLE_MAX: usize = 64 << 10;

/// The most bytes that are encoded in one step. It takes at most 0.4 ms, after which other connections get their turn.
pub const STEP_MAX: usize = 64 << 10;

/// The number of bytes that a thread encodes in a turn, to within one step.
const PER_TURN: usize = 64 << 10;

/// The number of streams that a thread encodes at a time. An encoder has at most 0.75 MiB.
const THREAD_MAX: usize = 128;

/// The number of streams of one connection that are encoded at a time.
const CONNECTION_MAX: usize = 16;

/// The number of encoders of each coding that are kept for later streams.
const SPARES: usize = 4;

/// The capacity above which the buffer is freed after a step, in bytes.
const KEPT_BUFFER: usize = 256 << 10;

/// The encoders of a thread: those that are kept for later, and the number of those that streams have.
///
/// It takes no memory until a body is encoded, and then, at rest, at most 5 MiB.
#[derive(Default)]
pub struct Encoders {
    /// The number of streams that have an encoder.
    streams: Cell<usize>,
    /// The number of bytes that were encoded in this turn.
    encoded: Cell<usize>,
    zstd: RefCell<Vec<ZstdEncoder>>,
    gzip: RefCell<Vec<GzipEncoder>>,
    zstd_whole: RefCell<Option<ZstdWhole>>,
    gzip_whole: RefCell<Option<GzipWhole>>,
    buffer: RefCell<Vec<u8>>,
}

impl Encoders {
    /// Begins a turn, with a new share of bytes that may be encoded in it.
    pub fn begin_turn(&self) {
        self.encoded.set(0);
    }

    /// Whether the turn's share is used up.
    pub fn has_used_its_share(&self) -> bool {
        self.encoded.get() >= PER_TURN
    }

    /// Returns the number of streams that have an encoder.
    pub fn streams(&self) -> usize {
        self.streams.get()
    }

    /// Returns a whole body in this coding; `None` if it does not become shorter by it.
    pub fn encode_whole(&self, coding: Coding, body: &[u8]) -> Option<Vec<u8>> {
        self.count(body.len());
        self.with_buffer(|out| {
            let outcome = match coding {
                Coding::Zstd => {
                    let mut whole = self.zstd_whole.borrow_mut();
                    if whole.is_none() {
                        *whole = ZstdWhole::new();
                    }
                    whole.as_mut()?.encode(body, out)
                }
                Coding::Brotli => BrotliEncoder::new(Some(body.len())).encode(body, Then::Finish, out),
                Coding::Gzip => {
                    self.gzip_whole.borrow_mut().get_or_insert_with(GzipWhole::new).encode(body, out)
                }
            };
            (outcome.is_ok() && out.len() < body.len()).then(|| out.as_slice().to_vec())
        })
    }

    /// Frees the encoders and buffers that are kept for later.
    pub fn release_spares(&self) {
        self.zstd.borrow_mut().clear();
        self.gzip.borrow_mut().clear();
        self.zstd_whole.take();
        self.gzip_whole.take();
        self.buffer.take();
    }

    fn encoder(&self, coding: Coding) -> Option<AnyEncoder> {
        Some(match coding {
            Coding::Zstd => {
                let spare = self.zstd.borrow_mut().pop();
                AnyEncoder::Zstd(match spare {
                    Some(encoder) => encoder,
                    None => ZstdEncoder::new()?,
                })
            }
            Coding::Brotli => AnyEncoder::Brotli(Box::new(BrotliEncoder::new(None))),
            Coding::Gzip => AnyEncoder::Gzip(self.gzip.borrow_mut().pop().unwrap_or_else(GzipEncoder::new)),
        })
    }

    /// Keeps an encoder for later, in whatever state it is.
    fn keep(&self, encoder: AnyEncoder) {
        match encoder {
            AnyEncoder::Zstd(mut encoder) => {
                let mut spares = self.zstd.borrow_mut();
                if spares.len() < SPARES && encoder.reset() {
                    spares.push(encoder);
                }
            }
            AnyEncoder::Brotli(_) => {}
            AnyEncoder::Gzip(mut encoder) => {
                let mut spares = self.gzip.borrow_mut();
                if spares.len() < SPARES {
                    encoder.reset();
                    spares.push(encoder);
                }
            }
        }
    }

    fn count(&self, len: usize) {
        self.encoded.set(self.encoded.get() + len);
    }

    /// Calls a closure with the buffer that is encoded into, which is empty.
    fn with_buffer<T>(&self, encode: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        let mut buffer = self.buffer.borrow_mut();
        buffer.clear();
        let result = encode(&mut buffer);
        buffer.clear();
        buffer.shrink_to(KEPT_BUFFER);
        result
    }
}

impl fmt::Debug for Encoders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoders").field("streams", &self.streams.get()).finish_non_exhaustive()
    }
}

/// The encoders as one connection may use them.
#[derive(Debug)]
pub struct ConnectionEncoders {
    thread: Rc<Encoders>,
    streams: Cell<usize>,
}

impl ConnectionEncoders {
    /// Returns the encoders for a connection of the thread.
    pub fn new(thread: Rc<Encoders>) -> Self {
        Self { thread, streams: Cell::new(0) }
    }

    /// Returns those of the thread.
    pub fn of_thread(&self) -> &Encoders {
        &self.thread
    }

    /// Returns an encoder for a stream; `None` if the connection or the thread has as many as it may.
    pub fn begin(self: &Rc<Self>, coding: Coding) -> Option<Encoder> {
        if self.streams.get() == CONNECTION_MAX || self.thread.streams.get() == THREAD_MAX {
            return None;
        }
        let encoder = self.thread.encoder(coding)?;
        self.streams.set(self.streams.get() + 1);
        self.thread.streams.set(self.thread.streams.get() + 1);
        Some(Encoder { encoder: Some(encoder), of: Rc::clone(self) })
    }
}

/// The encoder of one stream. Dropping it returns it.
#[derive(Debug)]
pub struct Encoder {
    /// The encoder; `None` once the stream is complete.
    encoder: Option<AnyEncoder>,
    of: Rc<ConnectionEncoders>,
}

impl Encoder {
    /// Encodes the next pieces of the body, of at most [`STEP_MAX`] bytes, the last ones if `end`. The client can
    /// decode all bytes so far by what is returned.
    pub fn step(&mut self, pieces: &[impl AsRef<[u8]>], end: bool) -> Result<Vec<u8>, EncodeError> {
        let Some(encoder) = &mut self.encoder else { return Ok(Vec::new()) };
        let last = if end { Then::Finish } else { Then::Flush };
        let pieces = || pieces.iter().map(AsRef::as_ref).filter(|piece| !piece.is_empty());
        let count = pieces().count();
        let thread = &self.of.thread;
        let outcome = thread.with_buffer(|out| {
            for (n, piece) in pieces().enumerate() {
                thread.count(piece.len());
                encoder.encode(piece, if n + 1 == count { last } else { Then::More }, out)?;
            }
            if count == 0 && end {
                encoder.encode(&[], last, out)?;
            }
            Ok(out.as_slice().to_vec())
        });
        if end {
            self.return_encoder();
        }
        outcome
    }

    fn return_encoder(&mut self) {
        if let Some(encoder) = self.encoder.take() {
            let (connection, thread) = (&self.of, &self.of.thread);
            connection.streams.set(connection.streams.get() - 1);
            thread.streams.set(thread.streams.get() - 1);
            thread.keep(encoder);
        }
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        self.return_encoder();
    }
}

#[cfg(test)]
mod tests;
