//! The datagrams of a server's connections, after another one has taken over its sockets (SIGUSR2).
//!
//! Both processes have the same UDP sockets, and any of them could receive what is meant for the other. So only the
//! successor receives, and sends what is of none of its connections over a unix socket to its predecessor, which
//! has the connections until they are over.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

use bytes::BytesMut;
use quinn_proto::EcnCodepoint;
use socket2::{Domain, Socket, Type};
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;

use super::passing::Passing;
use super::socket::{DATAGRAM_MAX, Datagram};

/// The most bytes that may wait for the predecessor. More are dropped, as the network drops them.
const QUEUE_LEN: usize = 1 << 20;

/// The length of what precedes the datagram in a message: two addresses with ports, one without, and the ECN bits.
const HEADER_LEN: usize = 18 + 18 + 17 + 1;

/// Returns the message with a datagram that a socket at this address has received.
pub(super) fn message(own: SocketAddr, datagram: &Datagram) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_LEN + datagram.bytes.len());
    put_address(&mut bytes, own);
    put_address(&mut bytes, datagram.remote);
    bytes.push(u8::from(datagram.local.is_some()));
    bytes.extend(wide(datagram.local.unwrap_or(Ipv6Addr::UNSPECIFIED.into())));
    bytes.push(datagram.ecn.map_or(0, |ecn| ecn as u8));
    bytes.extend_from_slice(&datagram.bytes);
    bytes
}

/// Returns the address of the socket and the datagram of a message; `None` if it is none.
fn datagram(message: &[u8]) -> Option<(SocketAddr, Datagram)> {
    let (header, bytes) = message.split_at_checked(HEADER_LEN)?;
    let own = address(&header[..18])?;
    let remote = address(&header[18..36])?;
    let local = ip(&header[37..53])?;
    let local = (header[36] != 0).then_some(local);
    let ecn = EcnCodepoint::from_bits(header[53]);
    Some((own, Datagram { remote, local, ecn, bytes: BytesMut::from(bytes) }))
}

fn put_address(bytes: &mut Vec<u8>, address: SocketAddr) {
    bytes.extend(wide(address.ip()));
    bytes.extend(address.port().to_be_bytes());
}

/// IPv4 addresses are in the form that they have in IPv6.
fn wide(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

fn address(bytes: &[u8]) -> Option<SocketAddr> {
    let (ip_bytes, port) = bytes.split_at_checked(16)?;
    Some(SocketAddr::new(ip(ip_bytes)?, u16::from_be_bytes(port.try_into().ok()?)))
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).to_canonical())
}

/// Returns the ends of a way for datagrams, that of the predecessor first.
pub(crate) fn pair() -> io::Result<(Socket, Socket)> {
    // Its queue is as long as its bytes allow, other than that of sockets for datagrams.
    let (ours, theirs) = Socket::pair(Domain::UNIX, Type::SEQPACKET, None)?;
    for end in [&ours, &theirs] {
        end.set_nonblocking(true)?;
        end.set_send_buffer_size(QUEUE_LEN)?;
    }
    Ok((ours, theirs))
}

/// Receives the datagrams that the successor passes on, and passes them to the threads of their connections.
pub(crate) async fn receive(successor: Socket, passings: Vec<Passing>) {
    // Each read takes one message of such a socket, as well as of a stream.
    let mut successor = match UnixStream::from_std(OwnedFd::from(successor).into()) {
        Ok(successor) => successor,
        Err(error) => return tracing::error!("The successor cannot pass datagrams on: {error}"),
    };
    let mut room = vec![0; HEADER_LEN + usize::from(DATAGRAM_MAX)];
    loop {
        match successor.read(&mut room).await {
            Ok(0) => return,
            Ok(len) => {
                let Some((own, datagram)) = datagram(&room[..len]) else { continue };
                if let Some(passing) = passings.iter().find(|passing| passing.is_of(own)) {
                    passing.pass(datagram);
                }
            }
            Err(error) => return tracing::debug!("The successor passes no more datagrams on: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_all_of_a_datagram() {
        let v6: SocketAddr = "[2001:db8::7]:443".parse().unwrap();
        let v4: SocketAddr = "192.0.2.1:5".parse().unwrap();
        for (own, remote, local, ecn) in [
            (v4, v4, Some(v4.ip()), Some(EcnCodepoint::Ect0)),
            (v6, v6, Some(v6.ip()), Some(EcnCodepoint::Ce)),
            (v6, v4, None, None),
        ] {
            let sent = Datagram { remote, local, ecn, bytes: BytesMut::from(&b"bytes"[..]) };
            let (of, received) = datagram(&message(own, &sent)).unwrap();
            assert_eq!((of, received.remote, received.local), (own, remote, local));
            assert_eq!((received.ecn, &received.bytes[..]), (ecn, &b"bytes"[..]));
        }
        assert!(datagram(&[0; HEADER_LEN - 1]).is_none());
    }
}
