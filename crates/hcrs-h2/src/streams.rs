//! The open streams of a connection, by key.

use slab::Slab;

use crate::event::StreamKey;
use crate::stream::Stream;

/// The open streams. The key of a stream that has ended finds none.
#[derive(Debug, Default)]
pub(crate) struct Streams(Slab<Stream>);

impl Streams {
    pub(crate) fn insert(&mut self, stream: Stream) -> StreamKey {
        let id = stream.id;
        StreamKey { slot: self.0.insert(stream), id }
    }

    pub(crate) fn get(&self, key: StreamKey) -> Option<&Stream> {
        self.0.get(key.slot).filter(|stream| stream.id == key.id)
    }

    pub(crate) fn get_mut(&mut self, key: StreamKey) -> Option<&mut Stream> {
        self.0.get_mut(key.slot).filter(|stream| stream.id == key.id)
    }

    pub(crate) fn remove(&mut self, key: StreamKey) -> Option<Stream> {
        self.get(key)?;
        self.0.try_remove(key.slot)
    }

    /// Returns the stream with a number on the wire.
    pub(crate) fn find(&mut self, id: u32) -> Option<(StreamKey, &mut Stream)> {
        let (slot, stream) = self.0.iter_mut().find(|(_, stream)| stream.id == id)?;
        Some((StreamKey { slot, id }, stream))
    }
}
