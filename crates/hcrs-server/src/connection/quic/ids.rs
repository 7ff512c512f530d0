//! Connection ids that carry the number of the thread that has the connection.
//!
//! The kernel spreads datagrams over the threads' sockets by the addresses of both ends, so those of a client that
//! has moved arrive at another thread, which reads the number and passes them on. Ids of one connection must not
//! be linkable by an observer (RFC 9000 §9.5), so the number is encrypted: an id is a random nonce and the number,
//! masked by a block of AES over the nonce.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::aead::quic::{AES_128, HeaderProtectionKey};
use quinn_proto::{ConnectionId, ConnectionIdGenerator, InvalidCid};

/// The length of an id, in bytes.
pub(super) const ID_LEN: usize = NONCE_LEN + MASK_LEN;

/// The length of the nonce: random ids of one key rarely meet among 2^64.
const NONCE_LEN: usize = 8;

/// The length of the masked part: the number of the thread, and zeros by which ids of others are recognized.
const MASK_LEN: usize = 5;

/// The length of what is encrypted to the mask.
const BLOCK_LEN: usize = 16;

/// The key of the ids of a process.
pub(super) struct IdKey(HeaderProtectionKey);

impl fmt::Debug for IdKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdKey(hidden)")
    }
}

impl IdKey {
    /// Returns the key of these bytes.
    pub(super) fn new(bytes: &[u8; 16]) -> Self {
        Self(HeaderProtectionKey::new(&AES_128, bytes).expect("invariant: 16 bytes are a key of AES-128"))
    }

    /// Returns a new id of a connection of this thread.
    pub(super) fn id(&self, thread: u16) -> ConnectionId {
        let mut id = [0; ID_LEN];
        let (nonce, masked) = id.split_at_mut(NONCE_LEN);
        aws_lc_rs::rand::fill(nonce).expect("invariant: the system has random bytes");
        masked[..2].copy_from_slice(&thread.to_be_bytes());
        for (byte, mask) in masked.iter_mut().zip(self.mask(nonce)) {
            *byte ^= mask;
        }
        ConnectionId::new(&id)
    }

    /// Returns the thread of an id; `None` if it is none of this key.
    pub(super) fn thread(&self, id: &[u8]) -> Option<u16> {
        let (nonce, masked) = id.split_at_checked(NONCE_LEN)?;
        let mut masked: [u8; MASK_LEN] = masked.try_into().ok()?;
        for (byte, mask) in masked.iter_mut().zip(self.mask(nonce)) {
            *byte ^= mask;
        }
        let [high, low, 0, 0, 0] = masked else { return None };
        Some(u16::from_be_bytes([high, low]))
    }

    /// Returns a place below `places` for an id that the client has chosen. It is always the same for one id, and
    /// clients cannot foresee it.
    pub(super) fn place(&self, id: &[u8], places: usize) -> usize {
        let [a, b, c, d, _] = self.mask(&id[..id.len().min(BLOCK_LEN)]);
        u32::from_be_bytes([a, b, c, d]) as usize % places
    }

    fn mask(&self, bytes: &[u8]) -> [u8; MASK_LEN] {
        let mut block = [0; BLOCK_LEN];
        block[..bytes.len()].copy_from_slice(bytes);
        self.0.new_mask(&block).expect("invariant: a sample is a block")
    }
}

/// Generates the ids of one thread.
#[derive(Debug)]
pub(super) struct Ids {
    pub key: Arc<IdKey>,
    pub thread: u16,
}

impl ConnectionIdGenerator for Ids {
    fn generate_cid(&mut self) -> ConnectionId {
        self.key.id(self.thread)
    }

    fn validate(&self, id: &ConnectionId) -> Result<(), InvalidCid> {
        self.key.thread(id).map(|_| ()).ok_or(InvalidCid)
    }

    fn cid_len(&self) -> usize {
        ID_LEN
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// The mark of the packets of handshakes.
const LONG_HEADER: u8 = 0x80;

/// Whether the destination's id of a datagram may be one that the client has chosen: its first packet is an Initial or
/// a 0-RTT packet (RFC 9000 §17.2).
pub(super) fn may_have_id_of_client(datagram: &[u8]) -> bool {
    /// The upper bit of the type, which Handshake and Retry packets have.
    const HANDSHAKE: u8 = 0x20;
    datagram.first().is_some_and(|first| first & LONG_HEADER != 0 && first & HANDSHAKE == 0)
}

/// Returns the destination's id of a datagram's first packet (RFC 8999 §5), which may be empty; `None` if the
/// datagram is too short.
pub(super) fn destination(datagram: &[u8]) -> Option<&[u8]> {
    const VERSION_LEN: usize = 4;
    let (first, rest) = datagram.split_first()?;
    if first & LONG_HEADER == 0 {
        return rest.get(..ID_LEN);
    }
    let (len, rest) = rest.get(VERSION_LEN..)?.split_first()?;
    rest.get(..usize::from(*len))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn key(byte: u8) -> Arc<IdKey> {
        Arc::new(IdKey::new(&[byte; 16]))
    }

    #[test]
    fn an_id_names_its_thread_to_its_key_alone() {
        let (ours, other) = (key(1), key(2));
        for thread in [0, 1, 7, u16::MAX] {
            let mut ids = Ids { key: Arc::clone(&ours), thread };
            let id = ids.generate_cid();
            assert_eq!((id.len(), ids.cid_len()), (ID_LEN, ID_LEN));
            assert_eq!(ours.thread(&id), Some(thread));
            assert!(ids.validate(&id).is_ok());
            assert_eq!(other.thread(&id), None);
            let mut changed = id.to_vec();
            changed[0] ^= 1;
            assert_eq!(ours.thread(&changed), None);
        }
        for not_one in [&[][..], &[0; NONCE_LEN], &[0; ID_LEN - 1], &[0; ID_LEN], &[0; 20]] {
            assert_eq!(ours.thread(not_one), None);
        }
    }

    #[test]
    fn ids_of_one_thread_have_nothing_in_common() {
        let mut ids = Ids { key: key(3), thread: 5 };
        let made: Vec<_> = (0..256).map(|_| ids.generate_cid()).collect();
        for at in 0..ID_LEN {
            let values: HashSet<u8> = made.iter().map(|id| id[at]).collect();
            assert!(values.len() > 100, "byte {at} has {} values", values.len());
        }
    }

    #[test]
    fn ids_of_clients_have_places_that_stay_and_are_spread() {
        let key = key(4);
        let places: Vec<_> = (0..=u8::MAX).map(|byte| key.place(&[byte; 20], 3)).collect();
        assert!(places.iter().all(|&place| place < 3));
        assert!((0..3).all(|place| places.iter().filter(|&&it| it == place).count() > 40));
        assert_eq!(key.place(&[9; 8], 3), key.place(&[9; 8], 3));
        assert_eq!(key.place(&[], 1), 0);
    }

    #[test]
    fn clients_choose_the_ids_of_the_first_packets() {
        let of_types = [0xc0, 0xd0, 0xe0, 0xf0, 0x40].map(|first| may_have_id_of_client(&[first]));
        assert_eq!(of_types, [true, true, false, false, false]);
        assert!(!may_have_id_of_client(&[]));
    }

    #[test]
    fn the_destination_is_read_from_both_kinds_of_headers() {
        let mut short = vec![0x40];
        short.extend(0..30);
        assert_eq!(destination(&short), Some(&short[1..=ID_LEN]));
        assert_eq!(destination(&short[..ID_LEN]), None);
        let long = [0xc0, 0, 0, 0, 1, 3, 7, 8, 9, 0, 1];
        assert_eq!(destination(&long), Some(&[7, 8, 9][..]));
        assert_eq!(destination(&long[..8]), None);
        assert_eq!(destination(&long[..5]), None);
        assert_eq!(destination(&[0xc0, 0, 0, 0, 1, 0]), Some(&[][..]));
        assert_eq!(destination(&[]), None);
    }
}
