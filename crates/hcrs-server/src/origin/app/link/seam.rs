//! Access for the model of the link, which takes the place of [`Pump`](super::pump::Pump) and its socket.

use std::task::Waker;

use hcrs_link::{LinkError, SLOTS};

use super::out::Out;
use super::{Life, Link};

impl Link {
    /// Registers `waker` as the one that the link wakes.
    pub(crate) fn model_listen(&self, waker: &Waker) {
        self.listen(waker);
    }

    /// Whether the worker's process has ended, so that the link ends once it has been read to the end.
    pub(crate) fn model_is_orphaned(&self) -> bool {
        self.life.get() == Life::Orphaned
    }

    /// Does what the pump does after it has read. Returns whether the worker is spent.
    pub(crate) fn model_after_read(&self) -> Result<bool, LinkError> {
        let is_spent = self.is_spent.take();
        if self.is_retired() {
            self.changed.notify_one();
        }
        self.check_out().map(|()| is_spent)
    }

    /// Writes as the pump does, by passing pending bytes to `socket` until it takes no more. Returns whether
    /// bodies were admitted again.
    pub(crate) fn model_write(&self, mut socket: impl FnMut(&[u8]) -> usize) -> bool {
        let mut has_fed = false;
        loop {
            let had_room = self.out.borrow().has_room();
            let mut is_pending = false;
            {
                let out = &mut *self.out.borrow_mut();
                while out.len() > 0 && !is_pending {
                    let len = socket(out.pending());
                    out.wrote(len);
                    is_pending = len == 0;
                }
            }
            if had_room || !self.out.borrow().has_room() {
                return has_fed;
            }
            self.feed_starved();
            has_fed = true;
            if is_pending {
                return has_fed;
            }
        }
    }

    /// Drops pending bytes, because the worker has closed its end.
    pub(crate) fn model_clear(&self) {
        self.out.borrow_mut().clear();
    }

    /// Returns the number of bytes that wait for the worker.
    pub(crate) fn model_waiting(&self) -> usize {
        self.out.borrow().len()
    }

    /// Returns the most bytes that may wait for the worker.
    pub(crate) fn model_limit(&self) -> usize {
        Out::limit(self.streams.borrow().len())
    }

    /// Returns the number of streams that wait for room.
    pub(crate) fn model_starved(&self) -> usize {
        self.starved.borrow().len()
    }

    /// Returns the number of claim slots that are taken, and of all claim slots.
    pub(crate) fn model_slots(&self) -> (usize, usize) {
        let (taken, all) = self.streams.borrow().model_slots();
        debug_assert!(all <= SLOTS, "invariant: a link has no more start credits than slots");
        (taken, all)
    }

    /// Whether all blocks are free, seen from both ends. `worker` is a view of the same memory.
    pub(crate) fn model_has_all_blocks(&self, worker: &hcrs_link::BlockArea) -> bool {
        let Some(blocks) = &self.blocks else { return true };
        let taken: Vec<_> = std::iter::from_fn(|| worker.put(b"x")).collect();
        taken.len() == hcrs_link::BLOCKS && taken.iter().all(|&block| blocks.lend(block, 1).is_some())
    }
}
