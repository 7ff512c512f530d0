//! UDP sockets for HTTP/3: bound with the others, and read once connections can be served.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;

use socket2::{Domain, Protocol, Socket, Type};

use super::{first_bound, has_ipv4};
use crate::settings::Bind;
use crate::{Listener, StartError};

/// The size of a socket's receive buffer that is asked for, in bytes: what arrives in some milliseconds in which
/// the thread does something else.
pub(crate) const RECEIVE_BUFFER: usize = 2 << 20;

/// The sockets of an address for HTTP/3.
#[derive(Debug)]
pub(crate) struct BoundUdp {
    /// A socket for each thread, or fewer, which threads share.
    pub sockets: Vec<UdpSocket>,
    /// The URL that a client would open.
    pub address: String,
    /// The address as it was configured.
    pub configured: String,
}

impl BoundUdp {
    /// Returns the port.
    pub(crate) fn port(&self) -> Option<u16> {
        self.sockets.first()?.local_addr().ok().map(|address| address.port())
    }

    /// Returns the same sockets for another owner.
    pub(crate) fn share(&self) -> io::Result<Self> {
        let sockets = self.sockets.iter().map(UdpSocket::try_clone).collect::<io::Result<_>>()?;
        Ok(Self { sockets, address: self.address.clone(), configured: self.configured.clone() })
    }

    /// Returns the size of the receive buffers, if the system gives less than [`RECEIVE_BUFFER`].
    pub(crate) fn small_buffer(&self) -> Option<usize> {
        let size = socket2::SockRef::from(self.sockets.first()?).recv_buffer_size().ok()?;
        // The system reports, and counts, twice the size.
        (size < 2 * RECEIVE_BUFFER).then_some(size / 2)
    }
}

/// Binds the sockets of each address, one for each thread. Those that are `inherited`, or passed as descriptors,
/// are taken over.
pub(crate) fn bind_udp(
    binds: &[Bind],
    threads: usize,
    mut inherited: impl FnMut(&Bind) -> Vec<Socket>,
) -> Result<Vec<BoundUdp>, StartError> {
    let listeners: Vec<_> =
        binds.iter().map(|bind| Listener { bind: bind.clone(), tls: true, proxy_protocol: false }).collect();
    let bound = binds.iter().map(|bind| {
        let sockets = match (inherited(bind), bind) {
            (sockets, _) if !sockets.is_empty() => Ok(sockets),
            (_, Bind::Tcp { host, port }) => {
                let only_v6 = has_ipv4(&listeners, *port);
                first_bound(host, *port, |address| bind_address(address, only_v6, threads))
            }
            (_, Bind::Fd(fd)) => super::adopt_datagrams(*fd).map(|socket| vec![socket]),
            (_, Bind::Unix(_)) => {
                Err(io::Error::new(io::ErrorKind::InvalidInput, "QUIC has no unix sockets"))
            }
        };
        let bound = sockets.and_then(|sockets| bound(sockets, bind));
        bound.map_err(|error| StartError::Bind(bind.to_string(), error))
    });
    bound.collect()
}

fn bound(sockets: Vec<Socket>, bind: &Bind) -> io::Result<BoundUdp> {
    let mut address = None;
    for socket in &sockets {
        // As much as the system gives.
        socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
        address = socket.local_addr()?.as_socket();
    }
    let Some(address) = address else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not an internet socket"));
    };
    Ok(BoundUdp {
        sockets: sockets.into_iter().map(|socket| OwnedFd::from(socket).into()).collect(),
        address: format!("https://{address} (QUIC)"),
        configured: super::quic_name(bind),
    })
}

/// Binds a socket for each thread to an address that no other socket has.
fn bind_address(mut address: SocketAddr, only_v6: bool, threads: usize) -> io::Result<Vec<Socket>> {
    let first = udp_socket(address, only_v6)?;
    first.bind(&address.into())?;
    if let Some(bound) = first.local_addr()?.as_socket() {
        address.set_port(bound.port());
    }
    let mut sockets = vec![first];
    if threads > 1 {
        sockets[0].set_reuse_port(true)?;
        for _ in 1..threads {
            let socket = udp_socket(address, only_v6)?;
            socket.set_reuse_port(true)?;
            socket.bind(&address.into())?;
            sockets.push(socket);
        }
    }
    Ok(sockets)
}

fn udp_socket(address: SocketAddr, only_v6: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        // The system's default may be either.
        socket.set_only_v6(only_v6)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(port: u16) -> Vec<Bind> {
        vec![Bind::Tcp { host: "127.0.0.1".into(), port }]
    }

    #[test]
    fn threads_share_a_port_that_no_other_server_gets() {
        for threads in [1, 3] {
            let bound = bind_udp(&local(0), threads, |_| Vec::new()).unwrap();
            assert_eq!(bound[0].sockets.len(), threads);
            let port = bound[0].port().unwrap();
            assert!(bound[0].sockets.iter().all(|it| it.local_addr().unwrap().port() == port));
            assert_eq!(bound[0].address, format!("https://127.0.0.1:{port} (QUIC)"));
            let StartError::Bind(what, error) = bind_udp(&local(port), 1, |_| Vec::new()).unwrap_err() else {
                panic!("another error");
            };
            assert_eq!((what, error.kind()), (format!("127.0.0.1:{port}"), io::ErrorKind::AddrInUse));
        }
    }

    #[test]
    fn a_buffer_that_the_system_has_limited_is_noticed() {
        let bound = bind_udp(&local(0), 1, |_| Vec::new()).unwrap().remove(0);
        let socket = socket2::SockRef::from(&bound.sockets[0]);
        let given = socket.recv_buffer_size().unwrap();
        assert_eq!(bound.small_buffer().is_some(), given < 2 * RECEIVE_BUFFER, "as this machine has it");
        socket.set_recv_buffer_size(64 << 10).unwrap();
        assert_eq!(bound.small_buffer(), Some(64 << 10));
    }

    #[test]
    fn a_passed_socket_is_taken_over_if_it_is_one_for_datagrams() {
        use std::os::fd::IntoRawFd as _;
        let passed = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = passed.local_addr().unwrap().port();
        let bound = bind_udp(&[Bind::Fd(passed.into_raw_fd())], 3, |_| Vec::new()).unwrap();
        assert_eq!((bound[0].sockets.len(), bound[0].port()), (1, Some(port)));
        let stream = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let error = bind_udp(&[Bind::Fd(stream.into_raw_fd())], 1, |_| Vec::new()).unwrap_err().to_string();
        assert!(error.contains("not a socket for datagrams"), "{error}");
        let unix = Bind::Unix("s".into());
        assert!(bind_udp(&[unix], 1, |_| Vec::new()).unwrap_err().to_string().contains("unix"));
    }
}
