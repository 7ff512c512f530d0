//! The streams of a connection, by place and by number.

use std::time::Instant;

use slab::Slab;

use crate::event::StreamKey;
use crate::stream::Stream;

/// The streams that are not over. The key of a stream that is over finds none.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    places: Slab<Stream>,
    /// The numbers of the streams at each place, which may be over.
    ids: Vec<u32>,
    /// The place that was last found by its number: frames of one stream often follow each other.
    last: usize,
}

impl Streams {
    pub(crate) fn insert(&mut self, stream: Stream) -> StreamKey {
        let id = stream.id;
        let slot = self.places.insert(stream);
        if slot == self.ids.len() {
            self.ids.push(id);
        } else {
            self.ids[slot] = id;
        }
        StreamKey { slot, id }
    }

    #[inline]
    pub(crate) fn get(&self, key: StreamKey) -> Option<&Stream> {
        self.places.get(key.slot).filter(|stream| stream.id == key.id)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, key: StreamKey) -> Option<&mut Stream> {
        self.places.get_mut(key.slot).filter(|stream| stream.id == key.id)
    }

    /// Returns a stream that the app answers.
    #[inline]
    pub(crate) fn of_app(&mut self, key: StreamKey) -> Option<&mut Stream> {
        self.get_mut(key).filter(|stream| stream.is_of_app())
    }

    /// Returns since when a stream's response has waited, if the client's window for the stream allows it to be sent.
    pub(crate) fn ready_since(&self, key: StreamKey) -> Option<Instant> {
        self.get(key).filter(|stream| stream.send_window.left() > 0)?.waiting_since
    }

    pub(crate) fn remove(&mut self, key: StreamKey) -> Option<Stream> {
        self.get(key)?;
        self.places.try_remove(key.slot)
    }

    /// Returns the key of the stream with a number on the wire.
    pub(crate) fn find(&mut self, id: u32) -> Option<StreamKey> {
        if self.ids.get(self.last) != Some(&id) {
            self.last = self.ids.iter().position(|&there| there == id)?;
        }
        let key = StreamKey { slot: self.last, id };
        self.get(key).map(|_| key)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Stream> {
        self.places.iter().map(|(_, stream)| stream)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Stream> {
        self.places.iter_mut().map(|(_, stream)| stream)
    }
}
