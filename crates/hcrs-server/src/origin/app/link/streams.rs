//! The streams of a link: their numbers, which of them a worker has not begun, and its start credits.

use std::rc::Rc;
use std::time::Instant;

use hcrs_link::{ClaimTable, SLOTS, StreamId, StreamIds, StreamMap};

use crate::exchange::Exchange;
#[cfg(test)]
use crate::model::planted::{self, Planted};

/// What the edge has sent and the worker has not ended.
#[derive(Debug)]
pub(super) struct Streams {
    ids: StreamIds,
    entries: StreamMap<Entry>,
    slots: [Slot; SLOTS],
    /// A bit for each start credit that is there.
    free: u64,
    /// The start credits of the link.
    credits: usize,
}

/// A claim slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    Free,
    /// The request of this stream is not known to be begun.
    Offered(StreamId),
    /// The request was taken back, and the worker has not passed its frame.
    Withdrawn,
}

/// One stream.
#[derive(Debug)]
pub(super) struct Entry {
    /// The claim slot while the request is not known to be begun.
    slot: Option<usize>,
    sent_at: Instant,
    /// `None` once the edge has lost interest; the worker's last word is still awaited.
    pub exchange: Option<Rc<Exchange>>,
    /// Counts an abandoned request among those of its connection.
    pub count: Option<Rc<()>>,
}

impl Entry {
    /// When the request was sent.
    pub(super) fn sent_at(&self) -> Instant {
        self.sent_at
    }
}

/// What a worker has been heard of.
#[derive(Debug)]
pub(super) struct Heard {
    /// `None` once the edge has lost interest.
    pub exchange: Option<Rc<Exchange>>,
    /// The request was not known to be begun.
    pub is_news: bool,
}

/// What a look at the claim table has brought.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    /// The exchanges that were begun since the last look.
    pub begun: Vec<Rc<Exchange>>,
    /// The worker has begun or passed requests.
    pub has_progress: bool,
}

impl Streams {
    pub(super) fn new(start_credits: usize, ids: StreamIds) -> Self {
        let credits = start_credits.clamp(1, SLOTS);
        Self {
            ids,
            entries: StreamMap::default(),
            slots: [Slot::Free; SLOTS],
            free: u64::MAX >> (SLOTS - credits),
            credits,
        }
    }

    /// Streams that the worker has not ended.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn has_start_credit(&self) -> bool {
        self.free != 0 && !self.ids.are_used_up()
    }

    pub(super) fn ids_are_used_up(&self) -> bool {
        self.ids.are_used_up()
    }

    /// Whether every stream has ended and every start credit is there.
    pub(super) fn is_clear(&self) -> bool {
        self.entries.is_empty() && self.free.count_ones() as usize == self.credits
    }

    /// What is left, in words.
    pub(super) fn describe(&self) -> String {
        format!(
            "{} streams, {} of {} start credits",
            self.entries.len(),
            self.free.count_ones(),
            self.credits
        )
    }

    /// Claim slots that are taken, and how many there are.
    #[cfg(test)]
    pub(super) fn model_slots(&self) -> (usize, usize) {
        (self.credits - self.free.count_ones() as usize, self.credits)
    }

    /// Takes a start credit and offers the request in its claim slot; `None` if there is none.
    pub(super) fn offer(
        &mut self,
        claims: &ClaimTable,
        exchange: &Rc<Exchange>,
        now: Instant,
    ) -> Option<(StreamId, usize)> {
        if self.free == 0 {
            return None;
        }
        let stream = self.ids.next()?;
        #[cfg(test)]
        let stream = planted::number(stream);
        let slot = self.free.trailing_zeros() as usize;
        self.free &= !(1 << slot);
        self.slots[slot] = Slot::Offered(stream);
        let entry =
            Entry { slot: Some(slot), sent_at: now, exchange: Some(Rc::clone(exchange)), count: None };
        self.entries.insert(stream, entry);
        claims.offer(slot, stream);
        Some((stream, slot))
    }

    pub(super) fn get(&self, stream: StreamId) -> Option<&Entry> {
        self.entries.get(&stream)
    }

    pub(super) fn get_mut(&mut self, stream: StreamId) -> Option<&mut Entry> {
        self.entries.get_mut(&stream)
    }

    /// The streams and their entries.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (StreamId, &mut Entry)> {
        self.entries.iter_mut().map(|(&stream, entry)| (stream, entry))
    }

    /// The entries.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// The requests that are not known to be begun.
    pub(super) fn offered(&self) -> impl Iterator<Item = (StreamId, &Entry)> {
        self.slots.iter().filter_map(|slot| match slot {
            Slot::Offered(stream) => self.entries.get(stream).map(|entry| (*stream, entry)),
            Slot::Free | Slot::Withdrawn => None,
        })
    }

    /// Whether requests were sent that are not known to be begun.
    pub(super) fn has_offered(&self) -> bool {
        self.slots.iter().any(|slot| matches!(slot, Slot::Offered(_)))
    }

    /// Notes which requests were begun and which withdrawn ones were passed since the last look.
    pub(super) fn sweep(&mut self, claims: &ClaimTable) -> Sweep {
        let mut sweep = Sweep::default();
        let mut taken = !self.free & (u64::MAX >> (SLOTS - self.credits));
        while taken != 0 {
            let slot = taken.trailing_zeros() as usize;
            taken &= taken - 1;
            match self.slots[slot] {
                Slot::Offered(stream) if claims.is_begun(slot) => {
                    sweep.has_progress = true;
                    sweep.begun.extend(self.hear_of(claims, stream).and_then(|heard| heard.exchange));
                }
                Slot::Withdrawn if claims.is_passed(slot) => {
                    sweep.has_progress = true;
                    self.free_slot(slot);
                }
                Slot::Free | Slot::Offered(_) | Slot::Withdrawn => {}
            }
        }
        sweep
    }

    /// Notes that the worker has begun the request; `None` if the stream has ended.
    #[inline]
    pub(super) fn hear_of(&mut self, claims: &ClaimTable, stream: StreamId) -> Option<Heard> {
        let entry = self.entries.get_mut(&stream)?;
        let slot = entry.slot.take();
        let exchange = entry.exchange.clone();
        if let Some(slot) = slot {
            claims.release(slot);
            #[cfg(test)]
            if planted::leaks(stream) {
                return Some(Heard { exchange, is_news: true });
            }
            self.free_slot(slot);
        }
        Some(Heard { exchange, is_news: slot.is_some() })
    }

    /// Takes a request back. `None` if the worker has begun it. The claim slot stays taken until the worker has passed the
    /// request's frame.
    pub(super) fn withdraw(&mut self, claims: &ClaimTable, stream: StreamId) -> Option<Entry> {
        let slot = self.entries.get(&stream)?.slot?;
        let is_withdrawn = claims.withdraw(slot, stream);
        #[cfg(test)]
        let is_withdrawn = is_withdrawn || planted::is(Planted::BegunRescued);
        if !is_withdrawn {
            return None;
        }
        self.slots[slot] = Slot::Withdrawn;
        #[cfg(test)]
        if planted::is(Planted::SlotFreedAtWithdrawal) {
            self.free_slot(slot);
        }
        self.entries.remove(&stream)
    }

    /// The worker has ended the stream.
    pub(super) fn end(&mut self, claims: &ClaimTable, stream: StreamId) -> Option<Entry> {
        let entry = self.entries.remove(&stream)?;
        if let Some(slot) = entry.slot {
            claims.release(slot);
            self.free_slot(slot);
        }
        if self.entries.is_empty() {
            // What very many streams at once have made large is given back.
            self.entries.shrink_to(SLOTS);
        }
        Some(entry)
    }

    /// The link has ended: gives every entry, and whether its request can be given to another worker.
    pub(super) fn take_all(&mut self, claims: &ClaimTable) -> Vec<(Entry, bool)> {
        let entries = std::mem::take(&mut self.entries);
        entries
            .into_iter()
            .map(|(stream, entry)| {
                let is_unbegun = entry.slot.is_some_and(|slot| claims.withdraw(slot, stream));
                (entry, is_unbegun)
            })
            .collect()
    }

    fn free_slot(&mut self, slot: usize) {
        self.slots[slot] = Slot::Free;
        self.free |= 1 << slot;
    }
}
