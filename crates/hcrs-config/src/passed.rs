//! Sockets that a service manager passes to the process (`sd_listen_fds(3)`), as systemd does for a socket
//! unit: which listener each of them becomes.

use std::collections::VecDeque;
use std::ffi::OsString;

use hcrs_server::passed_sockets::{COUNT, NAMES, PROCESS};
use hcrs_server::{Bind, INHERITED_LISTENERS, Listener};

use crate::value::{Mistake, Place};

/// The first descriptor that is passed.
const FIRST: i32 = 3;

/// The most sockets that are taken: more than any unit has, and few enough for a line in the log.
const MOST: u16 = 64;

/// The sockets that were passed, in their order.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Passed {
    sockets: Vec<Role>,
}

/// The use of a passed socket, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// `https`: TLS.
    Https,
    /// `http`: cleartext.
    Http,
    /// `quic`: HTTP/3.
    Quic,
    /// Any other name: what the next address of the configuration speaks.
    ByOrder,
}

impl Passed {
    /// Returns the sockets that the environment passes to the process with the id `own`: none if it passes
    /// none, or those of another process.
    pub(crate) fn to_process(
        own: u32,
        environment: &[(OsString, OsString)],
        mistakes: &mut Vec<Mistake>,
    ) -> Self {
        let variable = |name: &str| {
            environment.iter().find(|(known, _)| known == name).and_then(|(_, value)| value.to_str())
        };
        let Some(count) = variable(COUNT).filter(|_| {
            // A successor gets the sockets from its predecessor, which they were passed to.
            variable(PROCESS).and_then(|process| process.parse().ok()) == Some(own)
                || variable(INHERITED_LISTENERS).is_some()
        }) else {
            return Self::default();
        };
        let Some(count) = count.parse().ok().filter(|&count: &u16| count <= MOST) else {
            mistakes.push(Mistake {
                place: Place::Variable(COUNT.to_owned()),
                message: format!(
                    "{count:?} is not a number of sockets up to {MOST}; pass fewer sockets, or unset {COUNT}"
                ),
            });
            return Self::default();
        };
        let mut names = variable(NAMES).unwrap_or_default().split(':');
        let role = |_| match names.next() {
            Some("https") => Role::Https,
            Some("http") => Role::Http,
            Some("quic") => Role::Quic,
            _ => Role::ByOrder,
        };
        Self { sockets: (0..count).map(role).collect() }
    }

    /// Lets the sockets take the places of the listeners, unless one of these names a descriptor itself
    /// (`fd://N`). Returns warnings about sockets and listeners that are not served.
    ///
    /// `has_tls` states whether there is a certificate, and `are_given` whether the operator has named an
    /// address.
    pub(crate) fn take_places(
        &self,
        listeners: &mut Vec<Listener>,
        quic_binds: &mut Vec<Bind>,
        has_tls: bool,
        are_given: bool,
    ) -> Result<Vec<String>, Mistake> {
        let sockets = (FIRST..).zip(self.sockets.iter().copied());
        let mut named = listeners.iter().map(|listener| &listener.bind).chain(quic_binds.iter());
        if named.any(|bind| matches!(bind, Bind::Fd(_))) {
            let is_served = |fd: i32| {
                let mut named = listeners.iter().map(|listener| &listener.bind).chain(quic_binds.iter());
                named.any(|bind| *bind == Bind::Fd(fd))
            };
            return Ok(unserved(sockets.map(|(fd, _)| fd).filter(|&fd| !is_served(fd)))
                .into_iter()
                .collect());
        }
        let mut warnings = Vec::new();
        let mut places = Places::of(listeners, has_tls);
        let mut taken = Vec::new();
        let mut taken_for_quic = Vec::new();
        for (fd, role) in sockets {
            match role {
                Role::Https | Role::Quic if !has_tls => {
                    let (name, or) = match role {
                        Role::Quic => ("quic", "remove it from its unit"),
                        _ => ("https", "name it http"),
                    };
                    let message = format!(
                        "the socket fd://{fd} is named {name}, but there is no certificate: set certfile and \
                         keyfile, or {or}"
                    );
                    return Err(Mistake { place: Place::Variable(NAMES.to_owned()), message });
                }
                Role::Https => taken.push(places.take(fd, true)),
                Role::Http => taken.push(places.take(fd, false)),
                Role::ByOrder => {
                    let tls = has_tls && (!places.secure.is_empty() || places.cleartext.is_empty());
                    taken.push(places.take(fd, tls));
                }
                Role::Quic => taken_for_quic.push(Bind::Fd(fd)),
            }
        }
        if !taken_for_quic.is_empty() {
            let left = quic_binds.split_off(taken_for_quic.len().min(quic_binds.len()));
            warnings.extend(left_over(&left, "quic_bind").filter(|_| are_given));
            *quic_binds = taken_for_quic;
        }
        if !taken.is_empty() {
            *listeners = taken;
            warnings.extend(places.left().filter(|_| are_given));
        }
        Ok(warnings)
    }
}

/// The listeners whose places no socket has taken yet, in the order of the configuration.
struct Places {
    secure: VecDeque<Listener>,
    cleartext: VecDeque<Listener>,
    /// Whether every listener expects the PROXY protocol, and so those beyond the configured ones.
    proxy_protocol: bool,
}

impl Places {
    fn of(listeners: &[Listener], has_tls: bool) -> Self {
        let (secure, cleartext) = listeners.iter().cloned().partition(|listener| has_tls && listener.tls);
        let proxy_protocol = listeners.iter().all(|listener| listener.proxy_protocol);
        Self { secure, cleartext, proxy_protocol }
    }

    /// Returns the listener of a socket: in the place of the next one of its kind, or a new one.
    fn take(&mut self, fd: i32, tls: bool) -> Listener {
        let next = if tls { self.secure.pop_front() } else { self.cleartext.pop_front() };
        let proxy_protocol = next.map_or(self.proxy_protocol, |listener| listener.proxy_protocol);
        Listener { bind: Bind::Fd(fd), tls, proxy_protocol }
    }

    /// Returns a warning about the listeners that are left.
    fn left(self) -> Option<String> {
        let left = self.secure.into_iter().chain(self.cleartext).map(|listener| listener.bind);
        left_over(&left.collect::<Vec<_>>(), "bind and insecure_bind")
    }
}

/// Returns a warning about the addresses of `keys` that are left, if there are any.
fn left_over(left: &[Bind], keys: &str) -> Option<String> {
    let left: Vec<_> = left.iter().map(ToString::to_string).collect();
    let first_key = keys.split(' ').next().unwrap_or_default();
    (!left.is_empty()).then(|| {
        format!(
            "Nothing listens on {}: the service manager has passed sockets, which take the place of {keys}; add a \
             socket to its unit for each address, or name its sockets as fd://{FIRST} in {first_key}",
            left.join(", ")
        )
    })
}

/// Returns a warning about sockets that were passed beside those that `fd://` names.
fn unserved(sockets: impl Iterator<Item = i32>) -> Option<String> {
    let sockets: Vec<_> = sockets.map(|fd| format!("fd://{fd}")).collect();
    (!sockets.is_empty()).then(|| {
        format!(
            "The service manager has passed sockets that nothing serves; name them in bind, as in --bind {}",
            sockets.join(" --bind ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PID: u32 = 7;

    fn passed(variables: &[(&str, &str)]) -> Result<Passed, String> {
        let environment: Vec<_> =
            variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect();
        let mut mistakes = Vec::new();
        let passed = Passed::to_process(PID, &environment, &mut mistakes);
        mistakes.pop().map_or(Ok(passed), |mistake| Err(mistake.message))
    }

    fn named(names: &str) -> Passed {
        let count = names.split(':').count().to_string();
        passed(&[("LISTEN_PID", "7"), ("LISTEN_FDS", &count), ("LISTEN_FDNAMES", names)]).unwrap()
    }

    fn listener(port: u16, tls: bool) -> Listener {
        Listener { bind: Bind::Tcp { host: "h".into(), port }, tls, proxy_protocol: false }
    }

    /// The descriptors with their schemes, and the warnings.
    fn served(passed: &Passed, listeners: &[Listener], has_tls: bool) -> (Vec<String>, Vec<String>) {
        let mut listeners = listeners.to_vec();
        let warnings = passed.take_places(&mut listeners, &mut Vec::new(), has_tls, true).unwrap();
        let shown =
            |listener: &Listener| format!("{} {}", listener.bind, if listener.tls { "s" } else { "c" });
        (listeners.iter().map(shown).collect(), warnings)
    }

    /// Returns the error of a socket with this name where there is no certificate.
    fn refused(name: &str) -> Mistake {
        named(name).take_places(&mut vec![listener(80, false)], &mut Vec::new(), false, true).unwrap_err()
    }

    #[test]
    fn sockets_are_for_the_process_that_the_variable_names() {
        assert_eq!(passed(&[]), Ok(Passed::default()));
        assert_eq!(passed(&[("LISTEN_FDS", "1")]), Ok(Passed::default()));
        assert_eq!(passed(&[("LISTEN_FDS", "1"), ("LISTEN_PID", "8")]), Ok(Passed::default()));
        assert_eq!(passed(&[("LISTEN_FDS", "x"), ("LISTEN_PID", "8")]), Ok(Passed::default()));
        let two = passed(&[("LISTEN_FDS", "2"), ("LISTEN_PID", "7")]).unwrap();
        assert_eq!(two.sockets, [Role::ByOrder, Role::ByOrder]);
        for count in ["x", "-1", "65", ""] {
            let error = passed(&[("LISTEN_FDS", count), ("LISTEN_PID", "7")]).unwrap_err();
            assert!(error.contains("not a number of sockets up to 64"), "{error}");
        }
    }

    #[test]
    fn names_decide_what_clients_speak() {
        let both = [listener(443, true), listener(80, false)];
        let expected = ["fd://3 c", "fd://4 s"].map(str::to_owned).to_vec();
        assert_eq!(served(&named("http:https"), &both, true), (expected, vec![]));
        let cleartext = ["fd://3 c".to_owned()].to_vec();
        assert_eq!(served(&named("http"), &[listener(80, false)], false), (cleartext, vec![]));
        let error = refused("https");
        assert!(error.message.contains("certfile and keyfile"), "{}", error.message);
    }

    #[test]
    fn other_sockets_take_the_places_of_the_addresses_in_their_order() {
        let both = [listener(443, true), listener(80, false)];
        let expected = ["fd://3 s", "fd://4 c", "fd://5 s"].map(str::to_owned).to_vec();
        assert_eq!(served(&named("hcrs.socket:hcrs.socket:hcrs.socket"), &both, true), (expected, vec![]));
        let mixed = ["fd://3 c", "fd://4 s"].map(str::to_owned).to_vec();
        assert_eq!(served(&named("http:hcrs.socket"), &both, true), (mixed, vec![]));
        let cleartext = ["fd://3 c", "fd://4 c"].map(str::to_owned).to_vec();
        assert_eq!(served(&named("a:b"), &[listener(80, false)], false), (cleartext, vec![]));
    }

    #[test]
    fn addresses_that_no_socket_replaces_are_reported_if_the_operator_has_given_them() {
        let both = [listener(443, true), listener(80, false)];
        let (listeners, warnings) = served(&named("https"), &both, true);
        assert_eq!(listeners, ["fd://3 s"]);
        assert!(warnings.len() == 1 && warnings[0].starts_with("Nothing listens on h:80: "), "{warnings:?}");
        assert_eq!(named("https").take_places(&mut both.to_vec(), &mut Vec::new(), true, false), Ok(vec![]));
    }

    #[test]
    fn addresses_with_fd_stay_as_they_are() {
        let fixed = Listener { bind: Bind::Fd(4), tls: true, proxy_protocol: false };
        let (listeners, warnings) = served(&named("http:http"), &[fixed, listener(80, false)], true);
        assert_eq!(listeners, ["fd://4 s", "h:80 c"]);
        assert!(warnings[0].ends_with("as in --bind fd://3"), "{warnings:?}");
    }

    #[test]
    fn a_socket_for_quic_takes_the_place_of_an_address_for_http3_alone() {
        let (listeners, warnings) = served(&named("quic"), &[listener(443, true)], true);
        assert_eq!((listeners, warnings), (vec!["h:443 s".to_owned()], vec![]));
        let (listeners, warnings) = served(&named("quic:https"), &[listener(443, true)], true);
        assert_eq!((listeners, warnings), (vec!["fd://4 s".to_owned()], vec![]));
        let quic = |names: &str, binds: &[&str]| {
            let mut binds = binds.iter().map(|bind| crate::bind::parse(bind).unwrap()).collect();
            let mut listeners = vec![listener(443, true)];
            let warnings = named(names).take_places(&mut listeners, &mut binds, true, true).unwrap();
            (binds.iter().map(ToString::to_string).collect::<Vec<_>>(), warnings)
        };
        assert_eq!(quic("https:quic", &["h:443"]), (vec!["fd://4".to_owned()], vec![]));
        assert_eq!(quic("quic:quic", &["h:443"]).0, ["fd://3", "fd://4"]);
        assert_eq!(quic("https", &["h:443"]), (vec!["h:443".to_owned()], vec![]));
        let (_, warnings) = quic("quic", &["h:443", "h:444"]);
        assert!(warnings[0].starts_with("Nothing listens on h:444: "), "{warnings:?}");
        let error = refused("quic");
        assert!(error.message.contains("certfile and keyfile"), "{}", error.message);
    }

    #[test]
    fn the_proxy_protocol_of_an_address_is_that_of_its_socket() {
        let expecting = |port| Listener { proxy_protocol: true, ..listener(port, false) };
        let of = |listeners: &[Listener]| {
            let mut listeners = listeners.to_vec();
            named("a:b").take_places(&mut listeners, &mut Vec::new(), false, true).unwrap();
            listeners.iter().map(|listener| listener.proxy_protocol).collect::<Vec<_>>()
        };
        assert_eq!(of(&[expecting(1), listener(2, false)]), [true, false]);
        assert_eq!(of(&[expecting(1)]), [true, true], "proxy_protocol = true is for every listener");
        assert_eq!(of(&[listener(1, false)]), [false, false]);
    }
}
