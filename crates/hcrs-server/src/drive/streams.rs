//! The requests in flight on a connection, by the keys of their streams.

use hcrs_mux::StreamKey;

use super::InFlight;

/// The requests in flight. Each stream has a slot, which another takes once it is over; its key finds only
/// itself.
#[derive(Debug, Default)]
pub(super) struct Streams {
    places: Vec<Option<(StreamKey, InFlight)>>,
    count: usize,
}

impl Streams {
    pub(super) fn insert(&mut self, key: StreamKey, in_flight: InFlight) {
        if self.places.len() <= key.slot {
            self.places.resize_with(key.slot + 1, || None);
        }
        self.places[key.slot] = Some((key, in_flight));
        self.count += 1;
    }

    pub(super) fn get_mut(&mut self, key: StreamKey) -> Option<&mut InFlight> {
        match self.places.get_mut(key.slot)? {
            Some((there, in_flight)) if *there == key => Some(in_flight),
            _ => None,
        }
    }

    pub(super) fn remove(&mut self, key: StreamKey) -> Option<InFlight> {
        let (_, in_flight) = self.places.get_mut(key.slot)?.take_if(|(there, _)| *there == key)?;
        self.count -= 1;
        Some(in_flight)
    }

    /// Returns the key of the stream that has the slot now.
    pub(super) fn key_at(&self, slot: usize) -> Option<StreamKey> {
        self.places.get(slot)?.as_ref().map(|(key, _)| *key)
    }

    /// Returns the slots that were ever used.
    pub(super) fn slots(&self) -> std::ops::Range<usize> {
        0..self.places.len()
    }

    /// Returns the number of requests in flight.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &InFlight> {
        self.places.iter().flatten().map(|(_, in_flight)| in_flight)
    }

    pub(super) fn drain(&mut self) -> impl Iterator<Item = InFlight> {
        self.count = 0;
        self.places.drain(..).flatten().map(|(_, in_flight)| in_flight)
    }
}
