//! One worker process: its command line, the links that it inherits, and its end.

use std::ffi::OsString;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, absolute};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::task::Poll;

use hcrs_link::{BlockArea, ClaimTable, STACKS_MAX};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::{FdFlags, fcntl_setfd, pread};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};
use tokio::sync::oneshot;

use super::liveness;
use super::output::{self, Capture, Forwarding};
use super::template::ForkedWorker;
use crate::bind::passed_sockets;
use crate::handover;
use crate::origin::app::WorkerId;
use crate::origin::app::link::LinkParts;
use crate::origin::app::request_quota::RequestQuota;
use crate::thread::control::LinkEnd;
use crate::{AppName, AppSettings, LogSettings, LogTarget, PythonLogging, StatsdSettings, process_title};

/// The bytes that a link's socket holds in each direction, so that neither end waits for the other's turn on
/// the processor after every frame or two. The system may allow less.
const LINK_BUFFER: usize = 1 << 20;

/// The environment variable that passes `logconfig_dict` to a worker.
const LOGCONFIG_DICT: &str = "_HCRS_LOGCONFIG_DICT";

/// A worker's program. Python puts the working directory before everything else, so that a file `types.py` or
/// `queue.py` beside the app would be loaded in place of the standard library's; `-P`, from 3.11 on, prevents
/// that. SIGINT of a terminal is ignored until the worker has installed handlers of its own.
const PROGRAM: &str = "import _signal, sys; _signal.signal(_signal.SIGINT, _signal.SIG_IGN); \
                       sys.path[:] = filter(None, sys.path); from hcrs.worker import main; sys.exit(main())";

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

/// The two ends of what joins a worker with the edge.
#[derive(Debug)]
pub(super) struct Ends {
    /// The edge's end of each link, by thread. The process id is still missing.
    pub links: Vec<LinkEnd>,
    /// The pipe on which the worker reports the files that it has loaded, if they are watched.
    pub loaded: Option<PipeReader>,
    /// The socket on which it is pinged, if it is.
    pub pulse: Option<OwnedFd>,
    /// The file that it writes its stack to if it crashes, of which both have an end.
    pub crash: OwnedFd,
    /// The pipe of its output, if that is captured.
    pub output: Option<pipe::Receiver>,
    /// The worker's ends.
    pub theirs: WorkerEnds,
}

/// The descriptors of a worker.
#[derive(Debug)]
pub(super) struct WorkerEnds {
    /// The socket and the memory of each link.
    pub links: Vec<(OwnedFd, OwnedFd)>,
    /// The pipe for loaded files.
    pub loaded_files: Option<PipeWriter>,
    /// The socket of the pulse.
    pub pulse: Option<OwnedFd>,
    /// The pipe that takes the places of standard output and standard error.
    pub output: Option<OwnedFd>,
}

impl Ends {
    /// Creates what joins a worker with each thread of the edge, and with the supervisor.
    pub(super) fn create(plan: &Plan<'_>, worker: WorkerId) -> io::Result<Self> {
        let quota = plan.app.max_requests.map(|limit| {
            let limit = limit.get().saturating_add(random_up_to(plan.app.max_requests_jitter));
            Arc::new(RequestQuota::new(limit))
        });
        let mut links = Vec::with_capacity(plan.threads);
        let mut theirs = Vec::with_capacity(plan.threads);
        for _ in 0..plan.threads {
            let (mut end, socket, memory) = link(worker, &plan.app.name)?;
            end.parts.slot = plan.seat;
            end.parts.quota.clone_from(&quota);
            links.push(end);
            theirs.push((socket, memory));
        }
        let (loaded, loaded_files) =
            if plan.app.use_reloader { io::pipe().map(both_some)? } else { (None, None) };
        let (pulse, answers) =
            if plan.app.worker_timeout.is_zero() { (None, None) } else { liveness::pair().map(both_some)? };
        let crash = crash_file()?;
        let (output, written) =
            if plan.capture.is_some() { output::pipe().map(both_some)? } else { (None, None) };
        let theirs = WorkerEnds { links: theirs, loaded_files, pulse: answers, output: written };
        Ok(Self { links, loaded, pulse, crash, output, theirs })
    }
}

/// Sets the process id of a worker in its links.
pub(super) fn set_pid(links: &mut [LinkEnd], pid: u32) {
    for link in links {
        link.parts.pid = pid;
    }
}

/// Returns a file for the stack of a process that crashes.
pub(super) fn crash_file() -> io::Result<OwnedFd> {
    Ok(memfd_create("hcrs-crash", MemfdFlags::CLOEXEC)?)
}

/// The numbers of the descriptors that a worker inherits besides its links.
#[derive(Debug, Default, Clone, Copy)]
struct Inherited {
    loaded_files: Option<RawFd>,
    answers: Option<RawFd>,
    crash: Option<RawFd>,
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

impl WorkerEnds {
    /// Returns all descriptors of the worker: those of the links first, then the pipe, the pulse, the crash file
    /// and the pipe of the output, as far as there are any.
    pub(super) fn descriptors<'a>(&'a self, crash: &'a OwnedFd) -> Vec<BorrowedFd<'a>> {
        let links = self.links.iter().flat_map(|(socket, memory)| [socket.as_fd(), memory.as_fd()]);
        let others = [self.loaded_files.as_ref().map(AsFd::as_fd), self.pulse.as_ref().map(AsFd::as_fd)];
        let output = self.output.as_ref().map(AsFd::as_fd);
        links.chain(others.into_iter().flatten()).chain([crash.as_fd()]).chain(output).collect()
    }
}

/// Returns the command of a worker or a template, without its arguments.
pub(super) fn command(plan: &Plan<'_>) -> Command {
    let mut command = Command::new(plan.python);
    command
        .stdin(if plan.has_terminal { Stdio::inherit() } else { Stdio::null() })
        // Only the edge notifies the service manager and serves its sockets.
        .env_remove(super::notify::VARIABLE)
        .env_remove(super::notify::WATCHDOG)
        .env_remove(super::notify::WATCHDOG_PID)
        .env_remove(passed_sockets::COUNT)
        .env_remove(passed_sockets::PROCESS)
        .env_remove(passed_sockets::NAMES)
        .env_remove(super::python::CALLED_BY)
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
pub(super) fn write_into(command: &mut Command, pipe: OwnedFd) -> io::Result<()> {
    command.stdout(Stdio::from(pipe.try_clone()?)).stderr(Stdio::from(pipe));
    Ok(())
}

/// Starts a process that inherits these descriptors, and the log if its output is captured.
pub(super) fn spawn(
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
pub(super) fn pid_of(child: &Child) -> io::Result<u32> {
    child.id().ok_or_else(|| io::Error::other("the worker has no process id"))
}

fn both_some<A, B>((a, b): (A, B)) -> (Option<A>, Option<B>) {
    (Some(a), Some(b))
}

/// Returns a random number from 0 to `most`.
pub(super) fn random_up_to(most: u64) -> u64 {
    // The standard library seeds its hashers from the system's randomness.
    let random = RandomState::new().build_hasher().finish();
    most.checked_add(1).map_or(random, |numbers| random % numbers)
}

/// Returns one link to a worker of the app: the edge's end, and the socket and shared memory that the worker
/// inherits.
pub(super) fn link(worker: WorkerId, app: &AppName) -> io::Result<(LinkEnd, OwnedFd, OwnedFd)> {
    let (ours, theirs) = UnixStream::pair()?;
    for end in [&ours, &theirs] {
        socket2::SockRef::from(end).set_send_buffer_size(LINK_BUFFER)?;
    }
    ours.set_nonblocking(true)?;
    let (claims, memory) = ClaimTable::create()?;
    let blocks = BlockArea::open(&memory)?;
    let parts = LinkParts { worker, pid: 0, slot: 0, claims, blocks, quota: None };
    Ok((LinkEnd { app: app.clone(), parts, socket: ours }, theirs.into(), memory))
}

/// Returns the arguments of the command line.
fn arguments(plan: &Plan<'_>, links: &[(OwnedFd, OwnedFd)], inherited: Inherited) -> Vec<OsString> {
    let links: Vec<_> = links
        .iter()
        .map(|(socket, memory)| format!("{}:{}", socket.as_raw_fd(), memory.as_raw_fd()))
        .collect();
    let mut arguments = program(plan);
    let mut option = |name: &str, value: String| arguments.extend([name.into(), value.into()]);
    option("--links", links.join(","));
    option("--slot", number_of(plan.slot).to_string());
    let [title, comm] = process_title::of_worker(plan.proc_name, plan.slot, plan.app);
    option("--title", title);
    option("--comm", comm);
    let Inherited { loaded_files, answers, crash } = inherited;
    for (name, descriptor) in [("--loaded-files", loaded_files), ("--pulse", answers), ("--crash", crash)] {
        if let Some(descriptor) = descriptor {
            option(name, descriptor.to_string());
        }
    }
    arguments.extend(app_arguments(plan));
    arguments
}

/// Returns the number of a slot, as hooks get it: from 1 on.
pub(super) fn number_of(slot: usize) -> usize {
    slot + 1
}

/// Returns the first arguments: the program and the app.
pub(super) fn program(plan: &Plan<'_>) -> Vec<OsString> {
    ["-c", PROGRAM, &plan.app.path].map(Into::into).into()
}

/// Returns the arguments that are the same for all workers and for their template.
pub(super) fn app_arguments(plan: &Plan<'_>) -> Vec<OsString> {
    let app = plan.app;
    let mut arguments = Vec::new();
    let mut option = |name: &str, value: String| arguments.extend([name.into(), value.into()]);
    option("--workers", plan.workers.to_string());
    option("--worker-class", app.worker_class.as_str().to_owned());
    option("--root-path", app.root_path.clone());
    option("--lifespan", app.lifespan.as_str().to_owned());
    option("--startup-timeout", app.startup_timeout.as_secs_f64().to_string());
    option("--shutdown-timeout", app.shutdown_timeout.as_secs_f64().to_string());
    if let Some(threads) = app.wsgi_threads {
        option("--wsgi-threads", threads.to_string());
    }
    option("--wsgi-max-body-size", app.wsgi_max_body_size.to_string());
    option("--loglevel", plan.log.level.as_str().to_owned());
    let error_log = match &plan.log.error {
        // The edge's file, wherever the worker starts.
        Some(LogTarget::File(path)) => absolute(path).as_ref().unwrap_or(path).display().to_string(),
        other => other.as_ref().map(ToString::to_string).unwrap_or_default(),
    };
    option("--errorlog", error_log);
    if let Some(Capture { log }) = plan.capture {
        arguments.push("--captured".into());
        if let Some(log) = log {
            arguments.extend(["--stderr".into(), log.as_raw_fd().to_string().into()]);
        }
    }
    let mut option = |name: &str, value: String| arguments.extend([name.into(), value.into()]);
    if let Some(PythonLogging::File(path)) = &plan.log.python {
        option("--logconfig", path.display().to_string());
    }
    if !plan.statsd.host.is_empty() {
        option("--statsd-host", plan.statsd.host.clone());
        option("--statsd-prefix", plan.statsd.prefix.clone());
        option("--dogstatsd-tags", plan.statsd.tags.clone());
    }
    for (name, hook) in [
        ("--post-fork", &app.hooks.post_fork),
        ("--worker-start", &app.hooks.worker_start),
        ("--worker-exit", &app.hooks.worker_exit),
    ] {
        if let Some(function) = hook {
            option(name, function.clone());
        }
    }
    arguments
}

/// Returns the stack that a worker has written because it crashed.
pub(super) fn crash_of(file: &OwnedFd) -> Option<String> {
    let mut text = vec![0; STACKS_MAX];
    let length = pread(file, &mut text[..], 0).ok().filter(|&length| length > 0)?;
    Some(String::from_utf8_lossy(&text[..length]).into_owned())
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
    use std::num::NonZeroUsize;
    use std::time::Duration;

    use super::*;

    fn plan<'a>(
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
    fn the_command_line_has_all_that_a_worker_needs() {
        let mut app = AppSettings::new("shop.main:app".to_owned());
        app.startup_timeout = Duration::from_millis(2500);
        app.wsgi_threads = NonZeroUsize::new(4);
        app.hooks.worker_exit = Some("app:close".to_owned());
        let python = Some(PythonLogging::File("json:log.json".into()));
        let log = LogSettings { level: crate::LogLevel::Warning, python, ..LogSettings::default() };
        let statsd = StatsdSettings { host: "a:8125".into(), prefix: "shop".into(), tags: String::new() };
        let logs = (log, statsd);
        let links: Vec<_> = (0..2)
            .map(|_| link(1, &AppName::default()).unwrap())
            .map(|(_, socket, claims)| (socket, claims))
            .collect();
        let text = arguments(
            &plan(&app, Path::new("python3"), &logs),
            &links,
            Inherited { loaded_files: Some(9), answers: Some(11), crash: Some(12) },
        )
        .join(std::ffi::OsStr::new(" "));
        let numbers: Vec<_> =
            links.iter().map(|(s, c)| format!("{}:{}", s.as_raw_fd(), c.as_raw_fd())).collect();
        assert_eq!(
            text.into_string().unwrap(),
            format!(
                "-c {PROGRAM} shop.main:app --links {} --slot 3 --title shop: worker 3 (shop.main:app) --comm shop: worker 3 --loaded-files 9 --pulse 11 --crash 12 --workers 1 --worker-class asyncio --root-path  --lifespan auto \
                 --startup-timeout 2.5 --shutdown-timeout 60 --wsgi-threads 4 --wsgi-max-body-size 16777216 --loglevel warning \
                 --errorlog - --logconfig json:log.json --statsd-host a:8125 --statsd-prefix shop --dogstatsd-tags  \
                 --worker-exit app:close",
                numbers.join(",")
            )
        );
    }

    #[test]
    fn random_numbers_keep_to_their_bound_and_differ() {
        assert_eq!(random_up_to(0), 0);
        let drawn: std::collections::BTreeSet<_> = (0..200).map(|_| random_up_to(3)).collect();
        assert_eq!(drawn.into_iter().collect::<Vec<_>>(), [0, 1, 2, 3]);
        random_up_to(u64::MAX);
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
