//! The write side of a link that serves an ASGI app: the outbox, the exchanges that wait for room in it, and
//! the socket.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsRawFd as _;

use hcrs_link::{Outbox, Stalled, StreamMap};
use pyo3::intern;
use pyo3::prelude::*;

use super::AsgiLink;
use crate::exchange::Exchange;
use crate::lock;
use crate::socket;
use crate::waiter::wake;

/// The outbox and the event that will have it written.
#[derive(Debug)]
pub(crate) struct Out {
    /// The frames that wait to be written.
    pub(crate) outbox: Outbox,
    /// Whether a turn is running, which writes at its end.
    pub(super) in_turn: bool,
    /// Whether the loop is to call a flush.
    pub(super) scheduled: bool,
    /// Whether the loop is watching for the socket to become writable.
    pub(super) watched: bool,
}

impl Out {
    pub(super) fn new(outbox: Outbox) -> Self {
        Self { outbox, in_turn: false, scheduled: false, watched: false }
    }
}

/// The exchanges of a link.
#[derive(Debug, Default)]
pub(super) struct Exchanges {
    /// Exchanges whose task is running, or whose response is not yet in the outbox as a whole.
    pub(super) live: StreamMap<Py<Exchange>>,
    /// Exchanges whose bodies wait for room in the outbox, in order.
    full: VecDeque<Py<Exchange>>,
}

impl AsgiLink {
    /// Ensures that frames that were just put into the outbox are written in this turn of the loop.
    pub(crate) fn pushed(slf: &Bound<'_, Self>) -> PyResult<()> {
        let this = slf.get();
        {
            let mut out = this.out();
            if out.in_turn || out.scheduled || out.watched || out.outbox.is_empty() {
                return Ok(());
            }
            out.scheduled = true;
        }
        let py = slf.py();
        let flush = slf.getattr(intern!(py, "_flush"))?;
        this.event_loop.bind(py).call_method1(intern!(py, "call_soon"), (flush,))?;
        Ok(())
    }

    /// Queues `exchange` for room in the outbox, which is full, and writes as much as the socket takes.
    pub(crate) fn make_room(slf: &Bound<'_, Self>, exchange: &Bound<'_, Exchange>) -> PyResult<()> {
        let this = slf.get();
        {
            let mut inner = exchange.get().lock();
            if !std::mem::replace(&mut inner.queued, true) {
                lock(&this.exchanges).full.push_back(exchange.clone().unbind());
            }
        }
        Self::write(slf)
    }

    /// Moves one frame of a response's body into the outbox. Returns false once the body has to wait or is
    /// finished.
    pub(super) fn pump(slf: &Bound<'_, Self>, exchange: &Bound<'_, Exchange>) -> PyResult<bool> {
        let this = slf.get();
        let (stalled, waiters) = {
            let mut inner = exchange.get().lock();
            let stalled = inner.stream.pump(&mut this.out().outbox);
            let flushed = inner.stream.is_flushed();
            if flushed && inner.task.is_none() {
                lock(&this.exchanges).live.remove(&inner.stream.id());
            }
            let waiters = if flushed { std::mem::take(&mut inner.senders) } else { Vec::new() };
            if stalled == Stalled::Outbox && !std::mem::replace(&mut inner.queued, true) {
                lock(&this.exchanges).full.push_back(exchange.clone().unbind());
            }
            (if flushed { Stalled::Window } else { stalled }, waiters)
        };
        wake(slf.py(), waiters)?;
        Ok(stalled == Stalled::No)
    }

    /// Writes as much as the socket takes, refilling the outbox from the waiting bodies in turn.
    pub(super) fn write(slf: &Bound<'_, Self>) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        loop {
            let written = socket::write(&mut this.out().outbox, &this.end.socket);
            match written {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Self::watch(slf),
                Err(_) => return Self::gone(slf, None),
            }
            while !this.out().outbox.is_full() {
                let Some(exchange) = lock(&this.exchanges).full.pop_front() else { break };
                exchange.get().lock().queued = false;
                if Self::pump(slf, exchange.bind(py))? {
                    exchange.get().lock().queued = true;
                    lock(&this.exchanges).full.push_back(exchange);
                }
            }
            if this.out().outbox.is_empty() {
                return Self::unwatch(slf);
            }
        }
    }

    fn watch(slf: &Bound<'_, Self>) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        if !std::mem::replace(&mut this.out().watched, true) {
            let writable = slf.getattr(intern!(py, "_flush"))?;
            let fd = this.end.socket.as_raw_fd();
            this.event_loop.bind(py).call_method1(intern!(py, "add_writer"), (fd, writable))?;
        }
        Ok(())
    }

    pub(super) fn unwatch(slf: &Bound<'_, Self>) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        if std::mem::replace(&mut this.out().watched, false) {
            let fd = this.end.socket.as_raw_fd();
            this.event_loop.bind(py).call_method1(intern!(py, "remove_writer"), (fd,))?;
        }
        Ok(())
    }
}
