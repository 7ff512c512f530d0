use std::io::Read as _;
use std::net::TcpStream;
use std::os::fd::{AsRawFd as _, IntoRawFd as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;

use super::*;

fn bind(settings: &Settings, threads: usize) -> Result<Vec<Vec<BoundListener>>, StartError> {
    super::bind(settings, threads, |_| Vec::new())
}

pub(crate) fn settings(binds: Vec<Bind>) -> Settings {
    let listeners =
        binds.into_iter().map(|bind| Listener { bind, tls: false, proxy_protocol: false }).collect();
    Settings { listeners, ..Settings::default() }
}

fn tcp(host: &str, port: u16) -> Bind {
    Bind::Tcp { host: host.to_owned(), port }
}

fn local(listener: &BoundListener) -> SocketAddr {
    match &listener.socket {
        BoundSocket::Tcp(socket) => socket.local_addr().unwrap(),
        BoundSocket::Unix(_) => panic!("a unix socket"),
    }
}

#[test]
fn threads_share_the_port_that_the_first_was_given() {
    let bound = bind(&settings(vec![tcp("127.0.0.1", 0)]), 3).unwrap();
    assert_eq!(bound.len(), 3);
    let first = local(&bound[0][0]);
    assert_ne!(first.port(), 0);
    assert!(bound.iter().all(|thread| local(&thread[0]) == first));
    assert_eq!(bound[1][0].address, format!("http://{first}"));
}

#[test]
fn connections_are_refused_until_it_listens() {
    for threads in [1, 2] {
        let bound = bind(&settings(vec![tcp("127.0.0.1", 0)]), threads).unwrap();
        let address = local(&bound[0][0]);
        assert_eq!(TcpStream::connect(address).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        bound[0][0].listen(10).unwrap();
        TcpStream::connect(address).unwrap();
    }
}

#[test]
fn a_second_server_cannot_take_the_port_whether_the_first_listens_already_or_not() {
    for host in ["127.0.0.1", "localhost", "0.0.0.0"] {
        for (ours, theirs) in [(1, 1), (2, 2), (1, 2), (2, 1)] {
            let bound = bind(&settings(vec![tcp("127.0.0.1", 0)]), ours).unwrap();
            let port = local(&bound[0][0]).port();
            let is_refused = || {
                let Err(StartError::Bind(what, error)) = bind(&settings(vec![tcp(host, port)]), theirs)
                else {
                    panic!("the port was shared by {ours} and {theirs} threads on {host}");
                };
                assert_eq!((what, error.kind()), (format!("{host}:{port}"), io::ErrorKind::AddrInUse));
            };
            is_refused();
            for thread in &bound {
                thread[0].listen(10).unwrap();
            }
            is_refused();
        }
    }
}

#[test]
fn a_port_can_be_taken_again_at_once_with_connections_of_an_earlier_server() {
    for (earlier, later) in [(1, 2), (2, 1), (2, 2), (1, 1)] {
        let bound = bind(&settings(vec![tcp("127.0.0.1", 0)]), earlier).unwrap();
        let address = local(&bound[0][0]);
        // One connection that the server closes first, which leaves TIME_WAIT, and one that stays open.
        let mut clients = Vec::new();
        let mut accepted = Vec::new();
        // The system chooses which of the threads' sockets gets a connection, so only one listens.
        bound[0][0].listen(10).unwrap();
        let BoundSocket::Tcp(listener) = &bound[0][0].socket else { panic!("no TCP") };
        listener.set_nonblocking(false).unwrap();
        for _ in 0..2 {
            clients.push(TcpStream::connect(address).unwrap());
            accepted.push(listener.accept().unwrap().0);
        }
        drop(accepted.pop());
        assert_eq!(clients[1].read(&mut [0]).unwrap(), 0);
        drop(clients.pop());
        drop(bound);
        let bound = bind(&settings(vec![tcp("127.0.0.1", address.port())]), later).unwrap();
        assert!(
            matches!(
                bind(&settings(vec![tcp("127.0.0.1", address.port())]), 2),
                Err(StartError::Bind(_, error)) if error.kind() == io::ErrorKind::AddrInUse
            ),
            "it is shared because of what is left of the earlier server"
        );
        bound[0][0].listen(10).unwrap();
        TcpStream::connect(address).unwrap();
    }
}

#[test]
fn an_address_is_bound_once_only() {
    let free = bind(&settings(vec![tcp("127.0.0.1", 0)]), 1).unwrap();
    let port = local(&free[0][0]).port();
    drop(free);
    for (a, b) in [("127.0.0.1", "localhost"), ("127.0.0.1", "0.0.0.0"), ("", "127.0.0.1")] {
        let outcome = bind(&settings(vec![tcp(a, port), tcp(b, port)]), 2);
        assert!(matches!(outcome, Err(StartError::Bind(..))), "{a} and {b} were both bound");
    }
}

#[test]
fn both_families_can_have_the_same_port() {
    let free = bind(&settings(vec![tcp("::", 0)]), 1).unwrap();
    let port = local(&free[0][0]).port();
    drop(free);
    let bound = bind(&settings(vec![tcp("0.0.0.0", port), tcp("::", port)]), 1).unwrap();
    for listener in &bound[0] {
        listener.listen(10).unwrap();
    }
    assert_eq!(bound[0][1].address, format!("http://[::]:{port}"));
}

#[test]
fn any_address_of_ipv6_is_any_address_of_ipv4_too_unless_that_is_bound_beside_it() {
    for (threads, mapped) in [(1, true), (2, true), (1, false)] {
        let free = bind(&settings(vec![tcp("::", 0)]), 1).unwrap();
        let port = local(&free[0][0]).port();
        drop(free);
        let mut binds = vec![tcp("::", port)];
        if !mapped {
            binds.push(tcp("127.0.0.1", port));
        }
        let bound = bind(&settings(binds), threads).unwrap();
        for thread in &bound {
            thread[0].listen(10).unwrap();
        }
        for (host, is_served) in [("::1", true), ("127.0.0.1", mapped)] {
            let address = SocketAddr::new(host.parse().unwrap(), port);
            assert_eq!(TcpStream::connect(address).is_ok(), is_served, "{address}");
        }
    }
}

#[test]
fn localhost_is_ipv4() {
    let bound = bind(&settings(vec![tcp("localhost", 0)]), 1).unwrap();
    assert_eq!(local(&bound[0][0]).ip(), IpAddr::V4(Ipv4Addr::LOCALHOST));
}

#[test]
fn unix_sockets_are_shared_and_replace_what_an_earlier_run_left() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hcrs.sock");
    drop(UnixListener::bind(&path).unwrap());
    let bound = bind(&settings(vec![Bind::Unix(path.clone())]), 2).unwrap();
    assert_eq!(bound[1][0].address, format!("http://unix:{}", path.display()));
    bound[1][0].listen(10).unwrap();
    UnixStream::connect(&path).unwrap();
    let BoundSocket::Unix(socket) = &bound[0][0].socket else { panic!("not a unix socket") };
    socket.accept().unwrap();
}

#[test]
fn the_unix_socket_of_a_running_server_is_not_taken() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hcrs.sock");
    let running = UnixListener::bind(&path).unwrap();
    let again = || bind(&settings(vec![Bind::Unix(path.clone())]), 1);
    let error = again().unwrap_err().to_string();
    assert!(error.contains("another server listens there"), "{error}");
    rustix::net::listen(&running, 0).unwrap();
    assert!(again().is_err(), "its backlog is full, because the connection before was not accepted");
    drop(running);
    assert!(again().is_ok());
}

#[test]
fn other_files_are_not_replaced_by_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("precious");
    std::fs::write(&path, "data").unwrap();
    assert!(matches!(bind(&settings(vec![Bind::Unix(path.clone())]), 1), Err(StartError::Bind(..))));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "data");
}

#[test]
fn umask_holds_for_unix_sockets_and_is_put_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hcrs.sock");
    let masked = Settings { umask: Some(0o117), ..settings(vec![Bind::Unix(path.clone())]) };
    let _bound = bind(&masked, 1).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    let other = folder.path().join("other.sock");
    let _bound = bind(&settings(vec![Bind::Unix(other.clone())]), 1).unwrap();
    assert_ne!(std::fs::metadata(&other).unwrap().permissions().mode() & 0o777, 0o660);
}

#[test]
fn inherited_sockets_are_taken_over() {
    let inherited = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = inherited.local_addr().unwrap();
    let bound = bind(&settings(vec![Bind::Fd(inherited.into_raw_fd())]), 2).unwrap();
    assert_eq!(bound[0][0].address, format!("http://{address}"));
    TcpStream::connect(address).unwrap();
    drop(bound);
    assert!(TcpStream::connect(address).is_err(), "the inherited descriptor is closed too");
}

#[test]
fn a_connection_is_no_listener() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (inherited, _) = UnixStream::pair().unwrap();
    for fd in [client.as_raw_fd(), inherited.as_raw_fd()] {
        let error = bind(&settings(vec![Bind::Fd(fd)]), 1).unwrap_err().to_string();
        assert!(error.contains("a connection"), "{error}");
    }
}

#[test]
fn descriptors_that_are_no_stream_sockets_are_refused() {
    let file = tempfile::tempfile().unwrap();
    let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    for fd in [-1, 1 << 20, file.as_raw_fd(), datagrams.as_raw_fd()] {
        assert!(matches!(bind(&settings(vec![Bind::Fd(fd)]), 1), Err(StartError::Bind(..))), "{fd}");
    }
}
