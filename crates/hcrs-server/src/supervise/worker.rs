//! One worker process, from its start to its end.

mod command_line;
mod ends;
mod spawn;

use std::io::{self, PipeReader};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::process::ExitStatus;
use std::task::Poll;

use rustix::process::Rlimit;
use tokio::net::unix::pipe;
use tokio::process::Child;
use tokio::sync::oneshot;

use super::output::{Capture, Forwarding};
use super::template::ForkedWorker;
use crate::origin::app::WorkerId;
use crate::thread::control::LinkEnd;
use crate::{AppSettings, LogSettings, StatsdSettings};

pub(super) use command_line::{app_arguments, number_of, program};
pub(super) use ends::{Ends, WorkerEnds, crash_file, crash_of, link, random_up_to, set_pid};
pub(super) use spawn::{command, pid_of, spawn, write_into};

use command_line::{Inherited, arguments};

/// The parameters of a worker's start.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    /// The app.
    pub app: &'a AppSettings,
    /// The slot of the app that the worker fills, counted from 0.
    pub slot: usize,
    /// The number of the slot over all apps.
    pub seat: usize,
    /// The name with which its title begins.
    pub proc_name: &'a str,
    /// The interpreter.
    pub python: &'a Path,
    /// The settings of the worker's logs.
    pub log: &'a LogSettings,
    /// The target of the metrics that count its log messages.
    pub statsd: &'a StatsdSettings,
    /// The number of the app's workers, this one included.
    pub workers: usize,
    /// The number of edge threads, each of which gets a link.
    pub threads: usize,
    /// The limit of descriptors that the edge was started with, before it raised its own.
    pub descriptors: Option<Rlimit>,
    /// The worker's working directory, if it is not the edge's.
    pub folder: Option<&'a Path>,
    /// Whether it reads from the terminal that the edge is in the foreground of.
    pub has_terminal: bool,
    /// How its output is captured, if it is.
    pub capture: Option<&'a Capture>,
}

/// A started worker.
#[derive(Debug)]
pub(super) struct Started {
    /// The process id; that of the template for a worker that is still to be forked.
    pub pid: u32,
    /// The edge's end of each link, by thread; none if they follow once the worker is forked.
    pub links: Vec<LinkEnd>,
    /// The process.
    pub process: Process,
    /// The pipe on which it reports the files that it has loaded, if they are watched.
    pub loaded: Option<PipeReader>,
    /// The socket on which it is pinged, if it is.
    pub pulse: Option<OwnedFd>,
    /// The file that it writes its stack to if it crashes.
    pub crash: OwnedFd,
    /// The pipe of its output, if that is captured.
    pub output: Option<pipe::Receiver>,
}

/// The process of a worker.
#[derive(Debug)]
pub(super) enum Process {
    /// It was spawned.
    Spawned(Child),
    /// It is forked from a template.
    Forked(ForkedWorker),
}

/// Starts a worker. It is killed when the process is dropped.
pub(super) fn start(plan: &Plan<'_>, worker: WorkerId) -> io::Result<Started> {
    let Ends { mut links, loaded, pulse, crash, output, mut theirs } = Ends::create(plan, worker)?;
    let inherited = Inherited {
        loaded_files: theirs.loaded_files.as_ref().map(AsRawFd::as_raw_fd),
        answers: theirs.pulse.as_ref().map(AsRawFd::as_raw_fd),
        crash: Some(crash.as_raw_fd()),
    };
    let mut command = command(plan);
    command.args(arguments(plan, &theirs.links, inherited));
    if let Some(pipe) = theirs.output.take() {
        write_into(&mut command, pipe)?;
    }
    let child = spawn(plan, command, &theirs.descriptors(&crash))?;
    let pid = pid_of(&child)?;
    set_pid(&mut links, pid);
    Ok(Started { pid, links, process: Process::Spawned(child), loaded, pulse, crash, output })
}

/// Waits for the end of a worker, and kills it once `kill` is triggered. Its output is logged meanwhile.
pub(super) async fn wait(
    process: Process,
    output: Option<pipe::Receiver>,
    kill: oneshot::Receiver<()>,
) -> io::Result<ExitStatus> {
    match process {
        Process::Spawned(child) => {
            let forwarding = output.zip(child.id()).map(|(pipe, pid)| Forwarding::start(pipe, pid));
            let status = wait_for_child(child, kill).await;
            if let Some(forwarding) = forwarding {
                forwarding.finish().await;
            }
            status
        }
        Process::Forked(worker) => worker.wait(output, kill).await,
    }
}

async fn wait_for_child(mut child: Child, mut kill: oneshot::Receiver<()>) -> io::Result<ExitStatus> {
    let mut may_be_killed = true;
    std::future::poll_fn(|cx| {
        if may_be_killed && let Poll::Ready(order) = std::pin::Pin::new(&mut kill).poll(cx) {
            may_be_killed = false;
            if order.is_ok() {
                child.start_kill()?;
            }
        }
        // The wait is created anew at each poll, which leaves the child free for the kill above.
        std::pin::pin!(child.wait()).poll(cx)
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rustix::io::{FdFlags, fcntl_setfd};
    use tokio::process::Command;

    use super::*;
    use crate::AppName;

    pub(super) fn plan<'a>(
        app: &'a AppSettings,
        python: &'a Path,
        (log, statsd): &'a (LogSettings, StatsdSettings),
    ) -> Plan<'a> {
        Plan {
            app,
            slot: 2,
            seat: 2,
            proc_name: "shop",
            python,
            log,
            statsd,
            workers: 1,
            threads: 2,
            descriptors: None,
            folder: None,
            has_terminal: false,
            capture: None,
        }
    }

    #[test]
    fn a_worker_inherits_its_links_and_dies_on_request() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let app = AppSettings::new("app".to_owned());
            let failing = start(&plan(&app, Path::new("/bin/false"), &Default::default()), 1).unwrap();
            let (_keep, kill) = oneshot::channel();
            assert_eq!(wait(failing.process, None, kill).await.unwrap().code(), Some(1));

            let (end, socket, claims) = link(7, &AppName::default()).unwrap();
            assert_eq!(end.parts.worker, 7);
            fcntl_setfd(&socket, FdFlags::empty()).unwrap();
            let script = format!("test -S /dev/fd/{} && exec sleep 60", socket.as_raw_fd());
            let child = Command::new("sh").args(["-c", &script]).kill_on_drop(true).spawn().unwrap();
            drop((socket, claims));
            let (kill, killed) = oneshot::channel();
            let waiting = tokio::spawn(wait(Process::Spawned(child), None, killed));
            kill.send(()).unwrap();
            let status = waiting.await.unwrap().unwrap();
            assert_eq!(super::super::signals::describe(status), "was killed by SIGKILL");
        });
    }
}
