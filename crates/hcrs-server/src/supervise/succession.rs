//! The start of another server that takes the place of this one (SIGUSR2), as after an upgrade: it gets the
//! listeners, and once it accepts connections this server drains. If it cannot start, nothing changes.

use std::ffi::OsString;
use std::io::{self, PipeReader};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Pid, Resource, getpid, prlimit};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};

use super::event::Event;
use super::folder::Folder;
use super::{Supervisor, notify, signals};
use crate::bind::passed_sockets;
use crate::command_line::{CommandLine, command_line};
use crate::connection::quic::succession::pair;
use crate::thread::control::Control;
use crate::{Bind, handover};

/// How much longer than the startup timeout a successor may take: more than its own slacks together.
const SLACK: Duration = Duration::from_secs(60);

/// The command that this server was started with.
#[derive(Debug)]
pub(super) struct StartedAs {
    program: PathBuf,
    arguments: Vec<OsString>,
}

impl StartedAs {
    /// Returns the command of this process. Call it at the start: the program's file may be replaced later,
    /// which is then the one that is started.
    pub(super) fn of_this_process() -> io::Result<Self> {
        let CommandLine { command, arguments, .. } = command_line();
        // A name with a folder stays as it is, because it may lead through a link that is repointed.
        let program = if command.is_absolute() && command.is_file() {
            command.clone()
        } else {
            std::env::current_exe()?
        };
        Ok(Self { program, arguments: arguments.clone() })
    }
}

/// The process that is to succeed this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Successor {
    /// None was started.
    None,
    /// It is starting.
    Starting(u32),
    /// It accepts connections, and is the service from now on.
    Serving(u32),
}

/// The outcome of a succession.
#[derive(Debug)]
pub(super) enum Succession {
    /// The successor accepts connections.
    Serves,
    /// The successor has ended, with this status if it is known.
    Failed(Option<ExitStatus>),
}

impl Supervisor<'_> {
    /// Starts a successor, unless one is starting already.
    pub(super) fn begin_succession(&mut self) {
        if let Successor::Starting(pid) = self.successor {
            return tracing::warn!("SIGUSR2 is ignored: process {pid} is starting to succeed this server");
        }
        if self.settings.embedder.is_some() {
            return tracing::warn!("SIGUSR2 is ignored: the program that embeds the server is the service");
        }
        if getpid().is_init() {
            return tracing::warn!(
                "SIGUSR2 is ignored: this is the first process of a container, which would end with it; \
                 start another container instead"
            );
        }
        if let Some(file) = &mut self.pid_file {
            file.set_aside();
        }
        match self.start_successor() {
            Ok(pid) => {
                tracing::info!("Process {pid} is starting to succeed this server (SIGUSR2)");
                self.successor = Successor::Starting(pid);
            }
            Err(error) => {
                let program = self.started_as.as_ref().map_or(Path::new("hcrs"), |command| &command.program);
                tracing::error!("Cannot start {} to succeed this server: {error}", program.display());
                self.keep_serving();
            }
        }
    }

    fn start_successor(&mut self) -> io::Result<u32> {
        let Some(StartedAs { program, arguments }) = &self.started_as else {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the program's file is not known"));
        };
        let (ready, theirs) = io::pipe()?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env(
                handover::LISTENERS,
                handover::listed(self.listeners.iter().chain(&self.admin), self.quic.iter()),
            )
            .env(handover::READY, theirs.as_raw_fd().to_string())
            // That of a process before this one.
            .env_remove(handover::DATAGRAMS)
            // It names this process; without it, the interval is meant for the successor, too.
            .env_remove(notify::WATCHDOG_PID);
        if !self.settings.listeners.iter().any(|listener| matches!(listener.bind, Bind::Fd(_))) {
            // They are of a process before this one.
            command.env_remove(passed_sockets::COUNT);
        }
        if self.settings.chdir.is_some() {
            command.current_dir(&command_line().folder); // its settings are relative to it
        } else if let Some(folder) = self.folder.as_ref().and_then(Folder::path) {
            command.current_dir(folder);
        }
        let theirs = OwnedFd::from(theirs);
        let (from_successor, to_us) = pair()?;
        if !self.quic.is_empty() {
            command.env(handover::DATAGRAMS, to_us.as_raw_fd().to_string());
        }
        let passed: Vec<_> = self
            .listeners
            .iter()
            .chain(&self.admin)
            .map(|listener| listener.as_fd())
            .chain(self.quic.iter().flat_map(|bound| bound.sockets.iter().map(|socket| socket.as_fd())))
            .chain([theirs.as_fd(), to_us.as_fd()])
            .collect();
        // Inherited by the successor alone, because no other thread of the edge starts processes.
        let flagged = passed.iter().try_for_each(|descriptor| fcntl_setfd(descriptor, FdFlags::empty()));
        let spawned = flagged.map_err(Into::into).and_then(|()| command.spawn());
        for descriptor in passed {
            fcntl_setfd(descriptor, FdFlags::CLOEXEC)?;
        }
        let child = spawned?;
        self.from_successor = Some(from_successor).filter(|_| !self.quic.is_empty());
        let pid = child.id().ok_or_else(|| io::Error::other("it has no process id"))?;
        if let (Some(limit), Some(pid)) = (&self.descriptors, Pid::from_raw(pid.cast_signed())) {
            // It passes this limit on to its workers, and raises its own.
            let _unchanged = prlimit(Some(pid), Resource::Nofile, *limit);
        }
        let events = self.sender.clone();
        let startup = self.longest(|app| app.startup_timeout);
        tokio::spawn(async move {
            let outcome = outcome(ready, child, startup + SLACK).await;
            let _supervisor_gone = events.send(Event::Succession(outcome)).await;
        });
        Ok(pid)
    }

    /// Hands the service over to the successor, which accepts connections.
    pub(super) async fn hand_service_over(&mut self) {
        let Successor::Starting(pid) = self.successor else { return };
        tracing::info!("Shutting down: process {pid} has succeeded this server");
        self.notify(notify::State::Succeeded(pid));
        self.successor = Successor::Serving(pid);
        self.edge.end_admin();
        let mut way = self.from_successor.take();
        if way.is_some() {
            self.edge.send_all(|| Control::Succeed(way.take())).await;
        }
    }

    /// Goes on after a successor that could not start.
    pub(super) fn end_succession(&mut self, status: Option<ExitStatus>) {
        let Successor::Starting(pid) = self.successor else { return };
        self.successor = Successor::None;
        self.keep_serving();
        let end = status.map_or_else(|| "ended".to_owned(), signals::describe);
        tracing::error!("Process {pid} {end} before it could succeed this server, which continues to serve");
    }

    fn keep_serving(&mut self) {
        if let Some(file) = &mut self.pid_file
            && let Err(error) = file.restore()
        {
            tracing::error!("Cannot write the pid file again: {error}");
        }
    }
}

/// Waits until the successor serves or has ended. One that does neither within `limit` is killed: its own
/// timeouts are shorter.
async fn outcome(ready: PipeReader, mut child: Child, limit: Duration) -> Succession {
    let mut report = [0; 1];
    let serves = match pipe::Receiver::from_owned_fd(ready.into()) {
        Ok(mut ready) => {
            if let Ok(read) = tokio::time::timeout(limit, ready.read(&mut report)).await {
                read.is_ok_and(|length| length > 0)
            } else {
                let _ended_meanwhile = child.start_kill();
                false
            }
        }
        Err(_) => false,
    };
    if serves {
        // It outlives this process, which does not wait for its end.
        return Succession::Serves;
    }
    Succession::Failed(child.wait().await.ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_successor_that_neither_serves_nor_ends_is_killed() {
        let (ready, theirs) = io::pipe().unwrap();
        let child = Command::new("sleep").arg("60").kill_on_drop(true).spawn().unwrap();
        let outcome = outcome(ready, child, Duration::from_millis(50)).await;
        drop(theirs);
        let Succession::Failed(Some(status)) = outcome else { panic!("{outcome:?}") };
        assert_eq!(signals::describe(status), "was killed by SIGKILL");
    }
}
