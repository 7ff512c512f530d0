//! Listening sockets: bound before anything else starts, so that a port in use is reported at once, but
//! listening only when connections can be served.

pub(crate) mod udp;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs as _};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::UnixListener;
use std::path::Path;

use rustix::fs::Mode;
use rustix::net::SocketType;
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

use crate::{Bind, Listener, Settings, StartError};

/// The variables by which a service manager passes sockets (`sd_listen_fds(3)`). They are for this process
/// only, and workers do not get them.
pub mod passed_sockets {
    /// The number of the sockets.
    pub const COUNT: &str = "LISTEN_FDS";

    /// The id of the process that the sockets are meant for.
    pub const PROCESS: &str = "LISTEN_PID";

    /// The name of each socket, separated by colons: `FileDescriptorName=` of the socket unit, or the unit's
    /// own name.
    pub const NAMES: &str = "LISTEN_FDNAMES";
}

/// A socket that is bound and, until [`BoundListener::listen`], refuses connections.
#[derive(Debug)]
pub(crate) struct BoundListener {
    /// The socket, non-blocking.
    pub socket: BoundSocket,
    /// Whether clients speak TLS here.
    pub tls: bool,
    /// Whether connections begin with a header of the PROXY protocol.
    pub proxy_protocol: bool,
    /// The URL that a client would open, as in `https://127.0.0.1:8443`.
    pub address: String,
    /// The address as it was configured.
    pub configured: String,
}

/// The two kinds of stream sockets.
#[derive(Debug)]
pub(crate) enum BoundSocket {
    /// IPv4 or IPv6.
    Tcp(TcpListener),
    /// A path of the file system.
    Unix(UnixListener),
}

impl BoundListener {
    /// Listens for connections; `backlog` of them may wait to be accepted.
    pub(crate) fn listen(&self, backlog: u32) -> io::Result<()> {
        if let BoundSocket::Tcp(socket) = &self.socket {
            // Remaining connections must not keep the next server from the port; they inherit this option
            // from their listener.
            SockRef::from(socket).set_reuse_address(true)?;
        }
        Ok(rustix::net::listen(self, i32::try_from(backlog).unwrap_or(i32::MAX))?)
    }

    /// Returns the port; `None` for a unix socket.
    pub(crate) fn port(&self) -> Option<u16> {
        match &self.socket {
            BoundSocket::Tcp(socket) => socket.local_addr().ok().map(|address| address.port()),
            BoundSocket::Unix(_) => None,
        }
    }

    /// Returns the same socket for another thread.
    pub(crate) fn share(&self) -> io::Result<Self> {
        let socket = match &self.socket {
            BoundSocket::Tcp(socket) => BoundSocket::Tcp(socket.try_clone()?),
            BoundSocket::Unix(socket) => BoundSocket::Unix(socket.try_clone()?),
        };
        Ok(Self { socket, address: self.address.clone(), configured: self.configured.clone(), ..*self })
    }

    fn new(socket: Socket, listener: &Listener) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let &Listener { tls, proxy_protocol, .. } = listener;
        let configured = listener.bind.to_string();
        let local = socket.local_addr()?;
        let scheme = if tls { "https" } else { "http" };
        if let Some(address) = local.as_socket() {
            let socket = BoundSocket::Tcp(OwnedFd::from(socket).into());
            let address = format!("{scheme}://{address}");
            return Ok(Self { socket, tls, proxy_protocol, address, configured });
        }
        if !local.is_unix() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "neither an internet nor a unix socket"));
        }
        let path = local.as_pathname().map_or_else(String::new, |path| path.display().to_string());
        let socket = BoundSocket::Unix(OwnedFd::from(socket).into());
        let address = format!("{scheme}://unix:{path}");
        Ok(Self { socket, tls, proxy_protocol, address, configured })
    }
}

#[cfg(test)]
impl From<BoundListener> for OwnedFd {
    fn from(listener: BoundListener) -> Self {
        match listener.socket {
            BoundSocket::Tcp(socket) => socket.into(),
            BoundSocket::Unix(socket) => socket.into(),
        }
    }
}

impl AsFd for BoundListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.socket {
            BoundSocket::Tcp(socket) => socket.as_fd(),
            BoundSocket::Unix(socket) => socket.as_fd(),
        }
    }
}

/// Binds every listener for each of the threads: a TCP socket for each thread, which share the port, or one
/// socket for all where the system does not support that. The sockets of an address that are `inherited`
/// are taken over. Returns one list for each thread.
pub(crate) fn bind(
    settings: &Settings,
    threads: usize,
    mut inherited: impl FnMut(&Bind) -> Vec<Socket>,
) -> Result<Vec<Vec<BoundListener>>, StartError> {
    let failed = |listener: &Listener, error| StartError::Bind(listener.bind.to_string(), error);
    let taken_over: Vec<_> = settings.listeners.iter().map(|listener| inherited(&listener.bind)).collect();
    // Passed descriptors come before all sockets of our own, none of which may get the number of one that is
    // not passed.
    let mut passed = adopt_all(&settings.listeners, |at| taken_over[at].is_empty())?.into_iter();
    let mut by_thread: Vec<Vec<BoundListener>> = (0..threads).map(|_| Vec::new()).collect();
    for (listener, taken_over) in settings.listeners.iter().zip(taken_over) {
        let sockets = match &listener.bind {
            _ if !taken_over.is_empty() => Ok(taken_over),
            Bind::Tcp { host, port } => {
                let only_v6 = has_ipv4(&settings.listeners, *port);
                bind_tcp((host, *port), only_v6, threads)
            }
            Bind::Unix(path) => {
                bind_unix(path, settings.umask, settings.socket_owner).map(|socket| vec![socket])
            }
            Bind::Fd(_) => {
                passed.next().map(|socket| vec![socket]).ok_or_else(|| io::ErrorKind::InvalidInput.into())
            }
        };
        let bound = sockets.and_then(|sockets| {
            sockets.into_iter().map(|socket| BoundListener::new(socket, listener)).collect()
        });
        let bound = bound.map_err(|error| failed(listener, error))?;
        spread(bound, &mut by_thread).map_err(|error| failed(listener, error))?;
    }
    Ok(by_thread)
}

/// Binds the listener of the admin interface, or takes over its socket. Only the server's user may open the
/// file of a unix socket: the user of this process, or the `owner` that it becomes.
pub(crate) fn bind_admin(
    bind: &Bind,
    inherited: Vec<Socket>,
    owner: Option<(u32, u32)>,
) -> Result<BoundListener, StartError> {
    /// The bits that the file does not get: it is read and written by its owner.
    const UMASK: u32 = 0o177;
    let listener = Listener { bind: bind.clone(), tls: false, proxy_protocol: false };
    let socket = match (inherited.into_iter().next(), bind) {
        (Some(socket), _) => Ok(socket),
        (None, Bind::Tcp { host, port }) => bind_tcp((host, *port), true, 1)
            .and_then(|sockets| sockets.into_iter().next().ok_or_else(|| io::ErrorKind::InvalidInput.into())),
        (None, Bind::Unix(path)) => bind_unix(path, Some(UMASK), owner),
        (None, Bind::Fd(fd)) => adopt(*fd),
    };
    let bound = socket.and_then(|socket| BoundListener::new(socket, &listener));
    bound.map_err(|error| StartError::Bind(bind.to_string(), error))
}

/// Distributes an address's sockets: at least one to each thread, and none is left over, because connections
/// may wait in any of them.
fn spread(bound: Vec<BoundListener>, by_thread: &mut [Vec<BoundListener>]) -> io::Result<()> {
    let (threads, sockets) = (by_thread.len(), bound.len());
    for at in sockets..threads {
        by_thread[at].push(bound[at % sockets].share()?);
    }
    for (at, listener) in bound.into_iter().enumerate() {
        by_thread[at % threads].push(listener);
    }
    Ok(())
}

fn bind_tcp((host, port): (&str, u16), only_v6: bool, threads: usize) -> io::Result<Vec<Socket>> {
    first_bound(host, port, |address| bind_address(address, only_v6, threads))
}

/// Binds the first of the host's addresses that this machine has, IPv4 before IPv6.
fn first_bound(
    host: &str,
    port: u16,
    bind: impl Fn(SocketAddr) -> io::Result<Vec<Socket>>,
) -> io::Result<Vec<Socket>> {
    let mut last_error = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in resolve(host, port)? {
        match bind(address) {
            Ok(sockets) => return Ok(sockets),
            // An address in use is not skipped: clients of the name would reach the server that uses it.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
            Err(error) => last_error = error,
        }
    }
    Err(last_error)
}

/// Whether a listener for the port has an address of IPv4, or a name that may have one. `[::]` then leaves
/// IPv4 to it, and otherwise accepts IPv4 as well.
fn has_ipv4(listeners: &[Listener], port: u16) -> bool {
    listeners.iter().any(|listener| match &listener.bind {
        Bind::Tcp { host, port: theirs } => *theirs == port && host.parse::<Ipv6Addr>().is_err(),
        Bind::Unix(_) | Bind::Fd(_) => false,
    })
}

fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if host.is_empty() {
        return Ok(vec![(Ipv4Addr::UNSPECIFIED, port).into()]);
    }
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![(ip, port).into()]);
    }
    let mut addresses: Vec<_> = (host, port).to_socket_addrs()?.collect();
    addresses.sort_by_key(SocketAddr::is_ipv6);
    Ok(addresses)
}

fn bind_address(mut address: SocketAddr, only_v6: bool, threads: usize) -> io::Result<Vec<Socket>> {
    let first = claim(address, only_v6)?;
    if let Some(bound) = first.local_addr()?.as_socket() {
        address.set_port(bound.port());
    }
    let mut sockets = vec![first];
    if threads > 1 {
        sockets[0].set_reuse_port(true)?;
        for _ in 1..threads {
            let socket = tcp_socket(address, only_v6)?;
            socket.set_reuse_address(true)?;
            socket.set_reuse_port(true)?;
            socket.bind(&address.into())?;
            socket.set_reuse_address(false)?;
            sockets.push(socket);
        }
    }
    Ok(sockets)
}

/// Binds a socket to an address that no other socket has, of this server or of another one, whether it
/// listens already or not.
///
/// `SO_REUSEADDR` frees a port that only old connections have, and lets sockets share it that are bound and
/// do not listen yet; so none of our sockets has it before it listens.
fn claim(address: SocketAddr, only_v6: bool) -> io::Result<Socket> {
    let socket = tcp_socket(address, only_v6)?;
    match socket.bind(&address.into()) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            socket.set_reuse_address(true)?;
            socket.bind(&address.into())?;
            socket.set_reuse_address(false)?;
        }
        bound => bound?,
    }
    Ok(socket)
}

fn tcp_socket(address: SocketAddr, only_v6: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // The system's default may be either.
        socket.set_only_v6(only_v6)?;
    }
    Ok(socket)
}

fn bind_unix(path: &Path, umask: Option<u32>, owner: Option<(u32, u32)>) -> io::Result<Socket> {
    // A socket without a listener is left over from an earlier run; anything else belongs to another program
    // and makes bind fail.
    if std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
        if is_served(path)? {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another server listens there"));
        }
        std::fs::remove_file(path)?;
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    let address = SockAddr::unix(path)?;
    let before = umask.map(|mask| rustix::process::umask(Mode::from_raw_mode(mask)));
    let bound = socket.bind(&address);
    if let Some(before) = before {
        rustix::process::umask(before);
    }
    bound?;
    if let Some((user, group)) = owner {
        std::os::unix::fs::lchown(path, Some(user), Some(group))?;
    }
    Ok(socket)
}

/// Whether a process listens on the unix socket.
fn is_served(path: &Path) -> io::Result<bool> {
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // A full backlog is reported at once.
    probe.set_nonblocking(true)?;
    match probe.connect(&SockAddr::unix(path)?) {
        Ok(()) => Ok(true),
        Err(error) => Ok(error.kind() != io::ErrorKind::ConnectionRefused),
    }
}

/// Takes over the descriptors that the configuration names, for listeners at the indices that are new.
fn adopt_all(listeners: &[Listener], is_new: impl Fn(usize) -> bool) -> Result<Vec<Socket>, StartError> {
    let mut seen = Vec::new();
    let mut sockets = Vec::new();
    for (at, listener) in listeners.iter().enumerate() {
        let Bind::Fd(fd) = listener.bind else { continue };
        if !is_new(at) {
            continue;
        }
        if seen.contains(&fd) {
            let error = io::Error::new(io::ErrorKind::InvalidInput, "the descriptor is named twice");
            return Err(StartError::Bind(listener.bind.to_string(), error));
        }
        seen.push(fd);
        let socket = adopt(fd).map_err(|error| StartError::Bind(listener.bind.to_string(), error))?;
        sockets.push(socket);
    }
    Ok(sockets)
}

/// Takes over an inherited descriptor of a listener.
pub(crate) fn adopt(fd: i32) -> io::Result<Socket> {
    adopt_kind(fd, SocketType::STREAM, "not a stream socket")
}

/// Takes over an inherited descriptor of a socket for datagrams.
pub(crate) fn adopt_datagrams(fd: i32) -> io::Result<Socket> {
    let socket = adopt_kind(fd, SocketType::DGRAM, "not a socket for datagrams")?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// The beginning of names that no address has.
const QUIC_NAME: &str = "quic ";

/// Returns the name of an address for HTTP/3 in lists that have others as well.
pub(crate) fn quic_name(bind: &Bind) -> String {
    format!("{QUIC_NAME}{bind}")
}

/// Whether an address in such a list is one for HTTP/3.
pub(crate) fn is_quic_name(address: &str) -> bool {
    address.starts_with(QUIC_NAME)
}

fn adopt_kind(fd: i32, kind: SocketType, not_it: &'static str) -> io::Result<Socket> {
    let refuse = |why| Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    if fd < 0 {
        return refuse("not a descriptor's number");
    }
    #[expect(unsafe_code, reason = "an inherited descriptor is only a number until it is taken over")]
    // SAFETY: the borrowed descriptor is only queried; if it is closed, the queries fail.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    if rustix::net::sockopt::socket_type(borrowed)? != kind {
        return refuse(not_it);
    }
    if rustix::net::getpeername(borrowed).is_ok() {
        return refuse("a connection and not a listener's socket, as with Accept=yes of a socket unit");
    }
    rustix::io::fcntl_setfd(borrowed, rustix::io::FdFlags::CLOEXEC)?;
    #[expect(unsafe_code, reason = "an inherited descriptor is only a number until it is taken over")]
    // SAFETY: the operator passes the descriptor to this process; it is taken once (adopt_all), and before
    // this process has made sockets of its own that could have the number.
    let owned = unsafe { OwnedFd::from_raw_fd(fd) };
    Ok(owned.into())
}

#[cfg(test)]
pub(crate) mod tests;
