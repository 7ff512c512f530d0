//! Notifies the service manager of the server's state, if `NOTIFY_SOCKET` asks for it (`sd_notify(3)`), so
//! that systemd's `Type=notify` waits for the first connection and not for the first process.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use rustix::time::{ClockId, clock_gettime};

use crate::Settings;

/// The variable that names the socket: a path, or an abstract name after `@`.
pub(super) const VARIABLE: &str = "NOTIFY_SOCKET";

/// The variable with the number of microseconds within which the manager expects the next notification.
pub(super) const WATCHDOG: &str = "WATCHDOG_USEC";

/// The variable with the id of the process that the interval is meant for.
pub(super) const WATCHDOG_PID: &str = "WATCHDOG_PID";

/// The state of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Connections are accepted.
    Ready,
    /// Certificates are read again and workers replaced; [`State::Ready`] follows.
    Reloading,
    /// The server drains.
    Stopping,
    /// The server is alive.
    Alive,
}

/// Sends the state, if a manager asks for it. With a calling program nothing is sent, because that program is
/// the service.
pub(super) fn notify(settings: &Settings, state: State) {
    if settings.embedder.is_some() {
        return;
    }
    let Some(socket) = std::env::var_os(VARIABLE).filter(|name| !name.is_empty()) else { return };
    if let Err(error) = send(&socket, &message(state)) {
        tracing::warn!("Cannot notify the service manager on {} ({VARIABLE}): {error}", socket.display());
    }
}

fn message(state: State) -> String {
    match state {
        State::Ready => "READY=1".into(),
        State::Stopping => "STOPPING=1".into(),
        State::Alive => "WATCHDOG=1".into(),
        State::Reloading => {
            // The manager distinguishes this reload from the one before by the time.
            let now = clock_gettime(ClockId::Monotonic);
            format!("RELOADING=1\nMONOTONIC_USEC={}", now.tv_sec * 1_000_000 + now.tv_nsec / 1_000)
        }
    }
}

fn send(socket: &OsStr, message: &str) -> io::Result<()> {
    let address = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(socket)?,
    };
    let sender = UnixDatagram::unbound()?;
    sender.set_nonblocking(true)?; // a manager that does not read must not hold up the server
    sender.send_to_addr(message.as_bytes(), &address).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(socket: &UnixDatagram) -> String {
        let mut message = [0; 256];
        let length = socket.recv(&mut message).unwrap();
        String::from_utf8(message[..length].to_vec()).unwrap()
    }

    #[test]
    fn a_path_and_an_abstract_name_are_notified() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        send(path.as_os_str(), &message(State::Ready)).unwrap();
        assert_eq!(received(&socket), "READY=1");

        let name = format!("@hcrs-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name[1..]).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        send(name.as_ref(), &message(State::Stopping)).unwrap();
        assert_eq!(received(&socket), "STOPPING=1");
    }

    #[test]
    fn a_reload_has_its_time() {
        let message = message(State::Reloading);
        let time = message.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
        assert!(time.parse::<u64>().unwrap() > 0, "{message}");
    }

    #[test]
    fn a_socket_that_is_not_there_is_an_error() {
        assert!(send("/nonexistent/notify".as_ref(), "READY=1").is_err());
    }
}
