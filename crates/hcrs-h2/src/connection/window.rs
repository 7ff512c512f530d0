//! The window of the connection, which follows what is held of bodies: it is open a little further than that, as long as there
//! is room for more.
//!
//! A window that is as large as those of all streams together would let each client fill it. One that is not, and stays as it
//! is, would let bodies that nobody reads stop those that are read.

use std::cell::Cell;
use std::rc::Rc;

use tokio::io::{AsyncRead, AsyncWrite};

use super::Connection;
use crate::settings::Settings;

/// How far the window of a connection is open beyond what is held of its bodies, in bytes.
const AHEAD: u32 = 512 << 10;

/// By how much it changes at a time.
const STEP: u32 = AHEAD / 4;

/// The least window, with what is held: one upload at full speed does not change it.
pub(super) const LEAST: u32 = AHEAD + STEP;

/// Room for what the connections of a thread hold of bodies that were not read.
#[derive(Debug)]
pub struct BodyRoom {
    size: usize,
    taken: Cell<usize>,
}

impl BodyRoom {
    /// The room of a thread.
    pub fn of_thread(settings: &Settings) -> Rc<Self> {
        Rc::new(Self { size: settings.thread_room, taken: Cell::new(0) })
    }

    /// Bytes that are taken.
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
    /// Bytes from which on the window is opened only for streams that are read.
    size: usize,
    /// Bytes of open streams that were not released.
    held: usize,
    /// What `h2` was told that the window is, with what was not released.
    target: u32,
}

impl Window {
    pub(super) fn new(room: &Rc<BodyRoom>, settings: &Settings) -> Self {
        Self { room: Rc::clone(room), size: settings.connection_room, held: 0, target: LEAST }
    }

    /// Bytes have come.
    pub(super) fn hold(&mut self, len: usize) {
        self.held += len;
        self.room.taken.set(self.room.taken.get() + len);
    }

    /// Bytes are not held any more.
    pub(super) fn give_back(&mut self, len: usize) {
        self.held -= len;
        self.room.taken.set(self.room.taken.get() - len);
    }

    /// Whether it may be opened further though no stream is known to be read.
    fn has_room(&self) -> bool {
        self.held < self.size
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        self.give_back(self.held);
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Connection<T> {
    /// Opens the window of the connection as far as there is room. Beyond its own room it is opened only if `is_hungry` says
    /// that a stream is read of which nothing is there. To be called once in each turn.
    pub fn open_window(&mut self, is_hungry: impl FnOnce() -> bool) {
        let wanted = self.wanted_window();
        if wanted >= self.window.target.saturating_add(STEP)
            && !self.window.room.is_full()
            && (self.window.has_room() || is_hungry())
        {
            self.set_window(wanted);
        }
    }

    /// Takes back what the window is open beyond need, before `h2` tells the client of it.
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

    /// A little more than what `h2` takes for unread: what is held, and what was dropped of bodies that nobody wants.
    fn wanted_window(&self) -> u32 {
        let unwanted: usize = self.unwanted.iter().map(super::Unwanted::in_flight).sum();
        let in_flight = u32::try_from(self.window.held + unwanted).unwrap_or(u32::MAX);
        in_flight.saturating_add(AHEAD).clamp(LEAST, (1 << 31) - 1)
    }
}
