//! The listeners that a server passes to the process that succeeds it (SIGUSR2), so that no connection is
//! refused between the two.
//!
//! The successor is started with the sockets open, and with two variables: one that names the descriptors of
//! each configured address, and one with the descriptor of a pipe on which it reports that it serves.

use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

use rustix::io::{FdFlags, fcntl_setfd};
use socket2::Socket;

use crate::Bind;
use crate::bind::udp::BoundUdp;
use crate::bind::{BoundListener, adopt, adopt_datagrams, is_quic_name, quic_name};

/// The variable with the listeners: a line for each, of the descriptors, a space and the address.
pub const LISTENERS: &str = "_HCRS_LISTENERS";

/// The variable with the descriptor of the pipe.
pub(crate) const READY: &str = "_HCRS_READY";

/// The variable with the descriptor of the socket for datagrams of the predecessor's connections.
pub(crate) const DATAGRAMS: &str = "_HCRS_DATAGRAMS";

/// The most sockets that are taken over: more than a machine has cores and a server addresses.
const SOCKETS_MAX: usize = 4096;

/// The parts that a predecessor has passed; empty without one.
#[derive(Debug, Default)]
pub(crate) struct Inherited {
    listeners: Vec<InheritedListener>,
    ready: Option<OwnedFd>,
    /// The way for datagrams of the predecessor's connections.
    datagrams: Option<Socket>,
}

#[derive(Debug)]
struct InheritedListener {
    /// The address as it was configured.
    address: String,
    /// The sockets, of which each thread of the predecessor had one.
    sockets: Vec<Socket>,
}

impl Inherited {
    /// Takes over what the environment names. Call it once, before this process has opened descriptors that
    /// could have their numbers.
    pub(crate) fn take() -> io::Result<Self> {
        let variable = |name| std::env::var(name).ok();
        let (Some(listeners), Some(ready)) = (variable(LISTENERS), variable(READY)) else {
            return Ok(Self::default());
        };
        let mut inherited = Self::of(&listeners, &ready)?;
        if let Some(descriptor) = variable(DATAGRAMS).and_then(|descriptor| descriptor.parse().ok()) {
            inherited.datagrams = Some(adopt_descriptor(descriptor)?.into());
        }
        Ok(inherited)
    }

    fn of(listeners: &str, ready: &str) -> io::Result<Self> {
        let malformed = || io::Error::new(io::ErrorKind::InvalidInput, "the predecessor's list is malformed");
        let mut left = SOCKETS_MAX;
        let mut taken = Vec::new();
        for line in listeners.lines() {
            let (descriptors, address) = line.split_once(' ').ok_or_else(malformed)?;
            let mut sockets = Vec::new();
            for descriptor in descriptors.split(',') {
                left = left.checked_sub(1).ok_or_else(malformed)?;
                let descriptor = descriptor.parse().map_err(|_| malformed())?;
                sockets.push(if is_quic_name(address) {
                    adopt_datagrams(descriptor)
                } else {
                    adopt(descriptor)
                }?);
            }
            taken.push(InheritedListener { address: address.to_owned(), sockets });
        }
        let ready = adopt_descriptor(ready.parse().map_err(|_| malformed())?)?;
        Ok(Self { listeners: taken, ready: Some(ready), datagrams: None })
    }

    /// Returns the sockets of an address; none if the predecessor did not listen there.
    pub(crate) fn sockets(&mut self, bind: &Bind) -> Vec<Socket> {
        self.take_named(&bind.to_string())
    }

    /// Returns the sockets of an address for HTTP/3; none if the predecessor did not serve it there.
    pub(crate) fn quic_sockets(&mut self, bind: &Bind) -> Vec<Socket> {
        self.take_named(&quic_name(bind))
    }

    fn take_named(&mut self, address: &str) -> Vec<Socket> {
        let at = self.listeners.iter().position(|listener| listener.address == address);
        at.map(|at| self.listeners.swap_remove(at).sockets).unwrap_or_default()
    }

    /// Takes the way by which datagrams of the predecessor's connections are passed on to it.
    pub(crate) fn take_datagrams(&mut self) -> Option<Socket> {
        self.datagrams.take()
    }

    /// Returns the predecessor, if there is one.
    pub(crate) fn into_predecessor(self) -> Option<Predecessor> {
        self.ready.map(|pipe| Predecessor { pipe })
    }
}

/// The server that this one succeeds.
#[derive(Debug)]
pub(crate) struct Predecessor {
    pipe: OwnedFd,
}

impl Predecessor {
    /// Notifies it that this server accepts connections, at which it drains.
    pub(crate) fn relieve(self) {
        // It may have ended meanwhile.
        let _nobody_to_relieve = std::fs::File::from(self.pipe).write_all(b"ready");
    }
}

fn adopt_descriptor(fd: RawFd) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    #[expect(unsafe_code, reason = "an inherited descriptor is only a number until it is taken over")]
    // SAFETY: the borrowed descriptor only gets a flag, which fails if it is closed.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    fcntl_setfd(borrowed, FdFlags::CLOEXEC)?;
    #[expect(unsafe_code, reason = "an inherited descriptor is only a number until it is taken over")]
    // SAFETY: the predecessor passes the descriptor to this process, which takes it over once, and before it
    // has opened descriptors of its own that could have the number.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Returns the value of [`LISTENERS`] for these listeners and sockets for HTTP/3.
pub(crate) fn listed<'a>(
    listeners: impl Iterator<Item = &'a BoundListener>,
    quic: impl Iterator<Item = &'a BoundUdp>,
) -> String {
    let mut by_address: Vec<(&str, Vec<String>)> = Vec::new();
    let listeners = listeners.map(|listener| (listener.configured.as_str(), listener.as_fd()));
    let quic =
        quic.flat_map(|bound| bound.sockets.iter().map(|socket| (bound.configured.as_str(), socket.as_fd())));
    for (configured, socket) in listeners.chain(quic) {
        let descriptor = socket.as_raw_fd().to_string();
        match by_address.iter_mut().find(|(address, _)| *address == configured) {
            Some((_, descriptors)) => descriptors.push(descriptor),
            None => by_address.push((configured, vec![descriptor])),
        }
    }
    let lines: Vec<_> = by_address
        .into_iter()
        .map(|(address, descriptors)| format!("{} {address}", descriptors.join(",")))
        .collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::net::TcpStream;
    use std::os::fd::IntoRawFd as _;

    use super::*;
    use crate::bind::bind;
    use crate::bind::tests::settings;

    #[test]
    fn sockets_are_found_by_their_address_and_the_predecessor_is_relieved() {
        let folder = tempfile::tempdir().unwrap();
        let binds =
            vec![Bind::Tcp { host: "127.0.0.1".into(), port: 0 }, Bind::Unix(folder.path().join("a socket"))];
        let settings = settings(binds);
        let ours: Vec<_> = bind(&settings, 2, |_| Vec::new()).unwrap().into_iter().flatten().collect();
        let port = ours[0].port().unwrap();
        for listener in &ours {
            listener.listen(8).unwrap();
        }
        // Other numbers, as this process keeps its own.
        let passed: Vec<_> = ours.iter().map(|listener| listener.share().unwrap()).collect();
        let list = listed(passed.iter(), std::iter::empty());
        assert_eq!(list.lines().count(), 2);
        for listener in passed {
            let _left_open = OwnedFd::from(listener).into_raw_fd();
        }
        let (mut reader, writer) = io::pipe().unwrap();
        let ready = OwnedFd::from(writer).into_raw_fd();
        let mut inherited = Inherited::of(&list, &ready.to_string()).unwrap();
        let theirs = bind(&settings, 3, |bind| inherited.sockets(bind)).unwrap();
        drop(ours);
        assert_eq!(theirs.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 2]);
        assert_eq!(theirs[2][0].port(), Some(port), "more threads share what there is");
        TcpStream::connect(("127.0.0.1", port)).unwrap();
        inherited.into_predecessor().unwrap().relieve();
        let mut report = String::new();
        reader.read_to_string(&mut report).unwrap();
        assert_eq!(report, "ready");
    }

    #[test]
    fn a_list_that_names_no_sockets_is_refused() {
        let file = tempfile::tempfile().unwrap();
        let number = file.as_raw_fd();
        for list in ["x 127.0.0.1:80", "-1 127.0.0.1:80", "127.0.0.1:80", &format!("{number} 127.0.0.1:80")] {
            assert!(Inherited::of(list, "1").is_err(), "{list}");
        }
        assert!(Inherited::of("", "-1").is_err());
        assert!(Inherited::of("", "1000000").is_err());
    }
}
