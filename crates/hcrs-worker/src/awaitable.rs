//! What `receive()` and `send()` give to `await`.
//!
//! A result that is there at once is handed over without a future; only what has to wait makes a [`Waiting`], and
//! yields it to the task in the way of `asyncio.Future.__await__`. The objects have all of a coroutine's
//! methods, so that `asyncio.create_task(receive())` works too.
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
pub enum Step<'py> {
    /// It is done.
    Return(Bound<'py, PyAny>),
    /// It waits for this future.
    Yield(Bound<'py, PyAny>),
}

/// The result of a `send` that was complete at once; there is one of them.
#[derive(Debug)]
#[pyclass(frozen, module = "hcrs._hcrs")]
pub struct Sent;

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

/// A `send` that is complete, or has failed, once the loop has had a turn: the app has sent much in this one, or nobody
/// is there to send to, so that an app that does nothing but send leaves the others theirs.
#[derive(Debug)]
#[pyclass(frozen, module = "hcrs._hcrs")]
pub struct SentInTurn {
    link: Py<AsgiLink>,
    step: Mutex<TurnStep>,
}

/// How far a [`SentInTurn`] is.
#[derive(Debug)]
enum TurnStep {
    /// It was not awaited yet.
    Begin {
        /// It takes the time of an app that sends to nobody without end.
        paced: bool,
        error: Option<PyErr>,
    },
    /// The loop has its turn.
    Wait(Option<PyErr>),
    Over,
}

impl SentInTurn {
    /// A `send` on `link` that succeeds.
    pub fn new(link: Py<AsgiLink>, paced: bool) -> Self {
        Self { link, step: Mutex::new(TurnStep::Begin { paced, error: None }) }
    }

    /// A `send` on `link` that fails.
    pub fn failing(link: Py<AsgiLink>, paced: bool, error: PyErr) -> Self {
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

/// What a [`Wait`] is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// The next message for the app; taken when it is awaited, not before.
    Received,
    /// What was sent has left.
    Flushed,
}

/// A `receive`, or a `send` that could not leave at once.
#[derive(Debug)]
#[pyclass(frozen, module = "hcrs._hcrs")]
pub struct Wait {
    exchange: Py<Exchange>,
    until: Until,
}

impl Wait {
    /// Waits on `exchange`.
    pub fn new(exchange: Py<Exchange>, until: Until) -> Self {
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

/// The exception that `throw` was given, as an instance or as a class and its value.
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
