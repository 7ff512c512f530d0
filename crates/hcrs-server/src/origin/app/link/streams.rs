//! The streams of a link: their numbers, the requests that the worker has not begun, and the start credits.

use std::rc::Rc;
use std::time::Instant;

use hcrs_link::{ClaimTable, SLOTS, StreamId, StreamIds, StreamMap};

use crate::exchange::Exchange;
#[cfg(test)]
use crate::model::planted::{self, Planted};

/// The streams that the worker has not ended.
#[derive(Debug)]
pub(super) struct Streams {
    ids: StreamIds,
    entries: StreamMap<Entry>,
    slots: [Slot; SLOTS],
    /// The free start credits, one bit each.
    free: u64,
    /// The number of the link's start credits.
    credits: usize,
}

/// The state of a claim slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    Free,
    /// The slot belongs to the request of this stream, which is not known to be begun.
    Offered(StreamId),
    /// The request was withdrawn, and the worker has not passed its frame.
    Withdrawn,
}

/// One stream.
#[derive(Debug)]
pub(super) struct Entry {
    /// The request's claim slot, while the request is not known to be begun.
    slot: Option<usize>,
    sent_at: Instant,
    /// The exchange; `None` once the edge has abandoned it and only the worker's end of the stream is
    /// awaited.
    pub exchange: Option<Rc<Exchange>>,
    /// Counts an abandoned request among those of its connection.
    pub count: Option<Rc<()>>,
}

impl Entry {
    /// Returns when the request was sent.
    pub(super) fn sent_at(&self) -> Instant {
        self.sent_at
    }
}

/// A stream that the worker is known to have begun.
#[derive(Debug)]
pub(super) struct Begun {
    /// The exchange; `None` once the edge has abandoned it.
    pub exchange: Option<Rc<Exchange>>,
    /// Whether the request was not known to be begun before.
    pub is_new: bool,
}

/// The changes that a look at the claim table has found.
#[derive(Debug, Default)]
pub(super) struct NewlyBegun {
    /// The exchanges that were begun since the last look.
    pub begun: Vec<Rc<Exchange>>,
    /// Whether the worker has begun or passed requests.
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

    /// Returns the number of streams that the worker has not ended.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn has_start_credit(&self) -> bool {
        self.free != 0 && !self.ids.are_used_up()
    }

    pub(super) fn ids_are_used_up(&self) -> bool {
        self.ids.are_used_up()
    }

    /// Whether every stream has ended and every start credit is free.
    pub(super) fn is_clear(&self) -> bool {
        self.entries.is_empty() && self.free.count_ones() as usize == self.credits
    }

    /// Describes what is left, for the log.
    pub(super) fn describe(&self) -> String {
        format!(
            "{} streams, {} of {} start credits",
            self.entries.len(),
            self.free.count_ones(),
            self.credits
        )
    }

    /// Returns the number of claim slots that are taken, and of all claim slots.
    #[cfg(test)]
    pub(super) fn model_slots(&self) -> (usize, usize) {
        (self.credits - self.free.count_ones() as usize, self.credits)
    }

    /// Takes a start credit and offers the request in its claim slot; `None` if no credit is free.
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

    /// Iterates over the streams and their entries.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (StreamId, &mut Entry)> {
        self.entries.iter_mut().map(|(&stream, entry)| (stream, entry))
    }

    /// Iterates over the entries.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// Iterates over the requests that are not known to be begun.
    pub(super) fn offered(&self) -> impl Iterator<Item = (StreamId, &Entry)> {
        self.slots.iter().filter_map(|slot| match slot {
            Slot::Offered(stream) => self.entries.get(stream).map(|entry| (*stream, entry)),
            Slot::Free | Slot::Withdrawn => None,
        })
    }

    /// Whether fewer than `max` requests are not known to be begun.
    pub(super) fn has_fewer_offered(&self, max: usize) -> bool {
        max > self.credits || self.offered().count() < max
    }

    /// Whether there are requests that are not known to be begun.
    pub(super) fn has_offered(&self) -> bool {
        self.slots.iter().any(|slot| matches!(slot, Slot::Offered(_)))
    }

    /// Notes the requests that were begun, and the withdrawn ones that were passed, since the last look.
    pub(super) fn note_begun_all(&mut self, claims: &ClaimTable) -> NewlyBegun {
        let mut newly = NewlyBegun::default();
        let mut taken = !self.free & (u64::MAX >> (SLOTS - self.credits));
        while taken != 0 {
            let slot = taken.trailing_zeros() as usize;
            taken &= taken - 1;
            match self.slots[slot] {
                Slot::Offered(stream) if claims.is_begun(slot) => {
                    newly.has_progress = true;
                    newly.begun.extend(self.note_begun(claims, stream).and_then(|begun| begun.exchange));
                }
                Slot::Withdrawn if claims.is_passed(slot) => {
                    newly.has_progress = true;
                    self.free_slot(slot);
                }
                Slot::Free | Slot::Offered(_) | Slot::Withdrawn => {}
            }
        }
        newly
    }

    /// Notes that the worker has begun the request; `None` if the stream has ended.
    #[inline]
    pub(super) fn note_begun(&mut self, claims: &ClaimTable, stream: StreamId) -> Option<Begun> {
        let entry = self.entries.get_mut(&stream)?;
        let slot = entry.slot.take();
        let exchange = entry.exchange.clone();
        if let Some(slot) = slot {
            claims.release(slot);
            #[cfg(test)]
            if planted::leaks(stream) {
                return Some(Begun { exchange, is_new: true });
            }
            self.free_slot(slot);
        }
        Some(Begun { exchange, is_new: slot.is_some() })
    }

    /// Withdraws a request; `None` if the worker has begun it. The claim slot stays taken until the worker
    /// has passed the request's frame.
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

    /// Ends a stream that the worker has ended.
    pub(super) fn end(&mut self, claims: &ClaimTable, stream: StreamId) -> Option<Entry> {
        let entry = self.entries.remove(&stream)?;
        if let Some(slot) = entry.slot {
            claims.release(slot);
            self.free_slot(slot);
        }
        if self.entries.is_empty() {
            // Releases memory after very many streams at once.
            self.entries.shrink_to(SLOTS);
        }
        Some(entry)
    }

    /// Ends all streams with the link. Returns every entry, and whether its request can be sent to another
    /// worker.
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
