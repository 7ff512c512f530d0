//! Reads from a link's socket into an inbox, and writes from an outbox.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;

use hcrs_link::{Inbox, Outbox};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recv, send, sendmsg};

/// Bytes that are read in one turn of the loop, so that other callbacks get their turn.
pub(crate) const TURN: usize = 256 << 10;

/// The outcome of a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Received {
    /// Bytes were read.
    Some,
    /// There is nothing to read at present.
    Nothing,
    /// The edge is gone.
    Eof,
}

/// Reads once, at most the bytes of a turn or those that an unfinished frame needs.
pub(crate) fn receive(inbox: &mut Inbox, socket: impl AsFd, flags: RecvFlags) -> io::Result<Received> {
    loop {
        return match recv(&socket, &mut *inbox.room(), flags) {
            Ok((_, 0)) | Err(Errno::CONNRESET) => Ok(Received::Eof),
            Ok((_, len)) => {
                inbox.filled(len);
                Ok(Received::Some)
            }
            Err(Errno::INTR) => continue,
            Err(Errno::AGAIN) => Ok(Received::Nothing),
            Err(error) => Err(error.into()),
        };
    }
}

/// Writes as much as the socket takes. The error `WouldBlock` means that bytes are left.
pub(crate) fn write(outbox: &mut Outbox, socket: impl AsFd) -> io::Result<()> {
    const FLAGS: SendFlags = SendFlags::DONTWAIT.union(SendFlags::NOSIGNAL);
    while !outbox.is_empty() {
        let pending = outbox.pending();
        let sent = match pending.descriptor {
            None => send(&socket, pending.bytes, FLAGS),
            Some(descriptor) => {
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
                let mut control = SendAncillaryBuffer::new(&mut space);
                let descriptors = [descriptor];
                let has_room = control.push(SendAncillaryMessage::ScmRights(&descriptors));
                debug_assert!(has_room, "invariant: the buffer is made for one descriptor");
                sendmsg(&socket, &[IoSlice::new(pending.bytes)], &mut control, FLAGS)
            }
        };
        match sent {
            Ok(len) => outbox.wrote(len),
            Err(Errno::INTR) => {}
            Err(error) => {
                outbox.compact();
                return Err(error.into());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::unix::net::UnixStream;

    use hcrs_link::{FromWorker, StreamId};

    use super::*;

    #[test]
    fn an_empty_socket_gives_nothing() {
        let (near, _far) = UnixStream::pair().unwrap();
        let mut inbox = Inbox::new(TURN);
        assert_eq!(receive(&mut inbox, &near, RecvFlags::DONTWAIT).unwrap(), Received::Nothing);
    }

    #[test]
    fn what_the_socket_does_not_take_waits_and_leaves_in_order() {
        let (near, mut far) = UnixStream::pair().unwrap();
        let mut out = Outbox::default();
        let body: Vec<u8> = (0..=255).cycle().take(64 << 10).collect();
        let mut expected = Vec::new();
        for number in 1..40 {
            let frame = FromWorker::Data { stream: StreamId::new(number).unwrap(), bytes: &body, end: false };
            frame.write(&mut expected);
            out.push(&frame);
        }
        let mut seen = Vec::new();
        while write(&mut out, &near).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
            let mut piece = vec![0; 100_000];
            let len = far.read(&mut piece).unwrap();
            seen.extend_from_slice(&piece[..len]);
        }
        drop(near);
        far.read_to_end(&mut seen).unwrap();
        assert!(seen == expected);
    }
}
