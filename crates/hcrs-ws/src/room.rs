//! Room for held messages: the limit on those of a connection's WebSockets, and on those of a thread's.

use std::cell::Cell;
use std::rc::Rc;

use crate::Settings;

/// Bytes of a WebSocket's message that are not counted, so that a client that takes all the room does not
/// affect clients with small messages. It is less than a stream's window, which a client can leave unread in
/// any case.
const UNCOUNTED: usize = 64 << 10;

/// Number of messages of the largest size for which a connection, and a thread, have room at least.
const LARGEST_IN_CONNECTION: usize = 2;
const LARGEST_IN_THREAD: usize = 8;

/// Room for the messages that are held at a time: incomplete ones, and those that wait for the app. A client
/// may have many WebSockets on one connection (RFC 8441), and its bytes may inflate to a thousand times as
/// many.
#[derive(Debug)]
pub struct MessageRoom {
    size: usize,
    taken: Cell<usize>,
    /// The thread's room, if this is a connection's share of it.
    within: Option<Rc<MessageRoom>>,
}

impl MessageRoom {
    /// Creates the room of a thread.
    pub fn of_thread(settings: &Settings) -> Rc<Self> {
        let least = settings.max_message_size.saturating_mul(LARGEST_IN_THREAD);
        Rc::new(Self { size: settings.thread_room.max(least), taken: Cell::new(0), within: None })
    }

    /// Creates the room of one connection of the thread.
    pub fn of_connection(thread: &Rc<Self>, settings: &Settings) -> Rc<Self> {
        let least = settings.max_message_size.saturating_mul(LARGEST_IN_CONNECTION);
        let within = Some(Rc::clone(thread));
        Rc::new(Self { size: settings.connection_room.max(least), taken: Cell::new(0), within })
    }

    /// Returns the number of bytes that are taken.
    pub fn taken(&self) -> usize {
        self.taken.get()
    }

    fn has(&self, more: usize) -> bool {
        more <= self.size.saturating_sub(self.taken.get())
            && self.within.as_ref().is_none_or(|within| within.has(more))
    }

    fn take(&self, more: usize) {
        self.taken.set(self.taken.get() + more);
        if let Some(within) = &self.within {
            within.take(more);
        }
    }

    fn give_back(&self, less: usize) {
        self.taken.set(self.taken.get() - less);
        if let Some(within) = &self.within {
            within.give_back(less);
        }
    }
}

/// The bytes that one message takes of the room, until this is dropped.
#[derive(Debug)]
pub struct HeldBytes {
    room: Rc<MessageRoom>,
    counted: usize,
}

impl HeldBytes {
    /// Creates a share of no bytes.
    pub fn new(room: &Rc<MessageRoom>) -> Self {
        Self { room: Rc::clone(room), counted: 0 }
    }

    /// Takes room for `len` bytes in all. Returns false, and changes nothing, if the room has fewer.
    #[must_use]
    pub fn try_hold(&mut self, len: usize) -> bool {
        let more = len.saturating_sub(UNCOUNTED).saturating_sub(self.counted);
        let has_room = self.room.has(more);
        if has_room {
            self.hold(len);
        }
        has_room
    }

    /// Takes room for `len` bytes in all, even if the room has fewer, for bytes that are held already.
    pub fn hold(&mut self, len: usize) {
        self.room.give_back(self.counted);
        self.counted = len.saturating_sub(UNCOUNTED);
        self.room.take(self.counted);
    }
}

impl Drop for HeldBytes {
    fn drop(&mut self) {
        self.room.give_back(self.counted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_that_of_the_connection_and_of_the_thread_and_is_given_back() {
        let settings = Settings {
            max_message_size: 100,
            connection_room: 1000,
            thread_room: 1500,
            ..Settings::default()
        };
        let thread = MessageRoom::of_thread(&settings);
        let [one, other] = [0; 2].map(|_| MessageRoom::of_connection(&thread, &settings));
        let (mut first, mut second) = (HeldBytes::new(&one), HeldBytes::new(&one));
        assert!(first.try_hold(UNCOUNTED + 600));
        assert!(!second.try_hold(UNCOUNTED + 401), "of the connection");
        assert!(second.try_hold(UNCOUNTED + 400));
        let mut third = HeldBytes::new(&other);
        assert!(!third.try_hold(UNCOUNTED + 501), "of the thread");
        assert!(third.try_hold(UNCOUNTED), "what is small always fits");
        drop(first);
        assert!(third.try_hold(UNCOUNTED + 1000));
        third.hold(UNCOUNTED + 10);
        assert_eq!((one.taken(), other.taken(), thread.taken()), (400, 10, 410));
        drop((second, third));
        assert_eq!((one.taken(), other.taken(), thread.taken()), (0, 0, 0));
    }

    #[test]
    fn there_is_room_for_some_of_the_largest_messages_whatever_else_is_said() {
        let settings =
            Settings { max_message_size: 1 << 20, connection_room: 0, thread_room: 0, ..Settings::default() };
        let thread = MessageRoom::of_thread(&settings);
        let connections: Vec<_> = (0..4).map(|_| MessageRoom::of_connection(&thread, &settings)).collect();
        let mut held: Vec<_> =
            connections.iter().flat_map(|room| [0; 2].map(|_| HeldBytes::new(room))).collect();
        assert!(held.iter_mut().all(|held| held.try_hold(1 << 20)));
    }
}
