//! Starts the task of a request so that its first step runs at once.
//!
//! From Python 3.12 on asyncio does so itself (`eager_start`). Before that a task hands its first step to
//! `loop.call_soon`; while the task is made, that name leads here, and the step is then run in the task's own
//! context. It stays a true first step of a true task: `current_task`, sniffio and anyio see what they expect.

use std::sync::Mutex;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::lock;

/// The name of request tasks, as debuggers and `asyncio.all_tasks` show it.
const TASK_NAME: &str = "hcrs.request";

/// Makes tasks on one loop.
#[derive(Debug)]
pub(crate) struct TaskStarter {
    event_loop: Py<PyAny>,
    task_type: Py<PyAny>,
    kwargs: Py<PyDict>,
    how: How,
}

#[derive(Debug)]
enum How {
    /// `asyncio.Task(..., eager_start=True)`
    Eager,
    /// The first step is caught in `capture` and run at once.
    Captured { capture: Py<Capture>, call_soon: Py<PyAny> },
    /// The loop starts the task when it comes to it.
    Later,
}

/// The task of a request.
#[derive(Debug)]
pub(crate) struct Started<'py> {
    pub(crate) task: Bound<'py, PyAny>,
    /// Its context, where the task itself does not tell.
    pub(crate) context: Option<Py<PyAny>>,
}

/// The context in which a task's steps run, if it is known: from Python 3.12 on tasks tell, before that it has to be kept
/// from its start.
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
    /// Finds out what this Python and this loop allow.
    pub(crate) fn new(py: Python<'_>, event_loop: &Bound<'_, PyAny>) -> PyResult<Self> {
        let task_type = py.import("asyncio")?.getattr("Task")?;
        let kwargs = PyDict::new(py);
        kwargs.set_item("loop", event_loop)?;
        kwargs.set_item("name", TASK_NAME)?;
        let how = if py.version_info() >= (3, 12) {
            kwargs.set_item("eager_start", true)?;
            How::Eager
        } else {
            let capture = Py::new(py, Capture::default())?;
            let call_soon = capture.bind(py).getattr("call_soon")?;
            let name = intern!(py, "call_soon");
            if event_loop.setattr(name, &call_soon).is_ok() {
                event_loop.delattr(name)?;
                How::Captured { capture, call_soon: call_soon.unbind() }
            } else {
                How::Later
            }
        };
        Ok(Self {
            event_loop: event_loop.clone().unbind(),
            task_type: task_type.unbind(),
            kwargs: kwargs.unbind(),
            how,
        })
    }

    /// Whether the app has asked for tasks of its own making (`loop.set_task_factory`).
    pub(crate) fn has_factory(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(!self.event_loop.bind(py).call_method0(intern!(py, "get_task_factory"))?.is_none())
    }

    /// Makes the task of `coroutine` by the loop's own means.
    pub(crate) fn start_later<'py>(&self, coroutine: &Bound<'py, PyAny>) -> PyResult<Started<'py>> {
        let py = coroutine.py();
        let task = self.event_loop.bind(py).call_method1(intern!(py, "create_task"), (coroutine,))?;
        Ok(Started { task, context: None })
    }

    /// As [`start_later`](Self::start_later), for a loop without a factory of tasks. Python 3.11 takes the context and
    /// does not tell it.
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

    /// Makes the task of `coroutine` and runs its first step, which nothing but a loop's callback may do.
    pub(crate) fn start<'py>(&self, coroutine: &Bound<'py, PyAny>) -> PyResult<Started<'py>> {
        let py = coroutine.py();
        match &self.how {
            How::Later => self.start_in_turn(coroutine),
            How::Eager => {
                let task = self.task_type.bind(py).call((coroutine,), Some(self.kwargs.bind(py)))?;
                Ok(Started { task, context: None })
            }
            How::Captured { capture, call_soon } => {
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
            // A finalizer of the garbage collector has called it too: its calls go where they belong.
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
        // SystemExit and KeyboardInterrupt leave a step although the task has kept them.
        match ran {
            Err(error) if !task.call_method0(intern!(py, "done"))?.is_truthy()? => Err(error),
            Ok(_) | Err(_) => Ok(Started { task, context: Some(context) }),
        }
    }
}

/// Stands in for `loop.call_soon` while a task is made.
#[derive(Debug, Default)]
#[pyclass(frozen, module = "hcrs._hcrs")]
pub struct Capture {
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
