//! Names and passwords that were verified, so that each of them is hashed slowly once and not for every request.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

use crate::Credentials;

/// The most pairs that are remembered. One is 32 bytes and an instant.
const PAIRS_MAX: usize = 1024;

/// How long a pair is remembered.
const KEPT_FOR: Duration = Duration::from_secs(300);

/// The keyed digest of a name and a password for one file of passwords.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PairKey([u8; 32]);

/// The pairs that were right a while ago. Neither names nor passwords are kept, but digests of both under a
/// random key: they are worth nothing outside of the process, and how long a look-up takes tells nothing about a
/// password, because no client can choose the digest's bytes.
#[derive(Debug)]
pub struct Remembered {
    secret: [u8; 32],
    pairs: HashMap<PairKey, Instant>,
}

impl Remembered {
    /// Returns an empty set with a key that is random and secret.
    pub fn new(secret: [u8; 32]) -> Self {
        Self { secret, pairs: HashMap::new() }
    }

    /// Returns the key of a pair for the file with this number, which differs whenever a file is read.
    pub fn key(&self, file: u64, credentials: &Credentials) -> PairKey {
        let mut digest = Sha256::new();
        digest.update(self.secret);
        digest.update(file.to_le_bytes());
        digest.update((credentials.name().len() as u64).to_le_bytes());
        digest.update(credentials.name());
        digest.update(credentials.password());
        PairKey(digest.finalize().into())
    }

    /// Whether the pair is known to be right.
    pub fn has(&self, key: &PairKey, now: Instant) -> bool {
        self.pairs.get(key).is_some_and(|until| now < *until)
    }

    /// Remembers that the pair is right. If there are too many, the one that was remembered first is forgotten.
    pub fn add(&mut self, key: PairKey, now: Instant) {
        if self.pairs.len() >= PAIRS_MAX {
            self.pairs.retain(|_, until| now < *until);
        }
        if self.pairs.len() >= PAIRS_MAX
            && let Some(oldest) = self.pairs.iter().min_by_key(|(_, until)| **until).map(|(key, _)| *key)
        {
            self.pairs.remove(&oldest);
        }
        self.pairs.insert(key, now + KEPT_FOR);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(encoded: &str) -> Credentials {
        Credentials::parse(format!("Basic {}", hcrs_http::base64(encoded.as_bytes())).as_bytes()).unwrap()
    }

    #[test]
    fn a_pair_is_remembered_for_its_file_and_for_some_minutes() {
        let (mut remembered, now) = (Remembered::new([7; 32]), Instant::now());
        let pair = credentials("ann:secret");
        let key = remembered.key(1, &pair);
        assert!(!remembered.has(&key, now));
        remembered.add(key, now);
        assert!(remembered.has(&key, now + Duration::from_secs(299)));
        assert!(!remembered.has(&key, now + KEPT_FOR));
        for (file, other) in
            [(2, "ann:secret"), (1, "ann:secre"), (1, "annsec:ret"), (1, "ann:"), (1, "an:nsecret")]
        {
            assert!(!remembered.has(&remembered.key(file, &credentials(other)), now), "{file} {other}");
        }
    }

    #[test]
    fn the_pairs_are_bounded() {
        let (mut remembered, start) = (Remembered::new([7; 32]), Instant::now());
        let key =
            |remembered: &Remembered, user: usize| remembered.key(1, &credentials(&format!("{user}:x")));
        for user in 0..2 * PAIRS_MAX {
            let now = start + Duration::from_millis(user as u64);
            remembered.add(key(&remembered, user), now);
        }
        assert_eq!(remembered.pairs.len(), PAIRS_MAX);
        let now = start + Duration::from_secs(4);
        assert!(remembered.has(&key(&remembered, 2 * PAIRS_MAX - 1), now));
        assert!(!remembered.has(&key(&remembered, 0), now));
    }
}
