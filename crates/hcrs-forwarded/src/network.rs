//! Trusted peers: networks in CIDR notation (RFC 4632 §3.1, RFC 4291 §2.3), and peers on unix sockets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A network: the addresses that share their first bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    first: IpAddr,
    prefix: u8,
}

/// The reason why a text is no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// The text is neither an address nor an address with a prefix length.
    #[error("expected an address or a network as in 10.0.0.0/8 or fd00::/8")]
    Malformed,
    /// Host bits are set, so it is unclear whether the network or the address is meant.
    #[error("host bits are set: the network is {0}; a single address is written without /")]
    HostBitsSet(Network),
}

impl Network {
    /// Whether the address is in the network. An IPv4 address that is mapped to IPv6 counts as the IPv4
    /// address.
    pub fn contains(&self, address: IpAddr) -> bool {
        masked(address.to_canonical(), self.prefix) == Some(self.first)
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => {
                let digits = prefix.bytes().all(|byte| byte.is_ascii_digit());
                let prefix = prefix.parse::<u8>().ok().filter(|_| digits).ok_or(NetworkError::Malformed)?;
                (address, Some(prefix))
            }
            None => (text, None),
        };
        let written: IpAddr = address.parse().map_err(|_| NetworkError::Malformed)?;
        let prefix = prefix.unwrap_or_else(|| bits(written));
        if prefix > bits(written) {
            return Err(NetworkError::Malformed);
        }
        let (address, prefix) = match written.to_canonical() {
            // A network of mapped addresses is one of IPv4, as long as it has no others.
            address @ IpAddr::V4(_) if written.is_ipv6() && prefix >= 96 => (address, prefix - 96),
            _ if written.is_ipv6() => (written, prefix),
            address => (address, prefix),
        };
        let first = masked(address, prefix).ok_or(NetworkError::Malformed)?;
        let network = Self { first, prefix };
        if first == address { Ok(network) } else { Err(NetworkError::HostBitsSet(network)) }
    }
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// Returns the address with its host bits cleared; `None` if it has fewer bits than the prefix.
fn masked(address: IpAddr, prefix: u8) -> Option<IpAddr> {
    let host_bits = u32::from(bits(address).checked_sub(prefix)?);
    Some(match address {
        IpAddr::V4(address) => {
            Ipv4Addr::from_bits(address.to_bits() & u32::MAX.checked_shl(host_bits).unwrap_or(0)).into()
        }
        IpAddr::V6(address) => {
            Ipv6Addr::from_bits(address.to_bits() & u128::MAX.checked_shl(host_bits).unwrap_or(0)).into()
        }
    })
}

/// The peers whose reports about a client are trusted. By default there are none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Trust {
    /// Peers in these networks.
    pub networks: Vec<Network>,
    /// Peers on unix sockets.
    pub unix: bool,
    /// Every peer that connects, but no hop that it names.
    pub everyone: bool,
}

impl Trust {
    /// Adds the peers in a list of words, with commas or blanks between them: addresses, networks, `unix`, or
    /// `*` for every peer that connects. The error has the word that is none of these.
    pub fn add(&mut self, words: &str) -> Result<(), (String, NetworkError)> {
        for word in words.split([',', ' ', '\t']).filter(|word| !word.is_empty()) {
            match word {
                "*" => self.everyone = true,
                "unix" => self.unix = true,
                _ => self.networks.push(word.parse().map_err(|error| (word.to_owned(), error))?),
            }
        }
        Ok(())
    }

    /// Whether no peer is trusted.
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty() && !self.unix && !self.everyone
    }

    /// Whether a peer with this address is trusted; a peer on a unix socket has none.
    pub fn trusts_peer(&self, address: Option<IpAddr>) -> bool {
        self.everyone || address.map_or(self.unix, |address| self.trusts_hop(address))
    }

    /// Whether a hop that another hop names, in a field or by the PROXY protocol, is trusted.
    /// [`Trust::everyone`] does not count here: with it, a client could name any address as its own.
    pub fn trusts_hop(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap()
    }

    #[test]
    fn networks_contain_their_addresses() {
        for (text, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.6"),
            ("192.0.2.7/32", "::ffff:192.0.2.7", "::ffff:192.0.2.8"),
            ("0.0.0.0/0", "255.255.255.255", "::1"),
            ("::/0", "2001:db8::1", "192.0.2.1"),
            ("fd00::/8", "fdff::1", "fe80::1"),
            ("::1", "::1", "::2"),
            ("::ffff:10.0.0.0/104", "10.1.2.3", "11.0.0.0"),
        ] {
            assert!(network(text).contains(inside.parse().unwrap()), "{text} {inside}");
            assert!(!network(text).contains(outside.parse().unwrap()), "{text} {outside}");
        }
    }

    #[test]
    fn what_is_no_network_is_refused_with_a_reason() {
        for text in
            ["", "/", "10.0.0.0/", "10.0.0.0/33", "::/129", "10.0.0/8", "10.0.0.0/+8", "host", "10.0.0.0/8/8"]
        {
            assert_eq!(text.parse::<Network>(), Err(NetworkError::Malformed), "{text}");
        }
        let error = "10.0.0.1/8".parse::<Network>().unwrap_err().to_string();
        assert!(error.contains("10.0.0.0/8"), "{error}");
    }

    #[test]
    fn trust_is_read_from_words() {
        let mut trust = Trust::default();
        trust.add("127.0.0.1, ::1,unix 10.0.0.0/8").unwrap();
        assert!(trust.unix && !trust.everyone);
        assert_eq!(trust.networks.len(), 3);
        assert_eq!(trust.add("a.b").unwrap_err().0, "a.b");
    }

    #[test]
    fn no_peer_is_trusted_by_default_and_everyone_is_only_as_the_peer() {
        let none = Trust::default();
        assert!(none.is_empty() && !none.trusts_peer(None));
        let address = "127.0.0.1".parse().unwrap();
        assert!(!none.trusts_peer(Some(address)));
        let everyone = Trust { everyone: true, ..Trust::default() };
        assert!(
            everyone.trusts_peer(Some(address))
                && everyone.trusts_peer(None)
                && !everyone.trusts_hop(address)
        );
        let unix = Trust { unix: true, ..Trust::default() };
        assert!(unix.trusts_peer(None) && !unix.trusts_peer(Some(address)));
    }

    proptest! {
        #[test]
        fn networks_are_read_back_as_they_are_shown(bits: u128, prefix in 0u8..=128) {
            let address = Ipv6Addr::from_bits(bits | 1 << 127);
            let network = Network { first: masked(address.into(), prefix).unwrap(), prefix };
            prop_assert_eq!(network.to_string().parse(), Ok(network));
            prop_assert!(network.contains(address.into()));
        }

        #[test]
        fn any_text_is_a_network_or_an_error(text in "\\PC{0,40}") {
            let _either = text.parse::<Network>();
        }
    }
}
