//! Notices that a client has closed its connection without reading what it has sent before.

use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio_rustls::server::TlsStream;

/// An I/O that shows whether its peer has closed.
pub(crate) trait Hangup {
    /// Whether the peer has closed its side or reset the connection, even if there is more to be read.
    fn has_hung_up(&self) -> bool;
}

impl<T: Hangup> Hangup for TlsStream<T> {
    fn has_hung_up(&self) -> bool {
        self.get_ref().0.has_hung_up()
    }
}

/// Whether the peer of a socket has closed its side or reset the connection.
pub(crate) fn has_hung_up(socket: impl AsFd) -> bool {
    let mut sockets = [PollFd::new(&socket, PollFlags::RDHUP)];
    poll(&mut sockets, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
}

#[cfg(test)]
impl Hangup for tokio::io::DuplexStream {
    fn has_hung_up(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_close_shows_behind_bytes_that_were_not_read() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(b"unread").unwrap();
        assert!(!has_hung_up(&ours));
        theirs.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(has_hung_up(&ours));
    }
}
