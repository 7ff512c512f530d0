//! The futures that tasks wait for in `receive()` and `send()`, which can resume their tasks at once.
//!
//! A future of the loop passes its task to `loop.call_soon`, so that a message would be received one turn of
//! the loop late, and its answer sent another turn late. A [`Waiter`] has the interface that asyncio's tasks
//! require of a future. When a frame has arrived, in a turn of the link, which is a callback of the loop
//! outside of any task, the waiter runs the task's step itself, in the task's own context. It is an ordinary
//! step of an ordinary task.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pyo3::exceptions::asyncio::{CancelledError, InvalidStateError};
use pyo3::exceptions::{PyKeyboardInterrupt, PySystemExit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::lock;

/// The future of a pending `receive` or `send`.
#[derive(Debug)]
pub(crate) enum Waiting {
    /// A future for a loop of asyncio.
    Waiter(Py<Waiter>),
    /// A future of another loop.
    Future(Py<PyAny>),
}

impl Waiting {
    /// Creates a future. Returns it with the object that is to be yielded to the task.
    pub(crate) fn new<'py>(
        event_loop: &Bound<'py, PyAny>,
        is_asyncio: bool,
    ) -> PyResult<(Self, Bound<'py, PyAny>)> {
        let py = event_loop.py();
        if is_asyncio {
            let waiter = Bound::new(py, Waiter::new(event_loop.clone().unbind()))?;
            return Ok((Self::Waiter(waiter.clone().unbind()), waiter.into_any()));
        }
        let future = event_loop.call_method0(intern!(py, "create_future"))?;
        future.setattr(intern!(py, "_asyncio_future_blocking"), true)?;
        Ok((Self::Future(future.clone().unbind()), future))
    }

    /// Returns whether the future is set or cancelled.
    pub(crate) fn is_done(&self, py: Python<'_>) -> PyResult<bool> {
        match self {
            Self::Waiter(waiter) => Ok(waiter.get().done()),
            Self::Future(future) => future.bind(py).call_method0(intern!(py, "done"))?.is_truthy(),
        }
    }

    /// Resumes the task in a later turn of the loop.
    fn wake(&self, py: Python<'_>) -> PyResult<()> {
        match self {
            Self::Waiter(waiter) => Waiter::settle(waiter.bind(py), State::Set),
            Self::Future(future) if !self.is_done(py)? => {
                future.bind(py).call_method1(intern!(py, "set_result"), (py.None(),)).map(drop)
            }
            Self::Future(_) => Ok(()),
        }
    }

    /// Resumes the task by a timer of `event_loop`.
    pub(crate) fn wake_later(&self, event_loop: &Bound<'_, PyAny>, after: Duration) -> PyResult<()> {
        let py = event_loop.py();
        let set = match self {
            Self::Waiter(waiter) => waiter.bind(py).getattr(intern!(py, "_set"))?,
            Self::Future(future) => future.bind(py).getattr(intern!(py, "set_result"))?,
        };
        let call_later = intern!(py, "call_later");
        event_loop.call_method1(call_later, (after.as_secs_f64(), set, py.None())).map(drop)
    }

    /// Resumes the task at once. Must be called in a callback of the loop, outside of any task.
    fn resume(&self, py: Python<'_>) -> PyResult<()> {
        match self {
            Self::Waiter(waiter) => {
                Waiter::resume(waiter.bind(py));
                Ok(())
            }
            Self::Future(_) => self.wake(py),
        }
    }
}

/// Resumes tasks in a later turn of the loop, for them to check their condition again.
pub(crate) fn wake(py: Python<'_>, waiting: Vec<Waiting>) -> PyResult<()> {
    waiting.into_iter().try_for_each(|waiting| waiting.wake(py))
}

/// Resumes tasks at once, for them to check their condition again. Must be called in a turn of the link.
pub(crate) fn resume(py: Python<'_>, waiting: Vec<Waiting>) -> PyResult<()> {
    waiting.into_iter().try_for_each(|waiting| waiting.resume(py))
}

/// A future of asyncio whose result is always None.
#[derive(Debug)]
#[pyclass(frozen, module = "hcrs._hcrs")]
pub(crate) struct Waiter {
    event_loop: Py<PyAny>,
    /// The attribute `_asyncio_future_blocking`, by which a task recognizes a future that was yielded to it
    /// properly.
    blocking: AtomicBool,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    state: State,
    callbacks: Vec<Callback>,
}

#[derive(Debug)]
enum State {
    Pending,
    Set,
    /// Cancelled, with the message that was given.
    Cancelled(Option<Py<PyAny>>),
}

#[derive(Debug)]
struct Callback {
    function: Py<PyAny>,
    context: Option<Py<PyAny>>,
}

impl Waiter {
    fn new(event_loop: Py<PyAny>) -> Self {
        let inner = Inner { state: State::Pending, callbacks: Vec::new() };
        Self { event_loop, blocking: AtomicBool::new(true), inner: Mutex::new(inner) }
    }

    /// Settles the future. Returns the callbacks, or `None` if it was settled before.
    fn set_state(&self, state: State) -> Option<Vec<Callback>> {
        let mut inner = lock(&self.inner);
        if !matches!(inner.state, State::Pending) {
            return None;
        }
        inner.state = state;
        Some(std::mem::take(&mut inner.callbacks))
    }

    /// Settles the future and schedules its callbacks.
    fn settle(slf: &Bound<'_, Self>, state: State) -> PyResult<()> {
        let callbacks = slf.get().set_state(state).unwrap_or_default();
        callbacks.into_iter().try_for_each(|callback| callback.call_soon(slf))
    }

    /// Sets the future and calls its callbacks at once.
    fn resume(slf: &Bound<'_, Self>) {
        let py = slf.py();
        for Callback { function, context } in slf.get().set_state(State::Set).unwrap_or_default() {
            let ran = match context {
                Some(context) => context.bind(py).call_method1(intern!(py, "run"), (function, slf)),
                None => function.bind(py).call1((slf,)),
            };
            match ran {
                Ok(_) => {}
                // A step raises these although the task has stored them.
                Err(error) if error.is_instance_of::<PySystemExit>(py) => {}
                Err(error) if error.is_instance_of::<PyKeyboardInterrupt>(py) => {}
                Err(error) => error.write_unraisable(py, Some(slf.as_any())),
            }
        }
    }
}

#[pymethods]
impl Waiter {
    #[getter(_asyncio_future_blocking)]
    fn blocking(&self) -> bool {
        self.blocking.load(Ordering::Relaxed)
    }

    #[setter(_asyncio_future_blocking)]
    fn set_blocking(&self, blocking: bool) {
        self.blocking.store(blocking, Ordering::Relaxed);
    }

    fn get_loop<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        self.event_loop.bind(py).clone()
    }

    fn done(&self) -> bool {
        !matches!(lock(&self.inner).state, State::Pending)
    }

    fn cancelled(&self) -> bool {
        matches!(lock(&self.inner).state, State::Cancelled(_))
    }

    fn result(&self, py: Python<'_>) -> PyResult<()> {
        match &lock(&self.inner).state {
            State::Set => Ok(()),
            State::Cancelled(Some(why)) => Err(CancelledError::new_err((why.clone_ref(py),))),
            State::Cancelled(None) => Err(CancelledError::new_err(())),
            State::Pending => Err(InvalidStateError::new_err("Result is not ready.")),
        }
    }

    fn exception(&self, py: Python<'_>) -> PyResult<()> {
        self.result(py)
    }

    /// Sets the future, as the callback of a timer.
    #[pyo3(name = "_set")]
    fn set(slf: &Bound<'_, Self>, _nothing: &Bound<'_, PyAny>) -> PyResult<()> {
        Self::settle(slf, State::Set)
    }

    #[pyo3(signature = (msg = None))]
    fn cancel(slf: &Bound<'_, Self>, msg: Option<Py<PyAny>>) -> PyResult<bool> {
        let is_pending = !slf.get().done();
        Self::settle(slf, State::Cancelled(msg))?;
        Ok(is_pending)
    }

    #[pyo3(signature = (function, *, context = None))]
    fn add_done_callback(
        slf: &Bound<'_, Self>,
        function: Py<PyAny>,
        context: Option<Py<PyAny>>,
    ) -> PyResult<()> {
        let callback = Callback { function, context };
        let mut inner = lock(&slf.get().inner);
        if matches!(inner.state, State::Pending) {
            inner.callbacks.push(callback);
            return Ok(());
        }
        drop(inner);
        callback.call_soon(slf)
    }

    fn remove_done_callback(slf: &Bound<'_, Self>, function: &Bound<'_, PyAny>) -> PyResult<usize> {
        // The comparison may run code of the app, so no lock may be held.
        let mut removed = 0;
        let callbacks = std::mem::take(&mut lock(&slf.get().inner).callbacks);
        for Callback { function: theirs, context } in callbacks {
            if theirs.bind(function.py()).eq(function)? {
                removed += 1;
            } else {
                Self::add_done_callback(slf, theirs, context)?;
            }
        }
        Ok(removed)
    }
}

impl Callback {
    fn call_soon(self, waiter: &Bound<'_, Waiter>) -> PyResult<()> {
        let py = waiter.py();
        let kwargs = PyDict::new(py);
        if let Some(context) = self.context {
            kwargs.set_item(intern!(py, "context"), context)?;
        }
        let arguments = PyTuple::new(py, [self.function.bind(py), waiter.as_any()])?;
        let call_soon = waiter.get().event_loop.bind(py).getattr(intern!(py, "call_soon"))?;
        call_soon.call(arguments, Some(&kwargs)).map(drop)
    }
}
