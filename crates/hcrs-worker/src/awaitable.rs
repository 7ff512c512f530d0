//! The awaitables that `receive()` and `send()` return.
//!
//! A result that is available at once is returned without a future. An awaitable that has to wait creates a
//! [`Waiting`] and yields it to the task, as `asyncio.Future.__await__` does. The objects have all methods of
//! a coroutine, so that `asyncio.create_task(receive())` works too.
//!
//! [`Waiting`]: crate::waiter::Waiting

use std::sync::Mutex;

use pyo3::exceptions::{PyStopIteration, PyTypeError};
use pyo3::prelude::*;

use crate::asgi::AsgiLink;
use crate::exchange::Exchange;
use crate::lock;

/// One step of an awaitable.
#[derive(Debug)]
pub(crate) enum Step<'py> {
    /// The awaitable is done, with this result.
    Return(Bound<'py, PyAny>),
    /// The awaitable waits for this future.
    Yield(Bound<'py, PyAny>),
}

/// The awaitable of a `send` that was complete at once. Each link has one.
#[derive(Debug)]
#[pyclass(frozen, module = "hcrs._hcrs")]
pub(crate) struct Sent;

#[pymethods]
impl Sent {
    fn __await__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    #[expect(clippy::unused_self, reason = "the iterator protocol")]
    fn __next__(&self) -> Option<Py<PyAny>> {
        None
    }

    #[expect(clippy::unused_self, reason = "the coroutine protocol")]
    fn send(&self, _value: &Bound<'_, PyAny>) -> PyResult<()> {
        Err(PyStopIteration::new_err(()))
    }

    #[pyo3(signature = (kind, value = None, _traceback = None))]
    #[expect(clippy::unused_self, reason = "the coroutine protocol")]
    fn throw(
        &self,
        kind: &Bound<'_, PyAny>,
        value: Option<&Bound<'_, PyAny>>,
        _traceback: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        Err(thrown(kind, value))
    }

    #[expect(clippy::unused_self, reason = "the coroutine protocol")]
    fn close(&self) {}
}

/// The awaitable of a `send` that yields a turn of the loop before it completes or fails.
///
/// It is for an app that has sent much in this turn, or whose client has left, so that an app that only sends
/// does not keep other tasks from running.
#[derive(Debug)]
#[pyclass(frozen, module = "hcrs._hcrs")]
pub(crate) struct SentInTurn {
    link: Py<AsgiLink>,
    step: Mutex<TurnStep>,
}

/// The state of a [`SentInTurn`].
#[derive(Debug)]
enum TurnStep {
    /// Not awaited yet.
    Begin {
        /// Whether the turn lasts for [`PACE`](crate::slice::PACE).
        paced: bool,
        error: Option<PyErr>,
    },
    /// Waiting while the loop has its turn, with the error that follows.
    Wait(Option<PyErr>),
    /// Done.
    Over,
}

impl SentInTurn {
    /// Creates the awaitable of a `send` on `link` that succeeds.
    pub(crate) fn new(link: Py<AsgiLink>, paced: bool) -> Self {
        Self { link, step: Mutex::new(TurnStep::Begin { paced, error: None }) }
    }

    /// Creates the awaitable of a `send` on `link` that fails with `error`.
    pub(crate) fn failing(link: Py<AsgiLink>, paced: bool, error: PyErr) -> Self {
        Self { link, step: Mutex::new(TurnStep::Begin { paced, error: Some(error) }) }
    }

    fn step<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let step = std::mem::replace(&mut *lock(&self.step), TurnStep::Over);
        match step {
            TurnStep::Begin { paced, error } => {
                *lock(&self.step) = TurnStep::Wait(error);
                AsgiLink::turn_for_others(self.link.bind(py), paced)
            }
            TurnStep::Wait(Some(error)) => Err(error),
            TurnStep::Wait(None) | TurnStep::Over => Err(PyStopIteration::new_err(())),
        }
    }
}

#[pymethods]
impl SentInTurn {
    fn __await__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.step(py)
    }

    fn send<'py>(&self, py: Python<'py>, _value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        self.step(py)
    }

    #[pyo3(signature = (kind, value = None, _traceback = None))]
    fn throw(
        &self,
        kind: &Bound<'_, PyAny>,
        value: Option<&Bound<'_, PyAny>>,
        _traceback: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        self.close();
        Err(thrown(kind, value))
    }

    fn close(&self) {
        let dropped = std::mem::replace(&mut *lock(&self.step), TurnStep::Over);
        drop(dropped);
    }
}

/// The event that a [`Wait`] waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// The next message for the app, which is taken when it is awaited and not before.
    Received,
    /// All that the app has sent is in the outbox.
    Flushed,
}

/// The awaitable of a `receive`, or of a `send` that has to wait.
#[derive(Debug)]
#[pyclass(frozen, module = "hcrs._hcrs")]
pub(crate) struct Wait {
    exchange: Py<Exchange>,
    until: Until,
}

impl Wait {
    /// Creates an awaitable for an event of `exchange`.
    pub(crate) fn new(exchange: Py<Exchange>, until: Until) -> Self {
        Self { exchange, until }
    }

    fn step<'py>(&self, py: Python<'py>) -> PyResult<Step<'py>> {
        let exchange = self.exchange.bind(py);
        match self.until {
            Until::Received => Exchange::receive_step(exchange),
            Until::Flushed => Exchange::flush_step(exchange),
        }
    }
}

#[pymethods]
impl Wait {
    fn __await__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        match self.step(py)? {
            Step::Yield(future) => Ok(Some(future)),
            Step::Return(value) if value.is_none() => Ok(None),
            Step::Return(value) => Err(PyStopIteration::new_err((value.unbind(),))),
        }
    }

    fn send<'py>(&self, py: Python<'py>, _value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        match self.step(py)? {
            Step::Yield(future) => Ok(future),
            Step::Return(value) => Err(PyStopIteration::new_err((value.unbind(),))),
        }
    }

    #[pyo3(signature = (kind, value = None, _traceback = None))]
    #[expect(clippy::unused_self, reason = "the coroutine protocol")]
    fn throw(
        &self,
        kind: &Bound<'_, PyAny>,
        value: Option<&Bound<'_, PyAny>>,
        _traceback: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        Err(thrown(kind, value))
    }

    #[expect(clippy::unused_self, reason = "the coroutine protocol")]
    fn close(&self) {}
}

/// Returns the exception that `throw` was called with, as an instance or as a class and its value.
fn thrown(kind: &Bound<'_, PyAny>, value: Option<&Bound<'_, PyAny>>) -> PyErr {
    if kind.is_instance_of::<pyo3::exceptions::PyBaseException>() {
        return PyErr::from_value(kind.clone());
    }
    let made = match value {
        Some(value) if value.is_instance_of::<pyo3::exceptions::PyBaseException>() => Ok(value.clone()),
        Some(value) => kind.call1((value,)),
        None => kind.call0(),
    };
    match made {
        Ok(error) if error.is_instance_of::<pyo3::exceptions::PyBaseException>() => PyErr::from_value(error),
        Ok(_) => PyTypeError::new_err("exceptions must derive from BaseException"),
        Err(error) => error,
    }
}
