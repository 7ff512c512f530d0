//! The PROXY protocol, versions 1 and 2: a header in which a proxy describes the connection that it accepted
//! (haproxy's `proxy-protocol.txt`). Bytes in, result out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Length of the longest line of version 1 with its line end, in bytes (section 2.1).
const V1_MAX: usize = 107;
const V1_START: &[u8] = b"PROXY ";

/// The signature of version 2 (section 2.2).
const V2_START: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Length of signature, version and command, family, and length, in bytes.
const V2_FIXED: usize = 16;
/// Most bytes of addresses and TLVs of version 2. Addresses take 216 at most; the TLVs of clouds and load
/// balancers a few hundred.
const V2_REST_MAX: usize = 1024 - V2_FIXED;

/// Length of the longest header, in bytes.
pub const PROXY_HEADER_MAX: usize = V2_FIXED + V2_REST_MAX;

/// TLV types (section 2.2.3 and following).
const TLV_CRC32C: u8 = 0x03;
const TLV_SSL: u8 = 0x20;
/// A bit in the first byte of the SSL TLV: the client used TLS to the proxy.
const CLIENT_SSL: u8 = 0x01;

/// The client of a connection, as the proxy describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proxied {
    /// The proxy itself (`LOCAL`, a health check): the connection's own addresses count.
    Itself,
    /// A client that the proxy does not name (`UNKNOWN`, `AF_UNSPEC`): the connection's own addresses count,
    /// but the bytes that follow come from an unknown client.
    Unnamed,
    /// A client on a unix socket, which has no address.
    Unix,
    /// A client with an address.
    Client {
        /// The client's address.
        client: SocketAddr,
        /// The address that the client connected to.
        server: SocketAddr,
        /// Whether the proxy reports that the client used TLS.
        tls: bool,
    },
}

/// The reason why bytes are no header of the PROXY protocol, nor the beginning of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProxyHeaderError {
    /// The bytes do not begin as a header: most likely they come from a client without a proxy.
    #[error("no PROXY protocol header")]
    Absent,
    /// The header is longer than [`PROXY_HEADER_MAX`], or than a line of version 1 may be.
    #[error("PROXY protocol header too long")]
    TooLong,
    /// The bytes begin as a header and are none.
    #[error("malformed PROXY protocol header: {0}")]
    Malformed(&'static str),
}
use ProxyHeaderError::{Absent, Malformed, TooLong};

/// Parses the header at the start of `bytes`. Returns its contents and its length, or `None` while it is
/// incomplete. Bytes that cannot become a header are refused as soon as that can be seen.
pub fn parse_proxy_header(bytes: &[u8]) -> Result<Option<(Proxied, usize)>, ProxyHeaderError> {
    let begins = |start: &[u8]| {
        let seen = bytes.len().min(start.len());
        bytes[..seen] == start[..seen]
    };
    if begins(V2_START) {
        parse_v2(bytes)
    } else if begins(V1_START) {
        parse_v1(bytes)
    } else {
        Err(Absent)
    }
}

fn parse_v1(bytes: &[u8]) -> Result<Option<(Proxied, usize)>, ProxyHeaderError> {
    let seen = &bytes[..bytes.len().min(V1_MAX)];
    let Some(end) = seen.iter().position(|&byte| byte == b'\n') else {
        return if seen.len() == V1_MAX { Err(TooLong) } else { Ok(None) };
    };
    let line = seen[..end].strip_suffix(b"\r").ok_or(Malformed("bare line feed"))?;
    let line = std::str::from_utf8(line).map_err(|_| Malformed("not ASCII"))?;
    let mut words = line.split(' ').skip(1);
    let is_ipv4 = match words.next() {
        Some("TCP4") => true,
        Some("TCP6") => false,
        // The rest of the line has to be ignored.
        Some("UNKNOWN") => return Ok(Some((Proxied::Unnamed, end + 1))),
        _ => return Err(Malformed("unknown protocol")),
    };
    let mut address = || -> Result<IpAddr, ProxyHeaderError> {
        let address: IpAddr = words.next().and_then(|word| word.parse().ok()).ok_or(Malformed("address"))?;
        if address.is_ipv4() == is_ipv4 { Ok(address) } else { Err(Malformed("address of another family")) }
    };
    let (client, server) = (address()?, address()?);
    let mut port = || words.next().and_then(decimal).ok_or(Malformed("port"));
    let (client, server) = (SocketAddr::new(client, port()?), SocketAddr::new(server, port()?));
    if words.next().is_some() {
        return Err(Malformed("more words than four"));
    }
    Ok(Some((Proxied::Client { client, server, tls: false }, end + 1)))
}

/// Parses a port without sign and without leading zeros.
fn decimal(word: &str) -> Option<u16> {
    let canonical = word == "0" || !word.starts_with(['0', '+']);
    word.parse().ok().filter(|_| canonical)
}

fn parse_v2(bytes: &[u8]) -> Result<Option<(Proxied, usize)>, ProxyHeaderError> {
    // Wrong bytes are refused as they come, and not only when the header is complete.
    let is_local = match bytes.get(12) {
        None => return Ok(None),
        Some(0x20) => true,
        Some(0x21) => false,
        Some(_) => return Err(Malformed("version or command")),
    };
    let Some(&family) = bytes.get(13) else { return Ok(None) };
    if family >> 4 > 3 || family & 0xf > 2 {
        return Err(Malformed("address family"));
    }
    let Some(&[high, low]) = bytes.get(14..V2_FIXED) else { return Ok(None) };
    let len = V2_FIXED + usize::from(u16::from_be_bytes([high, low]));
    if len > PROXY_HEADER_MAX {
        return Err(TooLong);
    }
    let Some(header) = bytes.get(..len) else { return Ok(None) };
    if is_local {
        return Ok(Some((Proxied::Itself, len)));
    }
    let (mut proxied, tlvs) = addresses(family, &header[V2_FIXED..])?;
    let is_tls = check_tlvs(header, len - tlvs.len())?;
    if let Proxied::Client { tls, .. } = &mut proxied {
        *tls = is_tls;
    }
    Ok(Some((proxied, len)))
}

/// Reads the addresses. Returns them and the bytes that are left for TLVs.
fn addresses(family: u8, rest: &[u8]) -> Result<(Proxied, &[u8]), ProxyHeaderError> {
    const SHORT: ProxyHeaderError = Malformed("addresses cut short");
    let client = |client: IpAddr, server: IpAddr, ports: [u8; 4]| Proxied::Client {
        client: SocketAddr::new(client, u16::from_be_bytes([ports[0], ports[1]])),
        server: SocketAddr::new(server, u16::from_be_bytes([ports[2], ports[3]])),
        tls: false,
    };
    match family {
        0x11 | 0x12 => {
            let (from, rest) = rest.split_first_chunk::<4>().ok_or(SHORT)?;
            let (to, rest) = rest.split_first_chunk::<4>().ok_or(SHORT)?;
            let (ports, rest) = rest.split_first_chunk::<4>().ok_or(SHORT)?;
            Ok((client(Ipv4Addr::from(*from).into(), Ipv4Addr::from(*to).into(), *ports), rest))
        }
        0x21 | 0x22 => {
            let (from, rest) = rest.split_first_chunk::<16>().ok_or(SHORT)?;
            let (to, rest) = rest.split_first_chunk::<16>().ok_or(SHORT)?;
            let (ports, rest) = rest.split_first_chunk::<4>().ok_or(SHORT)?;
            Ok((client(Ipv6Addr::from(*from).into(), Ipv6Addr::from(*to).into(), *ports), rest))
        }
        0x31 | 0x32 => Ok((Proxied::Unix, rest.get(216..).ok_or(SHORT)?)),
        // AF_UNSPEC: the specification does not define the rest, which may not even be TLVs.
        _ => Ok((Proxied::Unnamed, &[])),
    }
}

/// Checks the TLVs that begin at `at`. Returns whether they report that the client used TLS.
fn check_tlvs(header: &[u8], mut at: usize) -> Result<bool, ProxyHeaderError> {
    let mut is_tls = false;
    while at < header.len() {
        let Some(&[kind, high, low]) = header.get(at..at + 3) else { return Err(Malformed("TLV cut short")) };
        let start = at + 3;
        let end = start + usize::from(u16::from_be_bytes([high, low]));
        let value = header.get(start..end).ok_or(Malformed("TLV cut short"))?;
        match kind {
            TLV_CRC32C => {
                let expected = <[u8; 4]>::try_from(value).map_err(|_| Malformed("checksum's length"))?;
                let parts = [&header[..start], &[0; 4], &header[end..]];
                if crc32c(parts) != u32::from_be_bytes(expected) {
                    return Err(Malformed("checksum"));
                }
            }
            TLV_SSL => is_tls = value.first().is_some_and(|flags| flags & CLIENT_SSL != 0),
            _ => {}
        }
        at = end;
    }
    Ok(is_tls)
}

/// Returns the CRC-32C (RFC 9260 appendix A), computed bit by bit: headers are short and come once in a
/// connection.
fn crc32c(parts: [&[u8]; 3]) -> u32 {
    let mut crc = u32::MAX;
    for byte in parts.into_iter().flatten() {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    !crc
}

#[cfg(test)]
mod tests;
