//! Bind strings: `HOST:PORT`, `HOST`, `:PORT`, `[IPv6]:PORT`, `unix:PATH` and `fd://N`.

use std::net::Ipv6Addr;

use hcrs_server::Bind;

use crate::value::{GivenValue, Mistake};

/// Address of a server without `bind`, which is also Hypercorn's.
pub const DEFAULT_BIND: &str = "127.0.0.1:8000";

/// Port of a bind without one.
const DEFAULT_PORT: u16 = 8000;
/// Longest path of a unix socket, in bytes: the kernel's `sockaddr_un` without the closing zero.
const MAX_UNIX_PATH: usize = 107;

/// Returns the addresses given for a setting such as `bind`.
pub(crate) fn binds(given: &GivenValue<'_>) -> Result<Vec<Bind>, Mistake> {
    let texts = given.text_or_texts()?;
    texts
        .into_iter()
        .map(|(text, place)| {
            parse(text).map_err(|reason| Mistake {
                place: place.clone(),
                message: format!("{text:?} cannot be bound: {reason}"),
            })
        })
        .collect()
}

/// Parses one bind string. The error describes the expected form.
pub(crate) fn parse(text: &str) -> Result<Bind, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        return match path.len() {
            1..=MAX_UNIX_PATH => Ok(Bind::Unix(path.into())),
            _ => Err(format!("the path of a unix socket has 1 to {MAX_UNIX_PATH} bytes")),
        };
    }
    if let Some(number) = text.strip_prefix("fd://") {
        return match number.parse() {
            Ok(fd @ 0..) => Ok(Bind::Fd(fd)),
            _ => Err("fd:// is followed by the number of a descriptor".into()),
        };
    }
    if text.contains("://") {
        return Err("a bind is \"HOST:PORT\" without a scheme; certfile and keyfile enable TLS".into());
    }
    if text.chars().any(|c| c.is_whitespace() || c == '/') {
        return Err("a host has no spaces and no slashes".into());
    }
    if let Some(rest) = text.strip_prefix('[') {
        return bracketed(rest);
    }
    match text.rsplit_once(':') {
        None if text.is_empty() => Err("expected \"HOST:PORT\", \"unix:PATH\" or \"fd://N\"".into()),
        None if text.bytes().all(|byte| byte.is_ascii_digit()) => Err(format!(
            "a number alone would be a host; write \"127.0.0.1:{text}\", or \":{text}\" for every IPv4 \
             interface"
        )),
        None => Ok(tcp(text, DEFAULT_PORT)),
        Some((host, port)) if !host.contains(':') => Ok(tcp(host, parse_port(port)?)),
        // Without brackets the last colon precedes the port, as in Hypercorn, if an address is left.
        Some((host, port)) => match (is_ipv6(host), parse_port(port)) {
            (true, Ok(port)) => Ok(tcp(host, port)),
            _ if is_ipv6(text) => Ok(tcp(text, DEFAULT_PORT)),
            _ => Err("expected an IPv6 address; write \"[ADDRESS]:PORT\"".into()),
        },
    }
}

fn bracketed(rest: &str) -> Result<Bind, String> {
    let expected = "expected an IPv6 address in brackets; write \"[ADDRESS]:PORT\"";
    let (host, rest) = rest.split_once(']').ok_or(expected)?;
    if !is_ipv6(host) {
        return Err(expected.into());
    }
    match rest.strip_prefix(':') {
        Some(port) => Ok(tcp(host, parse_port(port)?)),
        None if rest.is_empty() => Ok(tcp(host, DEFAULT_PORT)),
        None => Err(expected.into()),
    }
}

fn tcp(host: &str, port: u16) -> Bind {
    Bind::Tcp { host: host.into(), port }
}

fn parse_port(text: &str) -> Result<u16, String> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse()
        .ok()
        .filter(|_| digits)
        .ok_or_else(|| format!("a port is a number from 0 to 65535, and {text:?} is not"))
}

/// Returns whether the text is an IPv6 address, with a zone (RFC 4007 section 11) or without.
fn is_ipv6(text: &str) -> bool {
    let address = text.split_once('%').map_or(text, |(address, _)| address);
    address.parse::<Ipv6Addr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binds_are_read_as_hypercorn_reads_them_and_better() {
        for (text, host, port) in [
            ("127.0.0.1:5000", "127.0.0.1", 5000),
            ("localhost", "localhost", 8000),
            ("localhost:0", "localhost", 0),
            (":8443", "", 8443),
            ("0.0.0.0:65535", "0.0.0.0", 65535),
            ("[::1]:5000", "::1", 5000),
            ("[::]:80", "::", 80),
            ("[::1]", "::1", 8000),
            ("[::]", "::", 8000),
            ("::1", "::1", 8000),
            ("::", "::", 8000),
            ("2001:db8::7", "2001:db8::7", 8000),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2:3:4:5:6", 8000),
            ("2001:db8:1:2:3:4:5:6:81", "2001:db8:1:2:3:4:5:6", 81),
            ("::1:5000", "::1", 5000),
            (":::5000", "::", 5000),
            ("[fe80::1%eth0]:443", "fe80::1%eth0", 443),
        ] {
            assert_eq!(parse(text), Ok(Bind::Tcp { host: host.into(), port }), "{text}");
        }
        assert_eq!(parse("unix:/run/hcrs.sock"), Ok(Bind::Unix("/run/hcrs.sock".into())));
        assert_eq!(parse("unix:hcrs.sock"), Ok(Bind::Unix("hcrs.sock".into())));
        assert_eq!(parse("fd://3"), Ok(Bind::Fd(3)));
    }

    #[test]
    fn what_cannot_be_bound_is_refused_with_a_reason() {
        let long = format!("unix:{}", "x".repeat(108));
        for (text, reason) in [
            ("", "HOST:PORT"),
            ("5000", "write \"127.0.0.1:5000\""),
            ("localhost:http", "a port is a number"),
            ("localhost:", "a port is a number"),
            ("localhost:+80", "a port is a number"),
            ("localhost:65536", "a port is a number"),
            ("http://localhost:8000", "without a scheme"),
            ("local host:80", "no spaces"),
            ("a/b", "no slashes"),
            ("[::1", "in brackets"),
            ("[::1]8000", "in brackets"),
            ("[localhost]:80", "in brackets"),
            ("[::1]:x", "a port is a number"),
            ("1:2:3", "[ADDRESS]:PORT"),
            ("unix:", "1 to 107 bytes"),
            (long.as_str(), "1 to 107 bytes"),
            ("fd://", "descriptor"),
            ("fd://-1", "descriptor"),
            ("fd://three", "descriptor"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
