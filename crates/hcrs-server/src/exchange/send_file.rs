//! Sending files by `sendfile(2)`: from the page cache into the socket, without a copy in this process.

use std::fs::File;
use std::io;
use std::task::{Context, Poll};

use tokio_rustls::server::TlsStream;

/// An I/O that may be able to send a file's bytes directly.
pub(crate) trait SendFile {
    /// Whether files can be sent directly. Data to be encrypted has to be read.
    fn sends_files(&self) -> bool {
        false
    }

    /// Ready when [`SendFile::try_send_file`] is worth a try.
    fn poll_room(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Sends at most `len` bytes from `offset` on, as many as fit; none if the file has no more.
    fn try_send_file(&mut self, _file: &File, _offset: u64, _len: usize) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl<T> SendFile for TlsStream<T> {}

#[cfg(test)]
impl SendFile for tokio::io::DuplexStream {}
