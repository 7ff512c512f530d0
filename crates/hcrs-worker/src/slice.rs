//! How long one exchange keeps the loop before the others have their turn.
//!
//! A `receive` or `send` that is ready completes without a future, so an app that always finds one ready would run without
//! end. Each exchange has a slice of messages and of time for each turn of the loop; a call beyond it gives the loop a turn.
//! What comes over the link begins a new slice, so an exchange has two in one turn of the loop at most.

use std::time::{Duration, Instant};

/// Messages that an exchange receives and sends in one turn of the loop.
const MESSAGES_MAX: u32 = 64;

/// How long an exchange goes on in one turn of the loop.
const TIME_MAX: Duration = Duration::from_millis(1);

/// Messages after which the clock is looked at. A request without a body and its whole response are fewer.
const MESSAGES_UNTIMED: u32 = 4;

/// Turns that an app gives the loop for calls that nobody is there to hear, before they are paced.
const TURNS_UNPACED: u32 = 1000;

/// How long each such turn lasts after that: an app that never notices that its client has left uses next to no CPU.
pub(crate) const PACE: Duration = Duration::from_millis(10);

/// What an exchange has used of its slice.
#[derive(Debug, Default)]
pub(crate) struct Slice {
    /// The turn of the link that it began in.
    turn: u64,
    messages: u32,
    since: Option<Instant>,
    turns_for_nobody: u32,
}

impl Slice {
    /// Counts a message in this turn of the link. False if the loop is owed a turn, with which a new slice begins.
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

    /// Counts a turn that the app gives the loop although nobody is there any more. True if it has to last for [`PACE`].
    #[must_use]
    pub(crate) fn spend_on_nobody(&mut self) -> bool {
        self.turns_for_nobody = self.turns_for_nobody.saturating_add(1);
        self.turns_for_nobody > TURNS_UNPACED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_ends_after_so_many_messages_and_a_new_one_begins() {
        let mut slice = Slice::default();
        for _ in 0..3 {
            // On a slow machine the time may be over first.
            let spent = (0..=MESSAGES_MAX).take_while(|_| slice.spend(0)).count();
            assert!((4..=MESSAGES_MAX as usize).contains(&spent), "{spent}");
        }
    }

    #[test]
    fn a_slice_ends_after_so_much_time() {
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
