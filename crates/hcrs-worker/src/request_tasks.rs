//! The running tasks of a link's requests, and those among them that wait in vain or whose clients have left.

use std::time::Duration;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::exchange::Exchange;

/// A running task of the app. It is dropped when the task has ended, because the scope may refer to the
/// exchange.
#[derive(Debug)]
pub(crate) struct RequestTask {
    /// The task.
    pub(crate) task: Py<PyAny>,
    /// The scope with which the app was called.
    pub(crate) scope: Py<PyDict>,
}

impl RequestTask {
    fn clone_ref(&self, py: Python<'_>) -> Self {
        Self { task: self.task.clone_ref(py), scope: self.scope.clone_ref(py) }
    }
}

/// Returns the running tasks, each with the scope that it was called with.
pub(crate) fn tasks<'py>(py: Python<'py>, exchanges: &[Py<Exchange>]) -> PyResult<Bound<'py, PyDict>> {
    let tasks = PyDict::new(py);
    for exchange in exchanges {
        let running = exchange.get().lock().task.as_ref().map(|running| running.clone_ref(py));
        if let Some(RequestTask { task, scope }) = running {
            tasks.set_item(task, scope)?;
        }
    }
    Ok(tasks)
}

/// Returns the tasks of WebSockets that wait for another message after they have received the disconnect.
pub(crate) fn waiting_in_vain(py: Python<'_>, exchanges: &[Py<Exchange>]) -> Vec<Py<PyAny>> {
    let waiting = exchanges.iter().filter_map(|exchange| {
        let inner = exchange.get().lock();
        let is_over = inner.websocket.as_ref().is_some_and(|messages| messages.has_delivered_end());
        let waits = is_over && !inner.receivers.is_empty();
        inner.task.as_ref().filter(|_| waits).map(|running| running.task.clone_ref(py))
    });
    waiting.collect()
}

/// Counts of the running tasks whose clients have left.
#[derive(Debug, Default)]
#[pyclass(frozen, get_all, module = "hcrs._hcrs")]
pub(crate) struct AbandonedTasks {
    /// Number of all such tasks, however short a time ago their clients have left.
    all: usize,
    /// Number of those whose clients left at least the requested time ago.
    old: usize,
    /// Number of the old ones that were not counted as old before.
    new: usize,
    /// Seconds since the first of these clients left.
    seconds: f64,
    /// The path of the request of the client that left first; empty if there is none.
    path: String,
}

impl AbandonedTasks {
    /// Counts the tasks of `exchanges`. A task is old if its client left at least `patience` ago.
    pub(crate) fn among(py: Python<'_>, exchanges: &[Py<Exchange>], patience: Duration) -> PyResult<Self> {
        let mut found = Self::default();
        let mut first: Option<(Duration, RequestTask)> = None;
        for exchange in exchanges {
            let mut inner = exchange.get().lock();
            let (Some(left_at), Some(running)) = (inner.left_at, &inner.task) else { continue };
            let since = left_at.elapsed();
            found.all += 1;
            if since < patience {
                continue;
            }
            found.old += 1;
            if first.as_ref().is_none_or(|(longest, _)| since > *longest) {
                first = Some((since, running.clone_ref(py)));
            }
            found.new += usize::from(!std::mem::replace(&mut inner.is_counted_as_abandoned, true));
        }
        if let Some((since, RequestTask { scope, .. })) = first {
            found.seconds = since.as_secs_f64();
            let path = scope.bind(py).get_item(intern!(py, "path"))?;
            found.path = path.and_then(|path| path.extract().ok()).unwrap_or_default();
        }
        Ok(found)
    }
}
