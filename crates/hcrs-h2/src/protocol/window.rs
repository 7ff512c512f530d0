//! The window of the connection. It is a little larger than the request bodies that the connection holds, as
//! long as there is room for more.
//!
//! A window as large as those of all streams together would let each client fill it. A smaller window of a
//! fixed size would let bodies that no app reads stop those that an app reads.

use std::rc::Rc;

use hcrs_mux::BodyRoom;

use crate::flow::FlowWindow;
use crate::frame::{FIRST_WINDOW, MAX_31};
use crate::settings::Settings;

/// Bytes by which the window of a connection exceeds the bodies that it holds.
const AHEAD: u32 = 512 << 10;

/// Bytes by which the window changes at a time.
const STEP: u32 = AHEAD / 4;

/// The smallest window, in bytes: one upload at full speed does not change it.
const LEAST: u32 = AHEAD + STEP;

/// The window of one connection.
#[derive(Debug)]
pub(super) struct Window {
    room: Rc<BodyRoom>,
    /// Number of held bytes from which on the window is opened only for streams that an app reads.
    size: usize,
    /// Bytes of open streams that have not been released.
    held: usize,
    /// The window that is wanted, which includes bytes that have not been released.
    target: u32,
    /// Bytes that the client may send, as far as it was told.
    left: FlowWindow,
}

impl Window {
    pub(super) fn new(room: &Rc<BodyRoom>, settings: &Settings) -> Self {
        Self {
            room: Rc::clone(room),
            size: settings.connection_room,
            held: 0,
            target: LEAST,
            left: FlowWindow::new(FIRST_WINDOW),
        }
    }

    /// Notes bytes that have arrived.
    pub(super) fn hold(&mut self, len: usize) {
        self.held += len;
        self.room.hold(len);
    }

    /// Notes bytes that are no longer held.
    pub(super) fn release(&mut self, len: usize) {
        self.held -= len;
        self.room.release(len);
    }

    /// Whether the window may be opened further even if no stream is known to be read.
    fn has_room(&self) -> bool {
        self.held < self.size
    }

    /// Notes the payload of a DATA frame. False if it is longer than the client may send.
    #[must_use]
    pub(super) fn take(&mut self, flow_len: usize) -> bool {
        self.left.take(flow_len)
    }

    /// Opens the window as far as there is room. Beyond the connection's own room it is opened only if
    /// `is_hungry` returns true.
    pub(super) fn widen(&mut self, is_hungry: impl FnOnce() -> bool) {
        let wanted = self.wanted();
        if wanted >= self.target.saturating_add(STEP)
            && !self.room.is_full()
            && (self.has_room() || is_hungry())
        {
            self.target = wanted;
        }
    }

    /// Narrows a window that is larger than needed, before the client is told of it.
    pub(super) fn narrow(&mut self) {
        let wanted = self.wanted();
        if self.target >= wanted.saturating_add(STEP) {
            self.target = wanted;
        }
    }

    /// Returns the increment by which the window has to be opened now; small ones wait for others.
    pub(super) fn open(&mut self) -> Option<u32> {
        let left = self.left.left();
        let due = (self.target as usize).saturating_sub(self.held + left);
        if due == 0 || due < STEP as usize && due * 2 < left {
            return None;
        }
        self.left.open(due as u32).then_some(due as u32)
    }

    fn wanted(&self) -> u32 {
        let held = u32::try_from(self.held).unwrap_or(MAX_31);
        held.saturating_add(AHEAD).clamp(LEAST, MAX_31)
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        self.release(self.held);
    }
}
