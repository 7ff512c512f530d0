//! A socket all of whose operations end at one instant.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::Path;
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Socket, Type};

use crate::Target;
use crate::target::Place;

/// A connection whose reads and writes end at the deadline.
#[derive(Debug)]
pub(crate) struct Timed {
    socket: Socket,
    until: Instant,
}

impl Timed {
    /// Connects to the first address of a server that can be reached.
    pub(crate) fn connect(target: &Target, until: Instant) -> io::Result<Self> {
        let socket = match &target.place {
            Place::Tcp { host, port, .. } => connect_tcp(host, *port, until)?,
            Place::Unix(path) => connect_unix(path, until)?,
        };
        Ok(Self { socket, until })
    }
}

fn connect_tcp(host: &str, port: u16, until: Instant) -> io::Result<Socket> {
    let addresses: Vec<_> = (host, port).to_socket_addrs()?.collect();
    connect_to_one(&addresses, until)
}

/// Connects to the first of the addresses that accepts. Each has an equal share of the time that is left, so that one
/// that is silent leaves time for the others.
fn connect_to_one(addresses: &[SocketAddr], until: Instant) -> io::Result<Socket> {
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for (untried, &address) in (1..=addresses.len()).rev().zip(addresses) {
        let share = left(until)? / u32::try_from(untried).unwrap_or(u32::MAX);
        match connect_to(address, share) {
            Ok(socket) => return Ok(socket),
            Err(error) => failure = late(error),
        }
    }
    Err(failure)
}

fn connect_to(address: SocketAddr, timeout: Duration) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.connect_timeout(&address.into(), timeout)?;
    socket.set_tcp_nodelay(true)?;
    Ok(socket)
}

fn connect_unix(path: &Path, until: Instant) -> io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // It bounds the wait for a place in a backlog that is full, too.
    socket.set_write_timeout(Some(left(until)?))?;
    socket.connect(&SockAddr::unix(path)?).map_err(late)?;
    Ok(socket)
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.set_read_timeout(Some(left(self.until)?))?;
        self.socket.read(buffer).map_err(late)
    }
}

impl Write for Timed {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.socket.set_write_timeout(Some(left(self.until)?))?;
        self.socket.write(data).map_err(late)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns the time until the deadline, which is not over.
fn left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(late(io::ErrorKind::WouldBlock.into())) } else { Ok(left) }
}

/// Returns the error of a socket; a timeout, which the system reports in another way, by its name.
fn late(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            io::Error::new(io::ErrorKind::TimedOut, "it does not answer in time")
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// Returns a listener that accepts nothing, and what fills its backlog.
    fn silent() -> (SocketAddr, Vec<Socket>) {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        let mut sockets = vec![listener];
        for _ in 0..4 {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            socket.connect(&address).unwrap_err();
            sockets.push(socket);
        }
        (address.as_socket().unwrap(), sockets)
    }

    #[test]
    fn an_address_that_is_silent_leaves_time_for_the_next() {
        let (silent, _sockets) = silent();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let answers = listener.local_addr().unwrap();
        let until = || Instant::now() + Duration::from_secs(2);
        let socket = connect_to_one(&[silent, answers], until()).unwrap();
        assert_eq!(socket.peer_addr().unwrap().as_socket(), Some(answers));
        let error = connect_to_one(&[silent, silent], until()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(connect_to_one(&[], until()).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
