//! The process that has started the edge to serve an app of its own (an embedding program), in place of workers.
//!
//! Both hold an end of a socket that preserves message boundaries (`SOCK_SEQPACKET`); the edge's is its
//! standard input. The edge sends `link N` with a link's socket and memory as descriptors, `N` being the
//! number of such messages; `running` with the listeners' addresses, one a line; or `failed ERRNO` with the
//! reason in the following lines. Any message of the embedder means: drain and exit. The end of the socket
//! means that the embedder is gone.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketType, sockopt};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// The most bytes of a failure's text that are sent; a longer one is cut.
const FAILURE_MAX: usize = 64 << 10;

/// The edge's end of the socket.
#[derive(Debug)]
pub struct Embedder {
    socket: OwnedFd,
    pid: Pid,
}

/// An event at the embedder's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EmbedderEvent {
    /// The embedder wants the edge to drain and exit.
    Stop,
    /// The embedder has closed the socket, or ended.
    Gone,
}

impl Embedder {
    /// Takes the socket over from standard input.
    pub fn at_stdin() -> io::Result<Self> {
        let socket = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
        if sockopt::socket_type(&socket).ok() != Some(SocketType::SEQPACKET) {
            let why = "standard input is not the socket of a program that embeds the server";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let pid = sockopt::socket_peercred(&socket)?.pid;
        Ok(Self { socket, pid })
    }

    /// Notifies the embedder of why the edge does not run. `code` is the system's error number, if there is
    /// one.
    pub fn failed(&self, code: Option<i32>, why: &str) {
        let mut end = why.len().min(FAILURE_MAX);
        while !why.is_char_boundary(end) {
            end -= 1;
        }
        self.send(&format!("failed {}\n{}", code.unwrap_or(0), &why[..end]));
    }

    /// Notifies the embedder that clients are served, and at which addresses.
    pub(crate) fn running(&self, addresses: &[String]) {
        self.send(&format!("running\n{}", addresses.join("\n")));
    }

    /// Errors are ignored: an embedder that does not read has gone, which `watch` notices.
    fn send(&self, message: &str) {
        let _gone =
            rustix::net::send(&self.socket, message.as_bytes(), SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
    }

    /// Returns the embedder's process id.
    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Sends a link's descriptors, one of `count` links.
    pub(crate) fn pass_link(&self, count: usize, socket: &OwnedFd, memory: &OwnedFd) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let descriptors = [socket.as_fd(), memory.as_fd()];
        if !ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)) {
            return Err(io::Error::other("a link's descriptors do not fit into a message"));
        }
        let text = format!("link {count}");
        let text = [IoSlice::new(text.as_bytes())];
        rustix::net::sendmsg(&self.socket, &text, &mut ancillary, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// Starts a thread that calls `notify` with each event of the embedder, until it is gone.
    pub(crate) fn watch(&self, notify: impl Fn(EmbedderEvent) + Send + 'static) -> io::Result<()> {
        let socket = self.socket.try_clone()?;
        // Programs that the embedder has forked hold its end of the socket open after its death.
        let process = pidfd_open(self.pid, PidfdFlags::empty()).ok();
        std::thread::Builder::new().name("embedder".to_owned()).spawn(move || {
            while wait(&socket, process.as_ref()).is_ok_and(|event| event == EmbedderEvent::Stop) {
                notify(EmbedderEvent::Stop);
            }
            notify(EmbedderEvent::Gone);
        })?;
        Ok(())
    }
}

/// Waits for a message from the embedder, or its end.
fn wait(socket: &OwnedFd, process: Option<&OwnedFd>) -> io::Result<EmbedderEvent> {
    let watched = [Some(socket), process].into_iter().flatten();
    let mut watched: Vec<_> = watched.map(|descriptor| PollFd::new(descriptor, PollFlags::IN)).collect();
    loop {
        match poll(&mut watched, None) {
            Err(Errno::INTR) => continue,
            polled => polled?,
        };
        if watched[0].revents().is_empty() {
            return Ok(EmbedderEvent::Gone); // it was the process
        }
        return match rustix::net::recv(socket, &mut [0; 64][..], RecvFlags::DONTWAIT) {
            Ok((_, 0)) => Ok(EmbedderEvent::Gone),
            Ok(_) => Ok(EmbedderEvent::Stop),
            Err(Errno::INTR | Errno::AGAIN) => continue,
            Err(error) => Err(error.into()),
        };
    }
}

#[cfg(test)]
mod tests {
    use std::mem::MaybeUninit;
    use std::sync::mpsc;
    use std::time::Duration;

    use rustix::net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, ReturnFlags, SocketFlags, recvmsg,
        socketpair,
    };

    use super::*;

    fn pair() -> (Embedder, OwnedFd) {
        let (socket, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        (Embedder { socket, pid: rustix::process::getpid() }, theirs)
    }

    /// Returns the next message, and the number of descriptors that came with it.
    fn receive(socket: &OwnedFd) -> (String, usize) {
        let mut text = vec![0; 128 << 10];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [io::IoSliceMut::new(&mut text)];
        let received = recvmsg(socket, &mut parts, &mut ancillary, RecvFlags::empty()).unwrap();
        assert!(!received.flags.contains(ReturnFlags::TRUNC | ReturnFlags::CTRUNC));
        let descriptors = ancillary.drain().map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => descriptors.count(),
            _ => 0,
        });
        let descriptors = descriptors.sum();
        text.truncate(received.bytes);
        (String::from_utf8(text).unwrap(), descriptors)
    }

    #[test]
    fn a_link_comes_with_its_descriptors() {
        let (embedder, theirs) = pair();
        let (socket, memory) = (theirs.try_clone().unwrap(), theirs.try_clone().unwrap());
        embedder.pass_link(3, &socket, &memory).unwrap();
        assert_eq!(receive(&theirs), ("link 3".to_owned(), 2));
    }

    #[test]
    fn the_edges_outcome_is_sent_as_lines() {
        let (embedder, theirs) = pair();
        embedder.running(&["http://127.0.0.1:1".to_owned(), "https://[::1]:2".to_owned()]);
        assert_eq!(receive(&theirs).0, "running\nhttp://127.0.0.1:1\nhttps://[::1]:2");
        embedder.failed(Some(98), "cannot listen");
        assert_eq!(receive(&theirs).0, "failed 98\ncannot listen");
        embedder.failed(None, &"ü".repeat(FAILURE_MAX));
        let (text, _) = receive(&theirs);
        assert_eq!(text.len(), "failed 0\n".len() + FAILURE_MAX);
        drop(theirs);
        embedder.failed(None, "it is not read");
    }

    #[test]
    fn the_embedder_is_heard_until_it_closes_the_socket() {
        let (embedder, theirs) = pair();
        let (notify, events) = mpsc::channel();
        embedder.watch(move |event| notify.send(event).unwrap()).unwrap();
        let next = || events.recv_timeout(Duration::from_secs(10));
        for _ in 0..2 {
            rustix::net::send(&theirs, b"stop", SendFlags::empty()).unwrap();
            assert_eq!(next(), Ok(EmbedderEvent::Stop));
        }
        drop(theirs);
        assert_eq!(next(), Ok(EmbedderEvent::Gone));
        assert!(next().is_err(), "it is reported once");
    }

    #[test]
    fn the_end_of_the_embedders_process_is_heard_while_another_holds_the_socket() {
        let (mut embedder, _held) = pair();
        let mut child =
            std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        embedder.pid = Pid::from_raw(child.id().cast_signed()).unwrap();
        let (notify, events) = mpsc::channel();
        embedder.watch(move |event| notify.send(event).unwrap()).unwrap();
        drop(child.stdin.take());
        assert_eq!(events.recv_timeout(Duration::from_secs(10)), Ok(EmbedderEvent::Gone));
        child.wait().unwrap();
    }
}
