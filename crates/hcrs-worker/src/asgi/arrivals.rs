//! The effects of frames from the edge on a link's exchanges and on the worker.

use std::time::{Duration, Instant};

use hcrs_link::{FromEdge, LinkError, Outbox, Stream, StreamId};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;

use super::{AsgiLink, broken};
use crate::exchange::{Exchange, Inner};
use crate::lock;
use crate::waiter::{resume, wake};
use crate::websocket::{MessagePiece, Messages};

impl AsgiLink {
    /// Applies a frame other than a request or TLS facts, which the turn handles.
    ///
    /// A frame of an unknown stream has no effect: its exchange is over, or was withdrawn.
    pub(super) fn take_frame(slf: &Bound<'_, Self>, frame: &FromEdge<'_>) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        let exchange = |stream| this.exchange(py, stream);
        match *frame {
            FromEdge::Data { stream, bytes, end } => match exchange(stream) {
                Some(exchange) => take_data(exchange.bind(py), bytes, end),
                None => Ok(()),
            },
            FromEdge::Message { stream, kind, bytes, end } => {
                Self::take_messages(slf, stream, "Message", |messages, stream, out| {
                    messages.arrive(py, MessagePiece { kind, bytes, end }, stream, out)
                })
            }
            FromEdge::Close { stream, code, reason } => {
                Self::take_messages(slf, stream, "Close", |messages, _, _| {
                    messages.close(code, reason);
                    Ok(())
                })?;
                exchange(stream).map_or(Ok(()), |exchange| this.on_close(exchange.bind(py)))
            }
            FromEdge::Credit { stream, amount } => {
                let Some(exchange) = exchange(stream) else { return Ok(()) };
                exchange.get().lock().stream.credit(amount);
                while Self::pump(slf, exchange.bind(py))? {}
                Ok(())
            }
            FromEdge::HalfClose { stream } => {
                exchange(stream).map_or(Ok(()), |exchange| this.on_half_close(exchange.bind(py)))
            }
            FromEdge::Reset { stream, cancel } => {
                exchange(stream).map_or(Ok(()), |exchange| Self::on_reset(slf, exchange.bind(py), cancel))
            }
            FromEdge::Stopping { signal } => this.callbacks.stopping.bind(py).call1((signal,)).map(drop),
            FromEdge::Drain { left_ms } => {
                let left = Duration::from_millis(u64::from(left_ms)).as_secs_f64();
                this.callbacks.drained.bind(py).call1((left,)).map(drop)
            }
            FromEdge::Request(_) | FromEdge::Tls { .. } => Ok(()),
        }
    }

    /// Wakes the `send`s of a closed WebSocket, which raise: they would wait for a client that reads no more.
    fn on_close(&self, exchange: &Bound<'_, Exchange>) -> PyResult<()> {
        let senders = std::mem::take(&mut exchange.get().lock().senders);
        wake(exchange.py(), senders)?;
        self.on_client_left(exchange)
    }

    fn on_half_close(&self, exchange: &Bound<'_, Exchange>) -> PyResult<()> {
        let waiters = {
            let mut inner = exchange.get().lock();
            inner.stream.half_close();
            if let Some(messages) = &mut inner.websocket {
                messages.lose();
            }
            std::mem::take(&mut inner.receivers)
        };
        wake(exchange.py(), waiters)?;
        self.on_client_left(exchange)
    }

    fn on_reset(slf: &Bound<'_, Self>, exchange: &Bound<'_, Exchange>, cancel: bool) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        let (waiters, task) = {
            let mut inner = exchange.get().lock();
            inner.stream.reset(&mut this.out().outbox);
            if let Some(messages) = &mut inner.websocket {
                messages.lose();
            }
            let mut waiters = std::mem::take(&mut inner.receivers);
            waiters.append(&mut inner.senders);
            (waiters, inner.task.as_ref().map(|running| running.task.clone_ref(py)))
        };
        wake(py, waiters)?;
        this.on_client_left(exchange)?;
        match task {
            Some(task) if cancel => task.bind(py).call_method0(intern!(py, "cancel")).map(drop),
            Some(_) => Ok(()),
            None => Self::finish(slf, exchange, None, None),
        }
    }

    /// Records that the client of an exchange has left. If its task is running, reports it to the main
    /// program, which checks on the task after a while.
    fn on_client_left(&self, exchange: &Bound<'_, Exchange>) -> PyResult<()> {
        let runs_on = {
            let mut inner = exchange.get().lock();
            let is_first = inner.left_at.is_none();
            inner.left_at.get_or_insert_with(Instant::now);
            is_first && inner.task.is_some()
        };
        if runs_on { self.callbacks.client_left.bind(exchange.py()).call0().map(drop) } else { Ok(()) }
    }

    /// Returns the exchange of a stream, unless it is over or was withdrawn.
    fn exchange(&self, py: Python<'_>, stream: StreamId) -> Option<Py<Exchange>> {
        lock(&self.exchanges).live.get(&stream).map(|exchange| exchange.clone_ref(py))
    }

    /// Applies a frame of a WebSocket with `take` and resumes the `receive`s that wait.
    fn take_messages(
        slf: &Bound<'_, Self>,
        stream: StreamId,
        frame: &'static str,
        take: impl FnOnce(&mut Messages, &mut Stream<PyBackedBytes>, &mut Outbox) -> Result<(), LinkError>,
    ) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        let Some(exchange) = this.exchange(py, stream) else { return Ok(()) };
        let waiters = {
            let mut inner = exchange.get().lock();
            let Inner { stream, websocket, receivers, .. } = &mut *inner;
            let messages = websocket.as_mut().ok_or_else(|| broken(LinkError::Unexpected(frame)))?;
            take(messages, stream, &mut this.out().outbox).map_err(broken)?;
            std::mem::take(receivers)
        };
        resume(py, waiters)
    }
}

/// Takes a piece of a request's body and resumes the `receive`s that wait.
fn take_data(exchange: &Bound<'_, Exchange>, bytes: &[u8], end: bool) -> PyResult<()> {
    let waiters = {
        let mut inner = exchange.get().lock();
        if inner.stream.is_gone() {
            return Ok(());
        }
        inner.stream.arrive(bytes, end).map_err(broken)?;
        std::mem::take(&mut inner.receivers)
    };
    resume(exchange.py(), waiters)
}
