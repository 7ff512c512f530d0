//! The share of a turn of the loop that one exchange may use.
//!
//! A `receive` or `send` that is ready completes without a future, so that an app for which one is always
//! ready would keep the loop. Each exchange has a slice, a number of messages and a time, in each turn of the
//! loop. A call beyond the slice yields a turn of the loop. A turn of the link begins a new slice, so that an
//! exchange has at most two slices in one turn of the loop.

use std::time::{Duration, Instant};

/// Messages that an exchange may receive and send in one slice.
const MESSAGES_MAX: u32 = 64;

/// Duration of a slice.
const TIME_MAX: Duration = Duration::from_millis(1);

/// Messages of a slice before the clock is read. A request without a body and its response are fewer.
const MESSAGES_UNTIMED: u32 = 4;

/// Turns of the loop that an app whose client has left yields before they are paced.
const TURNS_UNPACED: u32 = 1000;

/// Duration of each paced turn, by which an app that never notices its client's disconnect uses hardly any
/// CPU time.
pub(crate) const PACE: Duration = Duration::from_millis(10);

/// The used part of an exchange's slice.
#[derive(Debug, Default)]
pub(crate) struct Slice {
    /// Number of the link's turn in which the slice began.
    turn: u64,
    messages: u32,
    since: Option<Instant>,
    turns_without_client: u32,
}

impl Slice {
    /// Counts a message in this turn of the link. Returns false if the slice is used up: the caller has to
    /// yield a turn of the loop, with which a new slice begins.
    #[must_use]
    pub(crate) fn spend(&mut self, turn: u64) -> bool {
        if turn != self.turn {
            (self.turn, self.messages, self.since) = (turn, 0, None);
        }
        self.messages += 1;
        if self.messages <= MESSAGES_UNTIMED {
            return true;
        }
        let since = *self.since.get_or_insert_with(Instant::now);
        if self.messages <= MESSAGES_MAX && since.elapsed() < TIME_MAX {
            return true;
        }
        (self.messages, self.since) = (0, None);
        false
    }

    /// Counts a turn of the loop that the app yields after its client has left. Returns true if the turn has
    /// to last for [`PACE`].
    #[must_use]
    pub(crate) fn spend_without_client(&mut self) -> bool {
        self.turns_without_client = self.turns_without_client.saturating_add(1);
        self.turns_without_client > TURNS_UNPACED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_ends_after_its_messages_and_a_new_one_begins() {
        let mut slice = Slice::default();
        for _ in 0..3 {
            // On a slow machine the time may run out first.
            let spent = (0..=MESSAGES_MAX).take_while(|_| slice.spend(0)).count();
            assert!((4..=MESSAGES_MAX as usize).contains(&spent), "{spent}");
        }
    }

    #[test]
    fn a_slice_ends_after_its_time() {
        let mut slice = Slice::default();
        for _ in 0..=MESSAGES_UNTIMED {
            assert!(slice.spend(0));
        }
        slice.since = Instant::now().checked_sub(TIME_MAX);
        assert!(!slice.spend(0) && slice.spend(0));
    }

    #[test]
    fn a_turn_of_the_link_begins_a_new_slice() {
        let mut slice = Slice::default();
        for turn in 1..1000 {
            for _ in 0..MESSAGES_UNTIMED {
                assert!(slice.spend(turn));
            }
        }
    }
}
