//! The order in which responses that wait are sent (RFC 9218 §10).
//!
//! The most urgent come first. Of the same urgency, those that are not incremental are sent one after the other, in
//! the order of their requests, and incremental ones in turns of a frame. Where there are both, each of the two
//! kinds gets every other frame.
//!
//! A small share is sent out of this order, so that no response starves: some clients send few priorities, and a
//! proxy sends the requests of many users on one connection.

use std::cmp::Reverse;
use std::time::Instant;

use hcrs_http::Priority;
use hcrs_mux::StreamKey;

use super::responses::FRAME_MAX;

/// Number of body bytes of which one frame is of the response that has waited longest, and the others in order.
const PERIOD: usize = 8 * FRAME_MAX;

/// The responses that wait, and whose turn it is.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    /// The responses by class. Within a class they are in the order of their numbers or, if they are incremental,
    /// of their turns.
    waiting: Vec<Waiting>,
    /// The last frame of a class that has to share was that of an incremental response.
    was_incremental: bool,
    /// Number of body bytes that were sent from the last frame on that was not sent in order.
    in_period: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Waiting {
    class: Class,
    key: StreamKey,
}

/// The urgency of a response, and whether it is incremental.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Class(u8);

impl Class {
    fn of(priority: Priority) -> Self {
        Self(2 * priority.urgency() + u8::from(priority.is_incremental()))
    }

    fn is_incremental(self) -> bool {
        self.0 % 2 == 1
    }

    fn urgency(self) -> u8 {
        self.0 / 2
    }
}

/// The permission of a response to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Grant {
    pub(super) key: StreamKey,
    /// Most frames of its body.
    pub(super) frames: usize,
}

impl Schedule {
    /// Adds a response.
    pub(super) fn insert(&mut self, key: StreamKey, priority: Priority) {
        let class = Class::of(priority);
        let at = self.waiting.partition_point(|other| {
            other.class < class || other.class == class && (class.is_incremental() || other.key.id < key.id)
        });
        self.waiting.insert(at, Waiting { class, key });
    }

    /// Removes a response, if it is there.
    pub(super) fn remove(&mut self, key: StreamKey) {
        if let Some(at) = self.waiting.iter().position(|waiting| waiting.key == key) {
            self.waiting.remove(at);
        }
    }

    /// Returns the next response to be sent, of those for which `ready_since` returns since when they have waited.
    /// It returns `None` for those that their client's window holds back.
    pub(super) fn next(&mut self, ready_since: impl Fn(StreamKey) -> Option<Instant>) -> Option<Grant> {
        if self.in_period >= PERIOD {
            self.in_period = 0;
            let ready = self.waiting.iter().enumerate();
            let ready = ready.filter_map(|(at, waiting)| Some((ready_since(waiting.key)?, Reverse(at))));
            let (_, Reverse(at)) = ready.min()?;
            return Some(self.grant(at, 1));
        }
        let is_ready = |waiting: &Waiting| ready_since(waiting.key).is_some();
        let first = self.waiting.iter().position(is_ready)?;
        let class = self.waiting[first].class;
        if class.is_incremental() {
            return Some(self.grant(first, 1));
        }
        let shared = self.waiting.partition_point(|waiting| waiting.class <= class);
        let incremental = self.waiting[shared..]
            .iter()
            .take_while(|waiting| waiting.class.urgency() == class.urgency())
            .position(is_ready);
        match incremental {
            Some(at) if !std::mem::replace(&mut self.was_incremental, true) => {
                Some(self.grant(shared + at, 1))
            }
            Some(_) => {
                self.was_incremental = false;
                Some(self.grant(first, 1))
            }
            None => {
                let frames = (PERIOD - self.in_period).div_ceil(FRAME_MAX);
                Some(self.grant(first, frames))
            }
        }
    }

    /// Moves an incremental response behind the others of its class.
    fn grant(&mut self, at: usize, frames: usize) -> Grant {
        let Waiting { class, key } = self.waiting[at];
        if class.is_incremental() {
            let end = at + self.waiting[at..].partition_point(|waiting| waiting.class == class);
            self.waiting[at..end].rotate_left(1);
        }
        Grant { key, frames }
    }

    /// Notes body bytes that were sent by the last permission.
    pub(super) fn spend(&mut self, len: usize) {
        self.in_period += len;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Returns the responses, in the order in which they are sent.
    pub(super) fn iter(&self) -> impl Iterator<Item = StreamKey> {
        self.waiting.iter().map(|waiting| waiting.key)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn key(id: u64) -> StreamKey {
        StreamKey { slot: id as usize, id }
    }

    fn schedule(responses: &[(u64, &str)]) -> Schedule {
        let mut schedule = Schedule::default();
        for (id, priority) in responses {
            schedule.insert(key(*id), Priority::parse(priority.as_bytes()));
        }
        schedule
    }

    /// Returns the streams that the next frames are of, without those that are sent out of order.
    fn frames(schedule: &mut Schedule, count: usize) -> Vec<u64> {
        let now = Instant::now();
        let mut frames = Vec::new();
        while frames.len() < count {
            schedule.in_period = 0;
            let grant = schedule.next(|_| Some(now)).expect("a response that waits");
            frames.extend(vec![grant.key.id; grant.frames.min(count - frames.len())]);
        }
        frames
    }

    #[test]
    fn the_most_urgent_comes_first() {
        let mut schedule = schedule(&[(1, "u=7"), (3, ""), (5, "u=0, i"), (7, "u=4")]);
        for id in [5, 3, 7, 1] {
            assert_eq!(frames(&mut schedule, 3), [id; 3]);
            schedule.remove(key(id));
        }
        assert!(schedule.is_empty());
        assert_eq!(schedule.next(|_| Some(Instant::now())), None);
    }

    #[test]
    fn without_a_priority_the_order_is_that_of_the_requests() {
        let mut schedule = schedule(&[(9, ""), (1, ""), (5, "")]);
        for id in [1, 5, 9] {
            assert_eq!(frames(&mut schedule, 20), [id; 20]);
            schedule.remove(key(id));
        }
    }

    #[test]
    fn incremental_responses_take_turns() {
        let mut schedule = schedule(&[(1, "i"), (3, "i"), (5, "i"), (7, "u=4, i")]);
        assert_eq!(frames(&mut schedule, 6), [1, 3, 5, 1, 3, 5]);
        assert_eq!(frames(&mut schedule, 1), [1]);
        schedule.insert(key(9), Priority::parse(b"i"));
        assert_eq!(frames(&mut schedule, 5), [3, 5, 1, 9, 3], "one that comes later is the last of a round");
    }

    #[test]
    fn both_kinds_of_an_urgency_share() {
        let mut schedule = schedule(&[(1, "i"), (3, ""), (5, "i"), (7, ""), (9, "u=4")]);
        assert_eq!(frames(&mut schedule, 8), [1, 3, 5, 3, 1, 3, 5, 3]);
        schedule.remove(key(3));
        assert_eq!(frames(&mut schedule, 4), [1, 7, 5, 7]);
    }

    #[test]
    fn what_the_client_holds_back_stops_no_other() {
        let mut schedule = schedule(&[(1, "u=0"), (3, "u=1, i"), (5, "u=1"), (7, "u=1, i")]);
        let now = Instant::now();
        let mut next = |held: &[u64]| {
            schedule.in_period = 0;
            schedule.next(|key| (!held.contains(&key.id)).then_some(now)).map(|grant| grant.key.id)
        };
        assert_eq!(next(&[1, 5]), Some(3));
        assert_eq!(next(&[1, 3, 7]), Some(5));
        assert_eq!(next(&[1, 3, 5]), Some(7));
        assert_eq!(next(&[1, 3, 5, 7]), None);
        assert_eq!(next(&[]), Some(1));
    }

    #[test]
    fn an_eighth_goes_to_the_response_that_has_waited_longest() {
        let mut schedule = schedule(&[(1, "u=0"), (3, ""), (5, "u=7"), (7, "u=7, i")]);
        let start = Instant::now();
        let mut since =
            [(1, 3), (3, 2), (5, 0), (7, 1)].map(|(id, at)| (id, start + Duration::from_secs(at)));
        let mut sent = Vec::new();
        for turn in 10..36 {
            let grant = schedule.next(|key| since.iter().find(|(id, _)| *id == key.id).map(|(_, at)| *at));
            let grant = grant.unwrap();
            // Grants of several frames are used one by one.
            schedule.spend(FRAME_MAX);
            sent.push(grant.key.id);
            since.iter_mut().find(|(id, _)| *id == grant.key.id).unwrap().1 =
                start + Duration::from_secs(turn);
        }
        let expected = [[1; 8].as_slice(), &[5], &[1; 7], &[7], &[1; 7], &[3]].concat();
        assert_eq!(sent[..expected.len()], expected);
    }

    /// An act upon the schedule.
    #[derive(Debug, Clone)]
    enum Act {
        Insert { id: u64, urgency: u8, is_incremental: bool },
        Remove { id: u64 },
        Next { held: HashSet<u64>, sent: usize },
    }

    fn act() -> impl Strategy<Value = Act> {
        let id = || 0u64..12;
        prop_oneof![
            (id(), 0u8..3, any::<bool>()).prop_map(|(id, urgency, is_incremental)| Act::Insert {
                id,
                urgency,
                is_incremental
            }),
            id().prop_map(|id| Act::Remove { id }),
            (proptest::collection::hash_set(id(), 0..6), 1usize..=FRAME_MAX)
                .prop_map(|(held, sent)| Act::Next { held, sent }),
        ]
    }

    proptest! {
        #[test]
        fn only_what_is_ready_is_sent_and_the_most_urgent_of_it(
            acts in proptest::collection::vec(act(), 1..200),
        ) {
            let (mut schedule, now) = (Schedule::default(), Instant::now());
            let mut urgencies = std::collections::HashMap::new();
            for act in acts {
                match act {
                    Act::Insert { id, urgency, is_incremental } => {
                        schedule.remove(key(id));
                        let incremental = if is_incremental { ", i" } else { "" };
                        let priority = Priority::parse(format!("u={urgency}{incremental}").as_bytes());
                        schedule.insert(key(id), priority);
                        urgencies.insert(id, urgency);
                    }
                    Act::Remove { id } => {
                        schedule.remove(key(id));
                        urgencies.remove(&id);
                    }
                    Act::Next { held, sent } => {
                        let is_shared = schedule.in_period >= PERIOD;
                        let grant = schedule.next(|key| (!held.contains(&key.id)).then_some(now));
                        let ready = || urgencies.iter().filter(|(id, _)| !held.contains(id));
                        prop_assert_eq!(grant.is_some(), ready().count() > 0);
                        if let Some(grant) = grant {
                            let urgency = urgencies[&grant.key.id];
                            let most_urgent = ready().map(|(_, urgency)| *urgency).min();
                            prop_assert!(is_shared || Some(urgency) == most_urgent);
                            prop_assert!(!held.contains(&grant.key.id));
                            prop_assert!((1..=PERIOD / FRAME_MAX).contains(&grant.frames));
                            schedule.spend(sent);
                        }
                    }
                }
                prop_assert!(schedule.waiting.is_sorted_by_key(|waiting| waiting.class));
                prop_assert_eq!(schedule.waiting.len(), urgencies.len());
            }
        }
    }
}
