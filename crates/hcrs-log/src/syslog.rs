//! Syslog as a log's target: each line is a datagram to the system's socket or to a server.

use std::fmt;
use std::io::{self, Write as _};
use std::net::{ToSocketAddrs as _, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::SystemTime;

use crate::local_time::LocalTime;

/// The system's own socket.
const SYSTEM_SOCKET: &str = "/dev/log";
/// The name of the program in each message.
const TAG: &str = "hcrs";
/// The longest datagram, in bytes, that servers are known to accept. Longer lines are cut.
const DATAGRAM: usize = 8 << 10;

/// The target and the form of syslog messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyslogTarget {
    /// The address that messages are sent to.
    pub address: SyslogAddress,
    /// The form of the messages.
    pub form: SyslogForm,
    /// The facility of the messages.
    pub facility: SyslogFacility,
}

/// The address of a syslog server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SyslogAddress {
    /// A datagram socket of the file system.
    Unix(PathBuf),
    /// `host:port`, by UDP.
    Udp(String),
}

/// The form of a syslog message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyslogForm {
    /// The older form, which the system's own socket expects.
    Rfc3164,
    /// The standard form.
    Rfc5424,
}

/// The subject of a message (RFC 5424 §6.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SyslogFacility(u8);

/// The facilities' names, in the order of their codes.
const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
    "ntp", "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6",
    "local7",
];

/// The severity of a message (RFC 5424 §6.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Severity {
    Error = 3,
    Warning = 4,
    Info = 6,
    Debug = 7,
}

impl SyslogTarget {
    /// Parses `PATH` or `udp://HOST:PORT`, with `?form=rfc3164` or `rfc5424` and `&facility=NAME` behind it;
    /// an empty text means the system's socket. The form defaults to RFC 3164 on a socket and RFC 5424 by
    /// UDP, the facility to `daemon`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (address, options) = text.split_once('?').unwrap_or((text, ""));
        let (address, form) = match address.strip_prefix("udp://") {
            Some(host)
                if host
                    .rsplit_once(':')
                    .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok()) =>
            {
                (SyslogAddress::Udp(host.to_owned()), SyslogForm::Rfc5424)
            }
            Some(_) => return Err(format!("{address:?} has to be udp://HOST:PORT")),
            None if address.is_empty() => (SyslogAddress::Unix(SYSTEM_SOCKET.into()), SyslogForm::Rfc3164),
            None if address.starts_with('/') => (SyslogAddress::Unix(address.into()), SyslogForm::Rfc3164),
            None => {
                return Err(format!("{address:?} is neither a path that begins with / nor udp://HOST:PORT"));
            }
        };
        let mut target = Self { address, form, facility: SyslogFacility(3) };
        for option in options.split('&').filter(|option| !option.is_empty()) {
            match option.split_once('=') {
                Some(("form", "rfc3164")) => target.form = SyslogForm::Rfc3164,
                Some(("form", "rfc5424")) => target.form = SyslogForm::Rfc5424,
                Some(("facility", name)) => {
                    let code = FACILITIES.iter().position(|known| *known == name);
                    let code =
                        code.ok_or_else(|| format!("{name:?} is no facility: {}", FACILITIES.join(", ")))?;
                    target.facility = SyslogFacility(code as u8);
                }
                _ => {
                    return Err(format!(
                        "{option:?} is neither form=rfc3164, form=rfc5424 nor facility=NAME"
                    ));
                }
            }
        }
        Ok(target)
    }
}

impl fmt::Display for SyslogTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            SyslogAddress::Unix(path) => write!(f, "syslog:{}", path.display())?,
            SyslogAddress::Udp(host) => write!(f, "syslog:udp://{host}")?,
        }
        let form = match self.form {
            SyslogForm::Rfc3164 => "rfc3164",
            SyslogForm::Rfc5424 => "rfc5424",
        };
        write!(f, "?form={form}&facility={}", FACILITIES[usize::from(self.facility.0)])
    }
}

/// An open socket to a syslog server.
#[derive(Debug)]
pub(crate) struct Syslog {
    target: SyslogTarget,
    socket: Socket,
    host: String,
    clock: LocalTime,
    time: String,
    datagram: Vec<u8>,
}

#[derive(Debug)]
enum Socket {
    Unix(UnixDatagram),
    Udp(UdpSocket),
}

impl Syslog {
    pub(crate) fn open(target: &SyslogTarget) -> io::Result<Self> {
        Ok(Self {
            socket: connect(&target.address)?,
            target: target.clone(),
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            clock: LocalTime::new(),
            time: String::new(),
            datagram: Vec::with_capacity(1 << 10),
        })
    }

    /// Sends each of the lines. The error has the number of lines that could not be sent, and the reason of
    /// the last failure.
    pub(crate) fn send(&mut self, lines: &[u8], severity: Severity) -> Result<(), (u64, io::Error)> {
        let mut failure = None;
        let mut lost = 0;
        for line in lines.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            self.compose(line, severity);
            // The server may have been restarted, so one failure is retried.
            let sent = self.send_once().or_else(|_| {
                self.socket = connect(&self.target.address)?;
                self.send_once()
            });
            if let Err(error) = sent {
                lost += 1;
                failure = Some(error);
            }
        }
        failure.map_or(Ok(()), |error| Err((lost, error)))
    }

    fn compose(&mut self, line: &[u8], severity: Severity) {
        let form = self.target.form;
        if let Some(now) = self.clock.tick(SystemTime::now()) {
            let pattern = match form {
                SyslogForm::Rfc3164 => "%b %e %H:%M:%S",
                SyslogForm::Rfc5424 => "%Y-%m-%dT%H:%M:%S%:z",
            };
            self.time = now.strftime(pattern).to_string();
        }
        let priority = u16::from(self.target.facility.0) * 8 + severity as u16;
        let (out, time, host, pid) = (&mut self.datagram, &self.time, &self.host, std::process::id());
        out.clear();
        let _infallible = match (form, &self.target.address) {
            (SyslogForm::Rfc5424, _) => write!(out, "<{priority}>1 {time} {host} {TAG} {pid} - - "),
            // The system adds its own name.
            (SyslogForm::Rfc3164, SyslogAddress::Unix(_)) => write!(out, "<{priority}>{time} {TAG}[{pid}]: "),
            (SyslogForm::Rfc3164, SyslogAddress::Udp(_)) => {
                write!(out, "<{priority}>{time} {host} {TAG}[{pid}]: ")
            }
        };
        out.extend_from_slice(&line[..line.len().min(DATAGRAM - out.len())]);
    }

    fn send_once(&self) -> io::Result<()> {
        match &self.socket {
            Socket::Unix(socket) => socket.send(&self.datagram),
            Socket::Udp(socket) => socket.send(&self.datagram),
        }
        .map(|_| ())
    }
}

fn connect(address: &SyslogAddress) -> io::Result<Socket> {
    match address {
        SyslogAddress::Unix(path) => {
            let socket = UnixDatagram::unbound()?;
            socket.connect(path)?;
            Ok(Socket::Unix(socket))
        }
        SyslogAddress::Udp(host) => {
            let address = host
                .to_socket_addrs()?
                .next()
                .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the host has no address"))?;
            let socket = UdpSocket::bind(if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
            socket.connect(address)?;
            Ok(Socket::Udp(socket))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        SyslogTarget::parse(text).unwrap().to_string()
    }

    #[test]
    fn targets_are_read_and_shown_whole() {
        assert_eq!(shown(""), "syslog:/dev/log?form=rfc3164&facility=daemon");
        assert_eq!(shown("/run/x?form=rfc5424"), "syslog:/run/x?form=rfc5424&facility=daemon");
        assert_eq!(shown("udp://a:514?facility=local7"), "syslog:udp://a:514?form=rfc5424&facility=local7");
        assert_eq!(shown("udp://[::1]:514"), "syslog:udp://[::1]:514?form=rfc5424&facility=daemon");
        for bad in ["x", "udp://a", "udp://:514", "udp://a:x", "tcp://a:1", "?form=x", "?facility=x", "?x"] {
            assert!(SyslogTarget::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn messages_have_the_form_that_was_chosen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let server = UnixDatagram::bind(&path).unwrap();
        let pid = std::process::id();
        let received = || {
            let mut datagram = [0; 16_384];
            let len = server.recv(&mut datagram).unwrap();
            String::from_utf8(datagram[..len].to_vec()).unwrap()
        };
        let target = |options| SyslogTarget::parse(&format!("{}{options}", path.display())).unwrap();
        let mut old = Syslog::open(&target("?facility=local0")).unwrap();
        old.send(b"one\ntwo\n", Severity::Info).unwrap();
        let first = received();
        let (time, rest) = first.strip_prefix("<134>").unwrap().split_at("Nov 23 04:01:31".len());
        assert!(time.is_ascii() && time.as_bytes()[9] == b':', "{time}");
        assert_eq!(rest, format!(" hcrs[{pid}]: one"));
        assert!(received().ends_with(": two"));
        let mut new = Syslog::open(&target("?form=rfc5424")).unwrap();
        new.send(&[b"x".repeat(100_000), b"\n".to_vec()].concat(), Severity::Error).unwrap();
        let long = received();
        assert_eq!(long.len(), DATAGRAM);
        let words: Vec<_> = long.splitn(8, ' ').collect();
        assert_eq!((words[0], words[3], words[4]), ("<27>1", "hcrs", pid.to_string().as_str()));
        assert!(words[1].parse::<jiff::Timestamp>().is_ok(), "{}", words[1]);
        assert_eq!((words[5], words[6], &words[7][..3]), ("-", "-", "xxx"));
    }

    #[test]
    fn a_server_that_was_started_anew_is_found_and_a_missing_one_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let target = SyslogTarget::parse(path.to_str().unwrap()).unwrap();
        assert!(Syslog::open(&target).is_err(), "there is no server");
        let server = UnixDatagram::bind(&path).unwrap();
        let mut syslog = Syslog::open(&target).unwrap();
        drop(server);
        std::fs::remove_file(&path).unwrap();
        let (lost, _) = syslog.send(b"a\nb\n", Severity::Info).unwrap_err();
        assert_eq!(lost, 2);
        let server = UnixDatagram::bind(&path).unwrap();
        syslog.send(b"c\n", Severity::Info).unwrap();
        let mut datagram = [0; 100];
        let len = server.recv(&mut datagram).unwrap();
        assert!(datagram[..len].ends_with(b": c"));
    }
}
