//! How much may be sent to an address that the client has not proven (RFC 9000 §8).
//!
//! quinn-proto limits what it sends to one such address, but for a datagram that is sent whole if one byte of it is
//! within the limit, and for those that look for the path's limit of lengths. A client that pretends to move from one
//! victim to the next with each of its datagrams would have some 75 times their bytes sent to them. So the limit here
//! is that of the connection: all such addresses together get three times what has arrived.

use std::net::SocketAddr;

/// How often the bytes that have arrived may be sent.
const FACTOR: usize = 3;

/// The most bytes that are allowed at once, whatever has arrived.
const MOST: usize = 64 << 10;

/// The bytes that a connection may send to addresses that are not proven.
#[derive(Debug)]
pub(super) struct Allowance {
    /// The last address that the client has proven.
    proven: Option<SocketAddr>,
    left: usize,
}

impl Allowance {
    /// Returns that of a connection of which this number of bytes has arrived, from an address that may be proven.
    pub(super) fn new(proven: Option<SocketAddr>, arrived: usize) -> Self {
        let mut allowance = Self { proven, left: 0 };
        allowance.earn(arrived);
        allowance
    }

    /// Notes that a datagram of this length has arrived for the connection, from any address.
    pub(super) fn earn(&mut self, len: usize) {
        self.left = len.saturating_mul(FACTOR).saturating_add(self.left).min(MOST);
    }

    /// Notes that the client is at an address.
    pub(super) fn prove(&mut self, address: SocketAddr) {
        self.proven = Some(address);
    }

    /// Whether the client is known to be at an address.
    pub(super) fn is_proven(&self, address: SocketAddr) -> bool {
        self.proven == Some(address)
    }

    /// Whether a datagram may be sent, which then counts as sent.
    pub(super) fn spend(&mut self, destination: SocketAddr, len: usize) -> bool {
        if self.is_proven(destination) {
            return true;
        }
        let left = self.left.checked_sub(len);
        self.left = left.unwrap_or(self.left);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    #[test]
    fn an_address_gets_three_times_what_has_arrived() {
        let mut allowance = Allowance::new(None, 1200);
        assert!((0..3).all(|_| allowance.spend(address(1), 1200)));
        assert!(!allowance.spend(address(1), 1));
        allowance.earn(40);
        assert!(!allowance.spend(address(1), 121), "nothing of it is sent");
        assert!(allowance.spend(address(1), 120));
    }

    #[test]
    fn all_addresses_have_one_allowance() {
        let mut allowance = Allowance::new(Some(address(1)), 100);
        assert!(allowance.spend(address(2), 200));
        assert!(!allowance.spend(address(3), 101));
        assert!(allowance.spend(address(3), 100));
        assert!(allowance.spend(address(1), 1 << 20), "this one is proven");
    }

    #[test]
    fn a_proven_address_gets_all_until_another_one_is_proven() {
        let mut allowance = Allowance::new(None, 0);
        assert!(!allowance.spend(address(1), 1));
        allowance.prove(address(1));
        assert!(allowance.spend(address(1), 1));
        allowance.prove(address(2));
        assert!(allowance.is_proven(address(2)) && !allowance.is_proven(address(1)));
    }

    #[test]
    fn an_upload_allows_no_flood() {
        let mut allowance = Allowance::new(Some(address(1)), 1 << 30);
        assert!(allowance.spend(address(2), MOST));
        assert!(!allowance.spend(address(2), 1));
    }
}
