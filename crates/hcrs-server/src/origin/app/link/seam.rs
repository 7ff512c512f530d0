//! What the model of the link needs to do in the place of [`Pump`](super::pump::Pump), which moves bytes through a socket.

use std::task::Waker;

use hcrs_link::{LinkError, SLOTS};

use super::out::Out;
use super::{Life, Link};

impl Link {
    /// The link is polled, and woken through `waker` from now on.
    pub(crate) fn model_listen(&self, waker: &Waker) {
        self.listen(waker);
    }

    /// Whether the worker's process has ended, so that the link ends once it was read empty.
    pub(crate) fn model_is_orphaned(&self) -> bool {
        self.life.get() == Life::Orphaned
    }

    /// What the pump does after it has read; gives whether the worker is spent.
    pub(crate) fn model_after_read(&self) -> Result<bool, LinkError> {
        let is_spent = self.is_spent.take();
        if self.is_retired() {
            self.stir.notify_one();
        }
        self.check_out().map(|()| is_spent)
    }

    /// Writes as the pump does, by giving `socket` what waits until it takes no more. True if bodies were let in again.
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

    /// The worker has closed its end: what waits goes nowhere.
    pub(crate) fn model_clear(&self) {
        self.out.borrow_mut().clear();
    }

    /// Bytes that wait for the worker.
    pub(crate) fn model_waiting(&self) -> usize {
        self.out.borrow().len()
    }

    /// The most bytes that may wait for the worker.
    pub(crate) fn model_limit(&self) -> usize {
        Out::limit(self.streams.borrow().len())
    }

    /// Streams that wait for room.
    pub(crate) fn model_starved(&self) -> usize {
        self.starved.borrow().len()
    }

    /// Claim slots that are taken, and how many there are.
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
