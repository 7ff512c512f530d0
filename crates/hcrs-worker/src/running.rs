//! The requests whose tasks run: which there are, which wait for nothing, and whose clients have left.

use std::time::Duration;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::exchange::Exchange;

/// A task of the app that runs. It is dropped when the task has ended, because the scope may lead back to the exchange.
#[derive(Debug)]
pub struct Running {
    /// The task.
    pub task: Py<PyAny>,
    /// The scope that it was called with.
    pub scope: Py<PyDict>,
}

impl Running {
    /// Another reference to both.
    fn clone_ref(&self, py: Python<'_>) -> Self {
        Self { task: self.task.clone_ref(py), scope: self.scope.clone_ref(py) }
    }
}

/// The tasks that run, and the scope that each was called with.
pub(crate) fn tasks<'py>(py: Python<'py>, exchanges: &[Py<Exchange>]) -> PyResult<Bound<'py, PyDict>> {
    let tasks = PyDict::new(py);
    for exchange in exchanges {
        let running = exchange.get().lock().running.as_ref().map(|running| running.clone_ref(py));
        if let Some(Running { task, scope }) = running {
            tasks.set_item(task, scope)?;
        }
    }
    Ok(tasks)
}

/// The tasks of WebSockets that wait for a message after they were told of the end.
pub(crate) fn waiting_in_vain(py: Python<'_>, exchanges: &[Py<Exchange>]) -> Vec<Py<PyAny>> {
    let waiting = exchanges.iter().filter_map(|exchange| {
        let inner = exchange.get().lock();
        let is_told = inner.websocket.as_ref().is_some_and(|messages| messages.end_was_told());
        let waits = is_told && !inner.receivers.is_empty();
        inner.running.as_ref().filter(|_| waits).map(|running| running.task.clone_ref(py))
    });
    waiting.collect()
}

/// Requests whose clients have left a while ago and whose tasks run on.
#[derive(Debug, Default)]
#[pyclass(frozen, get_all, module = "hcrs._hcrs")]
pub(crate) struct LeftBehind {
    /// How many there are, also of those that have left just now.
    all: usize,
    /// How many have left as long ago as was asked for.
    old: usize,
    /// How many of those were not told of before.
    new: usize,
    /// For how many seconds the client that has left first has gone.
    seconds: f64,
    /// The path of its request; empty if there is none.
    path: String,
}

impl LeftBehind {
    /// Those of the exchanges; the clients of the old ones have left as long ago as `patience`, or longer.
    pub(crate) fn among(py: Python<'_>, exchanges: &[Py<Exchange>], patience: Duration) -> PyResult<Self> {
        let mut found = Self::default();
        let mut first: Option<(Duration, Running)> = None;
        for exchange in exchanges {
            let mut inner = exchange.get().lock();
            let (Some(left_at), Some(running)) = (inner.left_at, &inner.running) else { continue };
            let since = left_at.elapsed();
            found.all += 1;
            if since < patience {
                continue;
            }
            found.old += 1;
            if first.as_ref().is_none_or(|(longest, _)| since > *longest) {
                first = Some((since, running.clone_ref(py)));
            }
            found.new += usize::from(!std::mem::replace(&mut inner.is_left_told, true));
        }
        if let Some((since, Running { scope, .. })) = first {
            found.seconds = since.as_secs_f64();
            let path = scope.bind(py).get_item(intern!(py, "path"))?;
            found.path = path.and_then(|path| path.extract().ok()).unwrap_or_default();
        }
        Ok(found)
    }
}
