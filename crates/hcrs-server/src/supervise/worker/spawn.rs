//! The process of a worker or a template: its environment, and the descriptors that it inherits.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::Stdio;

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Pid, Resource, prlimit};
use tokio::process::{Child, Command};

use super::Plan;
use crate::bind::passed_sockets;
use crate::supervise::{notify, python};
use crate::{PythonLogging, handover};

/// The environment variable that passes `logconfig_dict` to a worker.
const LOGCONFIG_DICT: &str = "_HCRS_LOGCONFIG_DICT";

/// Returns the command of a worker or a template, without its arguments.
pub(in crate::supervise) fn command(plan: &Plan<'_>) -> Command {
    let mut command = Command::new(plan.python);
    command
        .stdin(if plan.has_terminal { Stdio::inherit() } else { Stdio::null() })
        // Only the edge notifies the service manager and serves its sockets.
        .env_remove(notify::VARIABLE)
        .env_remove(notify::WATCHDOG)
        .env_remove(notify::WATCHDOG_PID)
        .env_remove(passed_sockets::COUNT)
        .env_remove(passed_sockets::PROCESS)
        .env_remove(passed_sockets::NAMES)
        .env_remove(python::CALLED_BY)
        .env_remove(handover::LISTENERS)
        .env_remove(handover::READY)
        .env_remove(handover::DATAGRAMS)
        .kill_on_drop(true);
    if let Some(folder) = plan.folder {
        command.current_dir(folder);
    }
    if !plan.has_terminal {
        // The terminal's SIGINT is for the edge, which then lets its workers finish.
        command.process_group(0);
    }
    for name in &plan.app.withheld_variables {
        command.env_remove(name);
    }
    command.envs(plan.app.variables.iter().map(|(name, value)| (name, value)));
    if let Some(PythonLogging::Dict(json)) = &plan.log.python {
        // In the environment, because it may hold passwords and command lines are public.
        command.env(LOGCONFIG_DICT, json);
    }
    if plan.app.debug {
        command.env("PYTHONASYNCIODEBUG", "1");
    }
    command
}

/// Makes the pipe the standard output and the standard error of the command.
pub(in crate::supervise) fn write_into(command: &mut Command, pipe: OwnedFd) -> io::Result<()> {
    command.stdout(Stdio::from(pipe.try_clone()?)).stderr(Stdio::from(pipe));
    Ok(())
}

/// Starts a process that inherits these descriptors, and the log if its output is captured.
pub(in crate::supervise) fn spawn(
    plan: &Plan<'_>,
    mut command: Command,
    inherited: &[BorrowedFd<'_>],
) -> io::Result<Child> {
    // Inherited by the child alone, because no other thread of the edge starts processes. The edge closes
    // most of them afterwards.
    let log = plan.capture.and_then(|capture| capture.log.as_ref()).map(AsFd::as_fd);
    let inherited = || inherited.iter().copied().chain(log);
    for descriptor in inherited() {
        fcntl_setfd(descriptor, FdFlags::empty())?;
    }
    let child = command.spawn();
    for descriptor in inherited() {
        fcntl_setfd(descriptor, FdFlags::CLOEXEC)?;
    }
    let child = child?;
    if let (Some(limit), Some(pid)) = (&plan.descriptors, Pid::from_raw(pid_of(&child)?.cast_signed())) {
        // Python programs that use select() break above 1024. If this fails, they get the edge's limit.
        let _unchanged = prlimit(Some(pid), Resource::Nofile, *limit);
    }
    Ok(child)
}

/// Returns the process id of a child that was not waited for.
pub(in crate::supervise) fn pid_of(child: &Child) -> io::Result<u32> {
    child.id().ok_or_else(|| io::Error::other("the worker has no process id"))
}
