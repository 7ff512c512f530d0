//! A request's side of the exchange: what the exchange sends goes to the task that has the request.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Waker;

use hcrs_link::{MessageKind, StreamId};
use hcrs_metrics::{Counters, Stall};
use tokio::task::AbortHandle;

use super::body::Pipe;
use crate::exchange::Origin;

/// A request in an upstream, as its exchange knows it.
#[derive(Debug)]
pub(super) struct Stream {
    /// The request's body.
    pub(super) body: Rc<Pipe>,
    /// Whether the client has closed its side.
    is_half_closed: Cell<bool>,
    /// Whether the server stops, and a WebSocket is to be closed.
    is_leaving: Cell<bool>,
    metrics: Rc<Counters>,
    /// Wakes the task, which waits for an event of the exchange.
    waker: RefCell<Option<Waker>>,
    task: RefCell<Option<AbortHandle>>,
}

impl Stream {
    pub(super) fn new(has_body: bool, metrics: &Rc<Counters>) -> Rc<Self> {
        Rc::new(Self {
            body: Rc::new(Pipe::new(has_body)),
            is_half_closed: Cell::new(false),
            is_leaving: Cell::new(false),
            metrics: Rc::clone(metrics),
            waker: RefCell::default(),
            task: RefCell::default(),
        })
    }

    /// Sets the task that has the request.
    pub(super) fn set_task(&self, task: AbortHandle) {
        *self.task.borrow_mut() = Some(task);
    }

    /// Whether the client has closed its side.
    pub(super) fn is_half_closed(&self) -> bool {
        self.is_half_closed.get()
    }

    /// Whether the server stops, and a WebSocket is to be closed.
    pub(super) fn is_leaving(&self) -> bool {
        self.is_leaving.get()
    }

    /// Registers the task as the one to be woken by the exchange.
    pub(super) fn listen(&self, waker: &Waker) {
        let mut current = self.waker.borrow_mut();
        if !current.as_ref().is_some_and(|current| current.will_wake(waker)) {
            *current = Some(waker.clone());
        }
    }

    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}

impl Origin for Stream {
    fn has_room(&self, _: StreamId) -> bool {
        // The body is bounded by its window.
        true
    }

    fn note_stall(&self, stall: Stall) {
        self.metrics.stalls.of(stall).increment();
    }

    fn send_data(&self, _: StreamId, bytes: &[u8], end: bool) {
        self.body.push(bytes, end);
    }

    fn send_credit(&self, _: StreamId, _: u32) {
        self.wake();
    }

    fn send_message(&self, _: StreamId, _: MessageKind, _: &[u8], _: bool) {
        debug_assert!(false, "a WebSocket's bytes are passed on, not its messages");
    }

    fn send_close(&self, _: StreamId, _: u16, _: &str) {
        self.is_leaving.set(true);
        self.wake();
    }

    fn send_half_close(&self, _: StreamId) {
        self.is_half_closed.set(true);
        self.wake();
    }

    fn abandon(&self, _: StreamId) {
        self.body.abort();
        if let Some(task) = self.task.borrow_mut().take() {
            task.abort();
        }
    }

    fn give_up(&self, _: StreamId) -> bool {
        false
    }
}
