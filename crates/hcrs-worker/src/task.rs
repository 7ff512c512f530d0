//! Starts the task of a request so that its first step runs at once.
//!
//! From Python 3.12 on asyncio supports this (`eager_start`). Before that, a task passes its first step to
//! `loop.call_soon`, which is replaced by [`Capture`] while the task is created; the step is then run in the
//! task's own context. It is an ordinary first step of an ordinary task, so that `current_task`, sniffio and
//! anyio work as usual.

use std::sync::Mutex;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::lock;

/// The name of request tasks, as debuggers and `asyncio.all_tasks` show it.
const TASK_NAME: &str = "hcrs.request";

/// A factory of request tasks on one loop.
#[derive(Debug)]
pub(crate) struct TaskStarter {
    event_loop: Py<PyAny>,
    task_type: Py<PyAny>,
    kwargs: Py<PyDict>,
    method: Method,
}

/// The way in which a task's first step is run.
#[derive(Debug)]
enum Method {
    /// `asyncio.Task(..., eager_start=True)`
    Eager,
    /// The first step is captured and run at once.
    Captured { capture: Py<Capture>, call_soon: Py<PyAny> },
    /// The loop runs the first step in a later turn.
    Later,
}

/// A started task of a request.
#[derive(Debug)]
pub(crate) struct Started<'py> {
    pub(crate) task: Bound<'py, PyAny>,
    /// The task's context, if it is known and the task itself does not provide it.
    pub(crate) context: Option<Py<PyAny>>,
}

/// Returns the context in which a task's steps run, if it is known. From Python 3.12 on the task provides it;
/// before that it has to be `kept` from the task's start.
pub(crate) fn context_of<'py>(
    task: &Bound<'py, PyAny>,
    kept: Option<Py<PyAny>>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = task.py();
    match kept {
        Some(context) => Ok(Some(context.into_bound(py))),
        None => task.getattr_opt(intern!(py, "get_context"))?.map(|get| get.call0()).transpose(),
    }
}

impl TaskStarter {
    /// Creates a starter, with the best method that this version of Python and this loop support.
    pub(crate) fn new(py: Python<'_>, event_loop: &Bound<'_, PyAny>) -> PyResult<Self> {
        let task_type = py.import("asyncio")?.getattr("Task")?;
        let kwargs = PyDict::new(py);
        kwargs.set_item("loop", event_loop)?;
        kwargs.set_item("name", TASK_NAME)?;
        let method = if py.version_info() >= (3, 12) {
            kwargs.set_item("eager_start", true)?;
            Method::Eager
        } else {
            let capture = Py::new(py, Capture::default())?;
            let call_soon = capture.bind(py).getattr("call_soon")?;
            let name = intern!(py, "call_soon");
            if event_loop.setattr(name, &call_soon).is_ok() {
                event_loop.delattr(name)?;
                Method::Captured { capture, call_soon: call_soon.unbind() }
            } else {
                Method::Later
            }
        };
        Ok(Self {
            event_loop: event_loop.clone().unbind(),
            task_type: task_type.unbind(),
            kwargs: kwargs.unbind(),
            method,
        })
    }

    /// Returns whether the app has set a task factory (`loop.set_task_factory`).
    pub(crate) fn has_factory(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(!self.event_loop.bind(py).call_method0(intern!(py, "get_task_factory"))?.is_none())
    }

    /// Creates the task of `coroutine` by the loop's `create_task`.
    pub(crate) fn start_later<'py>(&self, coroutine: &Bound<'py, PyAny>) -> PyResult<Started<'py>> {
        let py = coroutine.py();
        let task = self.event_loop.bind(py).call_method1(intern!(py, "create_task"), (coroutine,))?;
        Ok(Started { task, context: None })
    }

    /// Creates the task of `coroutine` by the `create_task` of a loop without a task factory. In Python 3.11
    /// tasks accept a context but do not provide it, so it is kept.
    fn start_in_turn<'py>(&self, coroutine: &Bound<'py, PyAny>) -> PyResult<Started<'py>> {
        let py = coroutine.py();
        if py.version_info() < (3, 11) || py.version_info() >= (3, 12) {
            return self.start_later(coroutine);
        }
        let context = py.import("contextvars")?.call_method0(intern!(py, "copy_context"))?;
        let kwargs = PyDict::new(py);
        kwargs.set_item(intern!(py, "context"), &context)?;
        let create = self.event_loop.bind(py).getattr(intern!(py, "create_task"))?;
        Ok(Started { task: create.call((coroutine,), Some(&kwargs))?, context: Some(context.unbind()) })
    }

    /// Creates the task of `coroutine` and runs its first step. Must be called in a callback of the loop,
    /// outside of any task.
    pub(crate) fn start<'py>(&self, coroutine: &Bound<'py, PyAny>) -> PyResult<Started<'py>> {
        let py = coroutine.py();
        match &self.method {
            Method::Later => self.start_in_turn(coroutine),
            Method::Eager => {
                let task = self.task_type.bind(py).call((coroutine,), Some(self.kwargs.bind(py)))?;
                Ok(Started { task, context: None })
            }
            Method::Captured { capture, call_soon } => {
                let (event_loop, name) = (self.event_loop.bind(py), intern!(py, "call_soon"));
                event_loop.setattr(name, call_soon)?;
                let task = self.task_type.bind(py).call((coroutine,), Some(self.kwargs.bind(py)));
                event_loop.delattr(name)?;
                let caught = capture.get().take();
                self.run_first_step(task?, caught)
            }
        }
    }

    fn run_first_step<'py>(&self, task: Bound<'py, PyAny>, mut caught: Vec<Call>) -> PyResult<Started<'py>> {
        let py = task.py();
        let step = if caught.len() == 1 {
            caught.pop()
        } else {
            // A finalizer run by the garbage collector has called it too. Its calls are passed on to the
            // loop.
            let at = caught.iter().position(|call| call.is_step_of(&task));
            let step = at.map(|at| caught.remove(at));
            for call in caught {
                call.pass_on(self.event_loop.bind(py))?;
            }
            step
        };
        let Some(Call { callback, args, context: Some(context) }) = step else {
            return Ok(Started { task, context: None });
        };
        let run = context.bind(py).getattr(intern!(py, "run"))?;
        let ran = if args.bind(py).is_empty() {
            run.call1((callback,))
        } else {
            let mut all = vec![callback.into_bound(py)];
            all.extend(args.bind(py).iter());
            run.call1(PyTuple::new(py, all)?)
        };
        // A step raises SystemExit and KeyboardInterrupt although the task has stored them.
        match ran {
            Err(error) if !task.call_method0(intern!(py, "done"))?.is_truthy()? => Err(error),
            Ok(_) | Err(_) => Ok(Started { task, context: Some(context) }),
        }
    }
}

/// A replacement of `loop.call_soon` while a task is created.
#[derive(Debug, Default)]
#[pyclass(frozen, module = "hcrs._hcrs")]
pub(crate) struct Capture {
    calls: Mutex<Vec<Call>>,
}

#[derive(Debug)]
struct Call {
    callback: Py<PyAny>,
    args: Py<PyTuple>,
    context: Option<Py<PyAny>>,
}

impl Capture {
    fn take(&self) -> Vec<Call> {
        std::mem::take(&mut *lock(&self.calls))
    }
}

#[pymethods]
impl Capture {
    #[pyo3(signature = (callback, *args, context = None))]
    fn call_soon(&self, callback: Py<PyAny>, args: Py<PyTuple>, context: Option<Py<PyAny>>) {
        lock(&self.calls).push(Call { callback, args, context });
    }
}

impl Call {
    fn is_step_of(&self, task: &Bound<'_, PyAny>) -> bool {
        let callback = self.callback.bind(task.py());
        callback.getattr(intern!(task.py(), "__self__")).is_ok_and(|owner| owner.is(task))
    }

    fn pass_on(self, event_loop: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = event_loop.py();
        let mut all = vec![self.callback.into_bound(py)];
        all.extend(self.args.bind(py).iter());
        let kwargs = PyDict::new(py);
        kwargs.set_item("context", self.context)?;
        event_loop.getattr(intern!(py, "call_soon"))?.call(PyTuple::new(py, all)?, Some(&kwargs))?;
        Ok(())
    }
}
