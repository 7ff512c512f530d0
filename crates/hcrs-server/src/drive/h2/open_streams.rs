//! The requests under way on a connection, by the keys of their streams.

use hcrs_h2::StreamKey;

use super::UnderWay;

/// What is under way. Each stream has a place, in which another follows once it is over; its key finds it alone.
#[derive(Debug, Default)]
pub(super) struct OpenStreams {
    places: Vec<Option<(StreamKey, UnderWay)>>,
    count: usize,
}

impl OpenStreams {
    pub(super) fn insert(&mut self, key: StreamKey, under_way: UnderWay) {
        if self.places.len() <= key.slot() {
            self.places.resize_with(key.slot() + 1, || None);
        }
        self.places[key.slot()] = Some((key, under_way));
        self.count += 1;
    }

    pub(super) fn get_mut(&mut self, key: StreamKey) -> Option<&mut UnderWay> {
        match self.places.get_mut(key.slot())? {
            Some((there, under_way)) if *there == key => Some(under_way),
            _ => None,
        }
    }

    pub(super) fn remove(&mut self, key: StreamKey) -> Option<UnderWay> {
        let (_, under_way) = self.places.get_mut(key.slot())?.take_if(|(there, _)| *there == key)?;
        self.count -= 1;
        Some(under_way)
    }

    /// Who has the place now.
    pub(super) fn key_at(&self, slot: usize) -> Option<StreamKey> {
        self.places.get(slot)?.as_ref().map(|(key, _)| *key)
    }

    /// Places that were ever used.
    pub(super) fn slots(&self) -> std::ops::Range<usize> {
        0..self.places.len()
    }

    /// How many are under way.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &UnderWay> {
        self.places.iter().flatten().map(|(_, under_way)| under_way)
    }

    pub(super) fn drain(&mut self) -> impl Iterator<Item = UnderWay> {
        self.count = 0;
        self.places.drain(..).flatten().map(|(_, under_way)| under_way)
    }
}
