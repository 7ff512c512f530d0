use proptest::prelude::*;

use super::*;

fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let mut header = V2_START.to_vec();
    header.extend_from_slice(&[command, family]);
    header.extend_from_slice(&(rest.len() as u16).to_be_bytes());
    header.extend_from_slice(rest);
    header
}

fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
    let mut tlv = vec![kind];
    tlv.extend_from_slice(&(value.len() as u16).to_be_bytes());
    tlv.extend_from_slice(value);
    tlv
}

/// The addresses and ports of a connection from 192.0.2.1:4660 to 192.0.2.2:443.
const IPV4: [u8; 12] = [192, 0, 2, 1, 192, 0, 2, 2, 0x12, 0x34, 1, 187];

fn client(client: &str, server: &str, tls: bool) -> Proxied {
    Proxied::Client { client: client.parse().unwrap(), server: server.parse().unwrap(), tls }
}

/// Returns the contents of the whole header, which other bytes follow; each part of it is incomplete.
fn parsed(header: &[u8]) -> Result<Proxied, ProxyHeaderError> {
    let mut bytes = header.to_vec();
    bytes.extend_from_slice(b"\nGET / HTTP/1.1\r\n");
    let (proxied, len) = parse_proxy_header(&bytes)?.expect("complete");
    assert_eq!(len, header.len());
    for part in 0..header.len() {
        assert_eq!(parse_proxy_header(&header[..part]), Ok(None), "{part} bytes");
    }
    Ok(proxied)
}

#[test]
fn version_1_names_the_client() {
    let header = b"PROXY TCP4 192.0.2.1 192.0.2.2 4660 443\r\n";
    assert_eq!(parsed(header), Ok(client("192.0.2.1:4660", "192.0.2.2:443", false)));
    let header = b"PROXY TCP6 2001:db8::1 2001:db8::2 0 65535\r\n";
    assert_eq!(parsed(header), Ok(client("[2001:db8::1]:0", "[2001:db8::2]:65535", false)));
}

#[test]
fn version_1_may_not_know_the_client() {
    assert_eq!(parsed(b"PROXY UNKNOWN\r\n"), Ok(Proxied::Unnamed));
    assert_eq!(parsed(b"PROXY UNKNOWN anything at all 1 2 3\r\n"), Ok(Proxied::Unnamed));
}

#[test]
fn the_longest_line_of_version_1_is_read() {
    let long = "ffff:".repeat(7) + "ffff";
    let line = format!("PROXY UNKNOWN {long} {long} 65535 65535\r\n");
    assert_eq!(line.len(), V1_MAX);
    assert_eq!(parsed(line.as_bytes()), Ok(Proxied::Unnamed));
    assert_eq!(parse_proxy_header(format!("PROXY UNKNOWN {}", "x".repeat(200)).as_bytes()), Err(TooLong));
}

#[test]
fn what_is_no_line_of_version_1_is_refused() {
    for line in [
        "PROXY \r\n",
        "PROXY TCP5 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
        "PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n",
        "PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2.01 192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n",
        "PROXY tcp4 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 \u{662}\r\n",
    ] {
        assert!(matches!(parse_proxy_header(line.as_bytes()), Err(Malformed(_))), "{line}");
    }
    for other in ["GET / HTTP/1.1\r\n", "proxy TCP4", "P ", "PRI * HTTP/2.0", "\r\n\r\nG", "\x16\x03\x01"] {
        assert_eq!(parse_proxy_header(other.as_bytes()), Err(Absent), "{other:?}");
    }
}

#[test]
fn version_2_names_the_client() {
    assert_eq!(parsed(&v2(0x21, 0x11, &IPV4)), Ok(client("192.0.2.1:4660", "192.0.2.2:443", false)));
    assert_eq!(parsed(&v2(0x21, 0x12, &IPV4)), Ok(client("192.0.2.1:4660", "192.0.2.2:443", false)));
    let (from, to) = ("2001:db8::1".parse::<Ipv6Addr>().unwrap(), "::1".parse::<Ipv6Addr>().unwrap());
    let rest = [&from.octets()[..], &to.octets(), &[0, 7, 0, 80]].concat();
    assert_eq!(parsed(&v2(0x21, 0x21, &rest)), Ok(client("[2001:db8::1]:7", "[::1]:80", false)));
    assert_eq!(parsed(&v2(0x21, 0x31, &[b'/'; 216])), Ok(Proxied::Unix));
}

#[test]
fn health_checks_are_the_proxys_own_and_unknown_families_unnamed() {
    assert_eq!(parsed(&v2(0x20, 0, &[])), Ok(Proxied::Itself));
    assert_eq!(parsed(&v2(0x20, 0x11, &IPV4)), Ok(Proxied::Itself));
    assert_eq!(parsed(&v2(0x21, 0, &[1, 2, 3])), Ok(Proxied::Unnamed));
    assert_eq!(parsed(&v2(0x21, 0x10, &IPV4)), Ok(Proxied::Unnamed));
}

#[test]
fn tlvs_are_passed_over_and_say_whether_the_client_spoke_tls() {
    let other = [tlv(0x04, &[0; 40]), tlv(0xea, b"\x01vpce-1234"), tlv(0x02, b"")].concat();
    let rest = [&IPV4[..], &other].concat();
    assert_eq!(parsed(&v2(0x21, 0x11, &rest)), Ok(client("192.0.2.1:4660", "192.0.2.2:443", false)));
    for (flags, tls) in [(0x01, true), (0x07, true), (0x00, false), (0x02, false)] {
        let rest = [&IPV4[..], &other, &tlv(TLV_SSL, &[flags, 0, 0, 0, 0])].concat();
        assert_eq!(parsed(&v2(0x21, 0x11, &rest)), Ok(client("192.0.2.1:4660", "192.0.2.2:443", tls)));
    }
}

#[test]
fn checksums_are_checked() {
    assert_eq!(crc32c([b"1234", b"56789", b""]), 0xe306_9283, "the check value of CRC-32C");
    let rest = [&IPV4[..], &tlv(0x04, &[0; 3]), &tlv(TLV_CRC32C, &[0; 4]), &tlv(0x04, b"")].concat();
    let mut header = v2(0x21, 0x11, &rest);
    let at = V2_FIXED + IPV4.len() + 6 + 3;
    let crc = crc32c([&header, b"", b""]);
    header[at..at + 4].copy_from_slice(&crc.to_be_bytes());
    assert!(parsed(&header).is_ok());
    header[V2_FIXED] ^= 1;
    assert_eq!(parse_proxy_header(&header), Err(Malformed("checksum")));
    let rest = [&IPV4[..], &tlv(TLV_CRC32C, &[0; 3])].concat();
    assert_eq!(parse_proxy_header(&v2(0x21, 0x11, &rest)), Err(Malformed("checksum's length")));
}

#[test]
fn what_is_no_header_of_version_2_is_refused_as_soon_as_it_shows() {
    for command in [0x22, 0x2f, 0x11, 0x31, 0x00] {
        assert_eq!(parse_proxy_header(&v2(command, 0x11, &IPV4)[..13]), Err(Malformed("version or command")));
    }
    for family in [0x41, 0xf1, 0x13, 0xff] {
        assert_eq!(parse_proxy_header(&v2(0x21, family, &IPV4)[..14]), Err(Malformed("address family")));
    }
    for (family, rest) in [(0x11, &IPV4[..11]), (0x21, &[0; 35]), (0x31, &[0; 215])] {
        assert_eq!(parse_proxy_header(&v2(0x21, family, rest)), Err(Malformed("addresses cut short")));
    }
    for tail in [&[4][..], &[4, 0], &[4, 0, 1], &[4, 0xff, 0xff, 1]] {
        let rest = [&IPV4[..], tail].concat();
        assert_eq!(parse_proxy_header(&v2(0x21, 0x11, &rest)), Err(Malformed("TLV cut short")));
    }
    let long = v2(0x21, 0x11, &[0; V2_REST_MAX + 1]);
    assert_eq!(parse_proxy_header(&long[..V2_FIXED]), Err(TooLong));
}

proptest! {
    #[test]
    fn any_bytes_have_an_answer(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..300),
        start in 0usize..4,
    ) {
        let starts = [&b""[..], V1_START, V2_START, b"PROXY TCP4 "];
        bytes.splice(..0, starts[start].iter().copied());
        if let Ok(Some((_, len))) = parse_proxy_header(&bytes) {
            prop_assert!(len <= bytes.len() && len <= PROXY_HEADER_MAX);
            prop_assert_eq!(parse_proxy_header(&bytes[..len]), parse_proxy_header(&bytes));
        }
    }

    #[test]
    fn a_refusal_is_never_taken_back(bytes in proptest::collection::vec(any::<u8>(), 0..60), more: u8) {
        for start in [V1_START, V2_START] {
            let mut bytes = [start, &bytes].concat();
            if let Err(error) = parse_proxy_header(&bytes) {
                bytes.push(more);
                prop_assert_eq!(parse_proxy_header(&bytes), Err(error));
            }
        }
    }

    #[test]
    fn every_address_is_read_back(v6: bool, from: u128, to: u128, ports: [u16; 2], tls: bool) {
        let ip = |bits: u128| -> IpAddr {
            if v6 { Ipv6Addr::from_bits(bits).into() } else { Ipv4Addr::from_bits(bits as u32).into() }
        };
        let (client, server) = (SocketAddr::new(ip(from), ports[0]), SocketAddr::new(ip(to), ports[1]));
        let family = if v6 { "TCP6" } else { "TCP4" };
        let line = format!("PROXY {family} {} {} {} {}\r\n", ip(from), ip(to), ports[0], ports[1]);
        prop_assert_eq!(parsed(line.as_bytes()), Ok(Proxied::Client { client, server, tls: false }));
        let mut rest = Vec::new();
        for address in [ip(from), ip(to)] {
            match address {
                IpAddr::V4(address) => rest.extend(address.octets()),
                IpAddr::V6(address) => rest.extend(address.octets()),
            }
        }
        rest.extend(ports.iter().flat_map(|port| port.to_be_bytes()));
        rest.extend(tlv(TLV_SSL, &[u8::from(tls), 0, 0, 0, 0]));
        let header = v2(0x21, if v6 { 0x21 } else { 0x11 }, &rest);
        prop_assert_eq!(parsed(&header), Ok(Proxied::Client { client, server, tls }));
    }
}
