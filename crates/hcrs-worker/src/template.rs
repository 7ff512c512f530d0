//! The fork of a worker from the template process, which has loaded the app (`preload`).
//!
//! The process is forked twice, and the one in between exits at once, so that the worker becomes a child of
//! the edge, which has made itself the subreaper of the processes below it. So the edge learns how a forked
//! worker ends as it does of a spawned one, and a worker outlives the template. Python runs nothing in the
//! process in between: a function that the app has registered with `os.register_at_fork` is called in the
//! worker only.

use std::io::{self, PipeReader, PipeWriter, Read as _, Write as _};

use pyo3::ffi::{PyOS_AfterFork_Child, PyOS_AfterFork_Parent, PyOS_BeforeFork};
use pyo3::prelude::*;
use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, waitpid};

/// Bytes of the report of the process in between: the worker's process id, or the negative error number of
/// the fork.
const REPORT: usize = size_of::<i32>();

/// Forks a worker, which becomes a child of this process' parent. Returns its process id, and 0 in the worker.
///
/// Must be called in the main thread. The worker runs on only if this process has lived to see it become the
/// parent's child.
#[pyfunction]
pub(crate) fn fork_worker(_py: Python<'_>) -> PyResult<i32> {
    let report = io::pipe()?;
    let go = io::pipe()?;
    #[expect(unsafe_code, reason = "the OS and Python begin here")]
    // SAFETY: the interpreter is attached, as PyOS_BeforeFork requires, and stays so until one of the two
    // functions for after the fork was called, in this process and in the worker. Between the fork and the
    // second one no process but this one runs Python, allocates or takes a lock.
    unsafe {
        PyOS_BeforeFork();
        match libc::fork() {
            0 => {
                match libc::fork() {
                    0 => {}
                    worker => leave(&report.1, worker),
                }
                if !is_told_to_go(report, go) {
                    libc::_exit(1);
                }
                PyOS_AfterFork_Child();
                Ok(0)
            }
            child => {
                let errno = Errno::from_io_error(&io::Error::last_os_error());
                PyOS_AfterFork_Parent();
                match Pid::from_raw(child).filter(|_| child > 0) {
                    Some(between) => Ok(pass_on(between, report, go)?),
                    None => Err(io::Error::from(errno.unwrap_or(Errno::AGAIN)).into()),
                }
            }
        }
    }
}

/// Reports the result of the second fork, and ends the process in between. Nothing here allocates.
fn leave(report: &PipeWriter, worker: i32) -> ! {
    let errno = || -io::Error::last_os_error().raw_os_error().unwrap_or(libc::EAGAIN);
    let result = if worker > 0 { worker } else { errno() };
    let _template_gone = rustix::io::write(report, &result.to_ne_bytes());
    #[expect(unsafe_code, reason = "the end of a process that must run nothing of Python's")]
    // SAFETY: _exit runs no destructors or handlers, of which there are copies in this process.
    unsafe {
        libc::_exit(0)
    }
}

/// Waits, in the worker, until the template has seen it become the edge's child. False if the template is
/// gone.
fn is_told_to_go(report: (PipeReader, PipeWriter), go: (PipeReader, PipeWriter)) -> bool {
    drop(report);
    let (mut go, template) = go;
    drop(template); // or the pipe would not end with the template
    go.read_exact(&mut [0]).is_ok()
}

/// Waits, in the template, for the end of the process in between. Returns the worker's process id.
fn pass_on(
    between: Pid,
    (mut report, worker): (PipeReader, PipeWriter),
    (_, mut go): (PipeReader, PipeWriter),
) -> io::Result<i32> {
    drop(worker);
    let mut result = [0; REPORT];
    let read = report.read_exact(&mut result);
    // At its end the system gives its child a new parent. An app that ignores SIGCHLD, or waits for all
    // children, may have taken its status away.
    while is_interrupted_waiting_for(between) {}
    read?;
    match i32::from_ne_bytes(result) {
        worker if worker > 0 => {
            go.write_all(&[1])?;
            Ok(worker)
        }
        errno => Err(io::Error::from_raw_os_error(-errno)),
    }
}

/// Waits for a child. True if the wait was interrupted.
fn is_interrupted_waiting_for(child: Pid) -> bool {
    matches!(waitpid(Some(child), WaitOptions::empty()), Err(Errno::INTR))
}
