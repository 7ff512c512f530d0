//! A thread's UDP socket: many datagrams with one system call, in either direction.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use bytes::BytesMut;
use hcrs_metrics::{Counters, Stall};
use quinn_proto::{ConnectionHandle, EcnCodepoint, Transmit};
use quinn_udp::{RecvMeta, UdpSocketState};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::Notify;

use crate::exchange::mailbox::Mailbox;

/// The number of messages that one system call receives. Each may be many datagrams that the kernel has joined.
const MESSAGES: usize = 8;

/// The room for each: the most that the kernel joins.
const MESSAGE_LEN: usize = 64 << 10;

/// The length of the longest datagram that is taken, in bytes, which clients are told (RFC 9000 §18.2): what Ethernet
/// has room for. Those that wait anywhere are bounded by it.
pub(super) const DATAGRAM_MAX: u16 = 1472;

/// The most datagrams that one system call sends. They are made one after the other and sent at once, so that many
/// of them would be a burst for the network.
const SEGMENTS_SENT: usize = 16;

/// A datagram that was received.
#[derive(Debug)]
pub(super) struct Datagram {
    /// The sender.
    pub remote: SocketAddr,
    /// The address that it was sent to.
    pub local: Option<IpAddr>,
    pub ecn: Option<EcnCodepoint>,
    pub bytes: BytesMut,
}

/// A UDP socket.
pub(super) struct Socket {
    io: UdpSocket,
    state: UdpSocketState,
    /// The room for what is received. The kernel writes only as much of it as there is.
    landing: RefCell<Box<[u8]>>,
    /// The connections that have something to send while the system takes nothing.
    blocked: RefCell<BTreeMap<ConnectionHandle, Rc<Mailbox>>>,
    /// Notified when there is one of them.
    has_blocked: Notify,
    local: SocketAddr,
    metrics: Rc<Counters>,
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket").field("local", &self.local).finish_non_exhaustive()
    }
}

impl Socket {
    /// Returns the socket in the form of the thread's runtime; its bytes are counted.
    pub(super) fn new(socket: std::net::UdpSocket, metrics: &Rc<Counters>) -> io::Result<Self> {
        let state = UdpSocketState::new((&socket).into())?;
        let local = socket.local_addr()?;
        Ok(Self {
            io: UdpSocket::from_std(socket)?,
            state,
            landing: RefCell::new(vec![0; MESSAGES * MESSAGE_LEN].into_boxed_slice()),
            blocked: RefCell::default(),
            has_blocked: Notify::new(),
            local,
            metrics: Rc::clone(metrics),
        })
    }

    /// Whether the network may fragment the datagrams that are sent.
    pub(super) fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }

    /// Returns the address of this end of a connection.
    pub(super) fn local_address(&self, ip: Option<IpAddr>) -> SocketAddr {
        ip.map_or(self.local, |ip| SocketAddr::new(ip, self.local.port()))
    }

    /// Returns how many datagrams one transmission may have.
    pub(super) fn segments(&self) -> usize {
        self.state.max_gso_segments().min(SEGMENTS_SENT)
    }

    /// Waits until there is something to receive.
    pub(super) async fn readable(&self) -> io::Result<()> {
        self.io.readable().await
    }

    /// Passes the datagrams of one system call to `take`. The error is `WouldBlock` if there are none.
    pub(super) fn receive(&self, mut take: impl FnMut(Datagram)) -> io::Result<()> {
        let mut landing = self.landing.borrow_mut();
        let mut metas = [RecvMeta::default(); MESSAGES];
        let count = {
            let mut rooms = landing.chunks_exact_mut(MESSAGE_LEN).map(IoSliceMut::new);
            let mut rooms: [_; MESSAGES] =
                std::array::from_fn(|_| rooms.next().expect("invariant: there is room for as many"));
            self.io
                .try_io(Interest::READABLE, || self.state.recv((&self.io).into(), &mut rooms, &mut metas))?
        };
        for (meta, room) in metas[..count].iter().zip(landing.chunks_exact(MESSAGE_LEN)) {
            self.metrics.received_bytes.add(meta.len as u64);
            let datagrams = room[..meta.len].chunks(meta.stride.max(1));
            for bytes in datagrams.filter(|bytes| bytes.len() <= DATAGRAM_MAX.into()) {
                take(Datagram {
                    remote: meta.addr,
                    local: meta.dst_ip,
                    ecn: meta.ecn.and_then(|ecn| EcnCodepoint::from_bits(ecn as u8)),
                    // Of its own, so that a part that is kept keeps nothing else.
                    bytes: bytes.into(),
                });
            }
        }
        Ok(())
    }

    /// Sends what a connection or an endpoint has written into `bytes`. Whether the system has taken it; it may
    /// be lost all the same, as any datagram.
    pub(super) fn send(&self, transmit: &Transmit, bytes: &[u8]) -> bool {
        let contents = &bytes[..transmit.size];
        let datagrams = quinn_udp::Transmit {
            destination: transmit.destination,
            ecn: transmit.ecn.and_then(|ecn| quinn_udp::EcnCodepoint::from_bits(ecn as u8)),
            contents,
            segment_size: transmit.segment_size,
            src_ip: transmit.src_ip,
        };
        let send = || self.state.try_send((&self.io).into(), &datagrams);
        match self.io.try_io(Interest::WRITABLE, send) {
            Ok(()) => self.metrics.sent_bytes.add(contents.len() as u64),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
            // A datagram that is too long for the path is how its limit is found.
            Err(error) if rustix::io::Errno::from_io_error(&error) == Some(rustix::io::Errno::MSGSIZE) => {}
            Err(error) => tracing::debug!("Cannot send to {}: {error}", transmit.destination),
        }
        true
    }

    /// Wakes the connection once the system takes datagrams again.
    pub(super) fn wake_when_writable(&self, handle: ConnectionHandle, connection: &Rc<Mailbox>) {
        self.metrics.stalls.of(Stall::ClientSocket).increment();
        // Once, however often datagrams that arrive wake the connection meanwhile.
        self.blocked.borrow_mut().insert(handle, Rc::clone(connection));
        self.has_blocked.notify_one();
    }

    /// Waits until connections wait for the system to take datagrams again, and it does, and wakes them.
    pub(super) async fn unblock(&self) {
        if self.blocked.borrow().is_empty() {
            self.has_blocked.notified().await;
        }
        // An error would be one of the next call to send.
        let _writable = self.io.writable().await;
        for connection in self.blocked.take().into_values() {
            connection.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn datagrams_that_are_too_long_are_dropped() {
        let bound = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        bound.set_nonblocking(true).unwrap();
        let socket = Socket::new(bound, &Rc::default()).unwrap();
        let client = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let longest = usize::from(DATAGRAM_MAX);
        let lens = [longest, longest + 1, 60_000, 1200];
        for len in lens {
            client.send_to(&vec![0; len], socket.local).unwrap();
        }
        let mut taken = Vec::new();
        while taken.last() != Some(&1200) {
            socket.readable().await.unwrap();
            let _would_block = socket.receive(|datagram| taken.push(datagram.bytes.len()));
        }
        assert_eq!(taken, [longest, 1200]);
    }
}
