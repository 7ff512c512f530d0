//! When clients have to prove their address before their handshake is answered (RFC 9000 §8.1.2).
//!
//! An answer costs a signature and some kilobytes of state, for a datagram whose address may be forged. So while
//! there are many of them, clients get a Retry packet first, which costs neither, and them a round trip.

use std::time::{Duration, Instant};

/// The number of handshakes with addresses that are not proven, in a burst and in each second, that one thread
/// answers without Retry.
const HANDSHAKES: u32 = 500;

/// The number of such handshakes that may be unfinished.
const UNFINISHED: usize = 250;

/// The arrivals of handshakes at one thread.
#[derive(Debug)]
pub(super) struct HandshakeRate {
    /// How many more are answered without Retry.
    left: u32,
    /// When `left` was last raised.
    since: Instant,
}

impl HandshakeRate {
    /// Returns a rate without arrivals.
    pub(super) fn new(now: Instant) -> Self {
        Self { left: HANDSHAKES, since: now }
    }

    /// Counts a handshake from an address that is not proven, while this number of others is unfinished. Returns
    /// whether the address has to be proven first.
    pub(super) fn needs_proof(&mut self, unfinished: usize, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.since);
        let regained =
            u32::try_from(elapsed.as_micros() * u128::from(HANDSHAKES) / 1_000_000).unwrap_or(u32::MAX);
        if regained > 0 {
            self.left = self.left.saturating_add(regained).min(HANDSHAKES);
            self.since = if self.left == HANDSHAKES {
                now
            } else {
                self.since + Duration::from_micros(u64::from(regained) * 1_000_000 / u64::from(HANDSHAKES))
            };
        }
        if self.left == 0 || unfinished >= UNFINISHED {
            return true;
        }
        self.left -= 1;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of a thousand arrivals at `now` need no proof.
    fn answered(rate: &mut HandshakeRate, now: Instant) -> u32 {
        (0..1000).map(|_| u32::from(!rate.needs_proof(0, now))).sum()
    }

    #[test]
    fn a_burst_is_answered_and_what_exceeds_the_rate_has_to_prove_its_address() {
        let start = Instant::now();
        let mut rate = HandshakeRate::new(start);
        assert_eq!(answered(&mut rate, start), HANDSHAKES);
        let half = start + Duration::from_millis(500);
        assert_eq!(answered(&mut rate, half), HANDSHAKES / 2);
        assert_eq!(answered(&mut rate, half), 0);
        assert_eq!(answered(&mut rate, start + Duration::from_secs(3600)), HANDSHAKES);
    }

    #[test]
    fn steps_that_are_shorter_than_one_handshake_add_up() {
        let mut now = Instant::now();
        let mut rate = HandshakeRate::new(now);
        answered(&mut rate, now);
        let mut passed = 0;
        for _ in 0..10_000 {
            now += Duration::from_micros(100);
            passed += u32::from(!rate.needs_proof(0, now));
        }
        assert!((HANDSHAKES - 2..=HANDSHAKES).contains(&passed), "{passed} in a second");
    }

    #[test]
    fn many_unfinished_handshakes_call_for_proof_whatever_their_rate() {
        let now = Instant::now();
        let mut rate = HandshakeRate::new(now);
        assert!(!rate.needs_proof(UNFINISHED - 1, now));
        assert!(rate.needs_proof(UNFINISHED, now));
    }
}
