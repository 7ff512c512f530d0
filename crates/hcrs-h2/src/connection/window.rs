//! The window of the connection. It is a little larger than the request bodies that the connection holds, as
//! long as there is room for more.
//!
//! A window as large as those of all streams together would let each client fill it. A smaller window of a
//! fixed size would let bodies that no app reads stop those that an app reads.

use std::cell::Cell;
use std::rc::Rc;

use tokio::io::{AsyncRead, AsyncWrite};

use super::Connection;
use crate::settings::Settings;

/// Bytes by which the window of a connection exceeds the bodies that it holds.
const AHEAD: u32 = 512 << 10;

/// Bytes by which the window changes at a time.
const STEP: u32 = AHEAD / 4;

/// The smallest window, in bytes: one upload at full speed does not change it.
pub(super) const LEAST: u32 = AHEAD + STEP;

/// Room for the unread request bodies of all connections of a thread.
#[derive(Debug)]
pub struct BodyRoom {
    size: usize,
    taken: Cell<usize>,
}

impl BodyRoom {
    /// Creates the room of a thread.
    pub fn of_thread(settings: &Settings) -> Rc<Self> {
        Rc::new(Self { size: settings.thread_room, taken: Cell::new(0) })
    }

    /// Returns the number of bytes that are taken.
    pub fn taken(&self) -> usize {
        self.taken.get()
    }

    fn is_full(&self) -> bool {
        self.taken.get() >= self.size
    }
}

/// The window of one connection.
#[derive(Debug)]
pub(super) struct Window {
    room: Rc<BodyRoom>,
    /// Number of held bytes from which on the window is opened only for streams that an app reads.
    size: usize,
    /// Bytes of open streams that have not been released.
    held: usize,
    /// The window that was set in `h2`, which includes bytes that have not been released.
    target: u32,
}

impl Window {
    pub(super) fn new(room: &Rc<BodyRoom>, settings: &Settings) -> Self {
        Self { room: Rc::clone(room), size: settings.connection_room, held: 0, target: LEAST }
    }

    /// Notes bytes that have arrived.
    pub(super) fn hold(&mut self, len: usize) {
        self.held += len;
        self.room.taken.set(self.room.taken.get() + len);
    }

    /// Notes bytes that are no longer held.
    pub(super) fn release(&mut self, len: usize) {
        self.held -= len;
        self.room.taken.set(self.room.taken.get() - len);
    }

    /// Whether the window may be opened further even if no stream is known to be read.
    fn has_room(&self) -> bool {
        self.held < self.size
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        self.release(self.held);
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Connection<T> {
    pub(super) fn open_window(&mut self, is_hungry: impl FnOnce() -> bool) {
        let wanted = self.wanted_window();
        if wanted >= self.window.target.saturating_add(STEP)
            && !self.window.room.is_full()
            && (self.window.has_room() || is_hungry())
        {
            self.set_window(wanted);
        }
    }

    /// Narrows a window that is larger than needed, before `h2` announces it to the client.
    pub(super) fn narrow_window(&mut self) {
        let wanted = self.wanted_window();
        if self.window.target >= wanted.saturating_add(STEP) {
            self.set_window(wanted);
        }
    }

    fn set_window(&mut self, target: u32) {
        self.window.target = target;
        self.h2.set_target_window_size(target);
    }

    /// Returns the window for the bytes that `h2` counts as unread: held bytes, and dropped bytes of unwanted
    /// bodies.
    fn wanted_window(&self) -> u32 {
        let unwanted: usize = self.unwanted.iter().map(super::Unwanted::in_flight).sum();
        let in_flight = u32::try_from(self.window.held + unwanted).unwrap_or(u32::MAX);
        in_flight.saturating_add(AHEAD).clamp(LEAST, (1 << 31) - 1)
    }
}
