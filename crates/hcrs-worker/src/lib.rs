#![doc = include_str!("../README.md")]
// For ASGI one thread uses Python, and the GIL serializes everything; the locks are never contended.

mod asgi;
mod awaitable;
mod cache;
mod exchange;
mod file;
mod fork;
mod link;
mod message;
mod process;
mod pulse;
mod request_tasks;
mod scope;
mod slice;
mod socket;
mod target;
mod task;
mod template;
mod tls;
mod trailers;
mod waiter;
mod websocket;
mod wsgi;

use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;

pyo3::create_exception!(
    hcrs,
    UnexpectedMessageError,
    pyo3::exceptions::PyException,
    "The app has sent a message that is unknown, or not allowed in this state of its response."
);

pyo3::create_exception!(
    hcrs,
    BodyTooLargeError,
    pyo3::exceptions::PyException,
    "A request's body is longer than `wsgi_max_body_size`; the client gets status 413."
);

pyo3::create_exception!(
    hcrs,
    ClientGoneError,
    pyo3::exceptions::PyConnectionResetError,
    "The client has disconnected, so that nothing can be received from it or sent to it."
);

/// Locks `mutex`, even after a panic of another holder: the guarded data is consistent between any two
/// changes.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The extension module.
#[pymodule(gil_used = true)]
mod _hcrs {
    #[pymodule_export]
    use super::BodyTooLargeError;
    #[pymodule_export]
    use super::ClientGoneError;
    #[pymodule_export]
    use super::UnexpectedMessageError;
    #[pymodule_export]
    use super::asgi::AsgiLink;
    #[pymodule_export]
    use super::fork::{leave_links, release, withhold};
    #[pymodule_export]
    use super::link::Link;
    #[pymodule_export]
    use super::process::die_with_parent;
    #[pymodule_export]
    use super::pulse::Pulse;
    #[pymodule_export]
    use super::request_tasks::AbandonedTasks;
    #[pymodule_export]
    use super::template::fork_worker;
    #[pymodule_export]
    use super::wsgi::WsgiServer;

    #[pymodule_init]
    fn init(module: &pyo3::Bound<'_, pyo3::types::PyModule>) -> pyo3::PyResult<()> {
        super::fork::watch(module)
    }
}
