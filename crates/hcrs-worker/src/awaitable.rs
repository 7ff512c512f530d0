//! What `receive()` and `send()` give to `await`.
//!
//! A result that is there at once is handed over without a future; only what has to wait makes a [`Waiting`], and
//! yields it to the task in the way of `asyncio.Future.__await__`. The objects have all of a coroutine's
//! methods, so that `asyncio.create_task(receive())` works too.
//!
//! [`Waiting`]: crate::waiter::Waiting

use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::exceptions::{PyStopIteration, PyTypeError};
use pyo3::prelude::*;

use crate::exchange::Exchange;

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

/// A `send` that goes nowhere, because the client has gone: it gives the loop a turn, so that an app that does nothing but
/// send leaves the others theirs.
#[derive(Debug, Default)]
#[pyclass(frozen, module = "hcrs._hcrs")]
pub struct SentNowhere {
    is_over: AtomicBool,
}

impl SentNowhere {
    /// Yields nothing once, as `asyncio.sleep(0)` does.
    fn step(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        if self.is_over.swap(true, Ordering::Relaxed) {
            return Err(PyStopIteration::new_err(()));
        }
        Ok(py.None())
    }
}

#[pymethods]
impl SentNowhere {
    fn __await__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.step(py)
    }

    fn send(&self, value: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        self.step(value.py())
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
