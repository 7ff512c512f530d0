//! The streams of a connection, by place and by number.

use slab::Slab;

use crate::event::StreamKey;
use crate::unwanted::Unwanted;

/// The party that has a stream.
#[derive(Debug)]
pub enum Owner {
    /// The app, which answers it, once the request's head is complete.
    App,
    /// The connection alone: the stream was answered, and its body, which still arrives, is dropped.
    Connection(Unwanted),
}

/// A stream that has an owner.
pub trait Owned {
    /// Returns the owner.
    fn owner(&self) -> &Owner;

    /// Whether the app answers the stream.
    #[inline]
    fn is_of_app(&self) -> bool {
        matches!(self.owner(), Owner::App)
    }
}

/// The streams that are not over. The key of a stream that is over finds none.
#[derive(Debug)]
pub struct Streams<S> {
    places: Slab<Place<S>>,
    /// The numbers of the streams at each place, which may be over.
    ids: Vec<u64>,
    /// The place that was last found by its number: what arrives for one stream often follows each other.
    last: usize,
}

#[derive(Debug)]
struct Place<S> {
    id: u64,
    stream: S,
}

impl<S> Default for Streams<S> {
    fn default() -> Self {
        Self { places: Slab::new(), ids: Vec::new(), last: 0 }
    }
}

impl<S: Owned> Streams<S> {
    /// Adds a stream with a number that none has had.
    pub fn insert(&mut self, id: u64, stream: S) -> StreamKey {
        let slot = self.places.insert(Place { id, stream });
        if slot == self.ids.len() {
            self.ids.push(id);
        } else {
            self.ids[slot] = id;
        }
        StreamKey { slot, id }
    }

    /// Returns a stream.
    #[inline]
    pub fn get(&self, key: StreamKey) -> Option<&S> {
        self.places.get(key.slot).filter(|place| place.id == key.id).map(|place| &place.stream)
    }

    /// Returns a stream to be changed.
    #[inline]
    pub fn get_mut(&mut self, key: StreamKey) -> Option<&mut S> {
        self.places.get_mut(key.slot).filter(|place| place.id == key.id).map(|place| &mut place.stream)
    }

    /// Returns a stream that the app answers.
    #[inline]
    pub fn of_app(&mut self, key: StreamKey) -> Option<&mut S> {
        self.get_mut(key).filter(|stream| stream.is_of_app())
    }

    /// Takes a stream out, which is over.
    pub fn remove(&mut self, key: StreamKey) -> Option<S> {
        self.get(key)?;
        self.places.try_remove(key.slot).map(|place| place.stream)
    }

    /// Returns the key of the stream with a number on the wire.
    #[inline]
    pub fn find(&mut self, id: u64) -> Option<StreamKey> {
        if self.ids.get(self.last) != Some(&id) {
            self.last = self.ids.iter().position(|&there| there == id)?;
        }
        let key = StreamKey { slot: self.last, id };
        self.get(key).map(|_| key)
    }

    /// Returns the number of streams.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there is no stream.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Returns the streams with their keys.
    pub fn iter(&self) -> impl Iterator<Item = (StreamKey, &S)> {
        self.places.iter().map(|(slot, place)| (StreamKey { slot, id: place.id }, &place.stream))
    }

    /// Returns the streams to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut S> {
        self.places.iter_mut().map(|(_, place)| &mut place.stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Owned for Owner {
        fn owner(&self) -> &Owner {
            self
        }
    }

    #[test]
    fn a_key_finds_its_own_stream_alone() {
        let mut streams = Streams::default();
        let first = streams.insert(1, Owner::App);
        let second = streams.insert(3, Owner::Connection(Unwanted::default()));
        assert_eq!((streams.find(1), streams.find(3), streams.find(5)), (Some(first), Some(second), None));
        assert!(streams.of_app(first).is_some() && streams.of_app(second).is_none());
        assert!(streams.remove(first).is_some() && streams.remove(first).is_none());
        assert_eq!(streams.find(1), None);
        let third = streams.insert(5, Owner::App);
        assert_eq!(third.slot, first.slot, "its place is used again");
        assert!(streams.get(first).is_none() && streams.get(third).is_some());
        assert_eq!(streams.iter().map(|(key, _)| key).collect::<Vec<_>>(), [third, second]);
    }
}
