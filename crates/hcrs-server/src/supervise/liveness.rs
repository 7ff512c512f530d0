//! Finds workers that hang, reports and kills them. Each ready worker is pinged over a socket of its own, and
//! [`Pulse`] judges the answers of its layers. Before one is killed, the error log gets the stacks of its
//! threads and its requests in flight.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use hcrs_link::{Answer, Asked, Layer, PULSE_MAX};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair};

use super::Supervisor;
use super::event::Event;
use super::pool::Pool;
use super::pulse::{Patience, Pulse, Verdict};
use crate::origin::app::WorkerId;
use crate::thread::control::Control;

/// How long a worker may take to report its stacks. It tries with the GIL first, for up to a second.
const STACKS_TIMEOUT: Duration = Duration::from_secs(3);

/// The most messages of a worker that are read in one check: more than there are, unless something is wrong
/// with the worker.
const READ_MAX: usize = 64;

/// The room for any message but stacks, which are read where they were requested.
const SHORT: usize = 16;

/// The workers of an app that are watched.
#[derive(Debug)]
pub(super) struct Liveness {
    /// The patience with workers; `None` if they may hang indefinitely.
    patience: Option<Patience>,
    workers: BTreeMap<WorkerId, Watched>,
    /// When all workers were last checked.
    looked: Option<Instant>,
}

/// Whether a worker reports its stacks, during which its pulse is not looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reporting {
    No,
    /// For the operator; it goes on afterwards.
    ForDump,
    /// Before it is killed.
    LastWords,
}

#[derive(Debug)]
struct Watched {
    pulse: Pulse,
    socket: OwnedFd,
    reporting: Reporting,
}

impl Liveness {
    pub(super) fn new(timeout: Duration) -> Self {
        Self { patience: Patience::of(timeout), workers: BTreeMap::new(), looked: None }
    }

    /// Sets the patience with all workers.
    pub(super) fn set_timeout(&mut self, timeout: Duration) {
        self.patience = Patience::of(timeout);
    }

    /// Adds a worker that was started and answers at the other end of the socket.
    pub(super) fn add(&mut self, id: WorkerId, socket: OwnedFd) {
        self.workers.insert(id, Watched { pulse: Pulse::default(), socket, reporting: Reporting::No });
    }

    /// Removes a worker that has ended.
    pub(super) fn remove(&mut self, id: WorkerId) {
        self.workers.remove(&id);
    }

    /// Returns when all workers are to be checked.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        let patience = self.patience.filter(|_| !self.workers.is_empty())?;
        Some(self.looked.map_or(now, |looked| looked + patience.interval()))
    }
}

/// Returns the two ends of a pulse: the supervisor's, which does not block, and the one that the worker
/// inherits.
pub(super) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

impl Watched {
    /// Notes the answers that have arrived.
    fn read(&mut self) {
        let mut message = [0; SHORT];
        for _ in 0..READ_MAX {
            let Some(Answer::Turns(layer, number)) = next(&self.socket, &mut message) else { return };
            self.pulse.answered(layer, number);
        }
    }

    fn ask(&self, asked: Asked) {
        // A worker that reads nothing has a full socket after a while; then its silence counts.
        let _full = send(&self.socket, &asked.to_bytes(), SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
    }
}

/// Returns the next message that has arrived.
fn next(socket: impl AsFd, message: &mut [u8]) -> Option<Answer<'_>> {
    let (length, _) = recv(socket, &mut *message, RecvFlags::DONTWAIT).ok()?;
    Answer::parse(&message[..length])
}

impl Supervisor<'_> {
    /// Checks the pulse of each worker that serves, if that is due.
    pub(super) async fn check_pulses(&mut self) {
        for at in 0..self.pools.len() {
            self.check_pulses_in(at).await;
        }
    }

    async fn check_pulses_in(&mut self, at: usize) {
        let now = Instant::now();
        let Pool { liveness, workers, .. } = &mut self.pools[at];
        let Some(patience) = liveness.patience else { return };
        if liveness.due(now).is_none_or(|due| due > now) {
            return;
        }
        let passed = liveness.looked.replace(now).map_or(Duration::ZERO, |looked| now - looked);
        let mut hung = Vec::new();
        for (&id, watched) in &mut liveness.workers {
            let Some(worker) = workers.get(id) else { continue };
            // A worker that starts or ends has deadlines of its own.
            if worker.ready_at.is_none()
                || worker.is_retired()
                || worker.ended
                || watched.reporting != Reporting::No
            {
                continue;
            }
            watched.read();
            match watched.pulse.look(passed, patience) {
                Verdict::Same => {}
                Verdict::Blocked(layer, silent) => {
                    tracing::warn!("{worker} has not answered for {} s: {}", tenths(silent), why(layer));
                }
                Verdict::Recovered(silent) => {
                    tracing::warn!("{worker} answers again, after {} s", tenths(silent));
                }
                Verdict::Hung(layer, silent) => {
                    watched.reporting = Reporting::LastWords;
                    hung.push((id, worker.pid, worker.to_string(), layer, silent));
                }
            }
            let number = watched.pulse.ask();
            watched.ask(Asked::Ping(number));
        }
        for (id, pid, worker, layer, silent) in hung {
            tracing::error!(
                "{worker} has not answered for {} s: {}{}; killing and replacing it (worker_timeout)",
                tenths(silent),
                why(layer),
                if layer == Layer::Process { state_of(pid) } else { "" }
            );
            self.edge.send_all(|| Control::Describe(id)).await;
            self.ask_for_stacks(id, layer);
        }
    }

    /// Asks a worker for the stacks of its threads. Its report, or the lack of one, becomes an event.
    fn ask_for_stacks(&mut self, id: WorkerId, layer: Layer) {
        let watched = self.pools.iter().find_map(|pool| pool.liveness.workers.get(&id));
        let Some(watched) = watched else { return };
        let socket = (layer > Layer::Process).then(|| watched.socket.try_clone().ok()).flatten();
        watched.ask(Asked::Stacks);
        let events = self.sender.clone();
        tokio::spawn(async move {
            let stacks = match socket {
                Some(socket) => {
                    let report = tokio::time::timeout(STACKS_TIMEOUT, stacks(socket)).await;
                    report.ok().and_then(Result::ok)
                }
                None => None,
            };
            let _supervisor_gone = events.send(Event::Stacks(id, stacks)).await;
        });
    }

    fn watched(&mut self, id: WorkerId) -> Option<&mut Watched> {
        self.pools.iter_mut().find_map(|pool| pool.liveness.workers.get_mut(&id))
    }

    /// Asks a worker for its stacks, after which it goes on. Returns false if it cannot be asked now.
    pub(super) fn ask_for_dump(&mut self, id: WorkerId) -> bool {
        let is_ready = self.worker(id).is_some_and(|worker| worker.ready_at.is_some() && !worker.ended);
        let watched = self.watched(id);
        let Some(watched) = watched.filter(|watched| is_ready && watched.reporting == Reporting::No) else {
            return false;
        };
        watched.read();
        watched.reporting = Reporting::ForDump;
        self.ask_for_stacks(id, Layer::Interpreter);
        true
    }

    /// Looks at the pulse of a worker again, which has reported its stacks for a dump.
    pub(super) fn resume_pulse(&mut self, id: WorkerId) {
        if let Some(watched) = self.watched(id)
            && watched.reporting == Reporting::ForDump
        {
            watched.reporting = Reporting::No;
            // Answers may have been lost among the stacks.
            watched.pulse = Pulse::default();
        }
    }

    /// Logs the stacks of a hung worker, if it has reported them, and kills it.
    pub(super) fn kill_hung(&mut self, id: WorkerId, stacks: Option<&str>) {
        let Some(worker) = self.worker(id).filter(|worker| !worker.ended) else { return };
        if let Some(stacks) = stacks {
            let (pid, app) = (worker.pid, worker.app.suffix());
            tracing::error!(traceback = stacks, "Stacks of worker {pid}{app}:");
        } else {
            tracing::error!("{worker} did not report its stacks");
        }
        if let Some(pool) = self.pool_with(id) {
            pool.workers.hung(id);
        }
        self.kill(id);
    }
}

async fn stacks(socket: OwnedFd) -> io::Result<String> {
    // A socket that preserves message boundaries is read like one of datagrams.
    let socket = UnixDatagram::from(socket);
    socket.set_nonblocking(true)?;
    let socket = tokio::net::UnixDatagram::from_std(socket)?;
    let mut message = vec![0; PULSE_MAX];
    loop {
        let length = socket.recv(&mut message).await?;
        match Answer::parse(&message[..length]) {
            Some(Answer::Stacks(text)) if !text.is_empty() => {
                return Ok(String::from_utf8_lossy(text).into_owned());
            }
            Some(Answer::Turns(..)) => {}
            Some(Answer::Stacks(_)) | None => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// Describes the likely cause of a silent layer.
fn why(layer: Layer) -> &'static str {
    match layer {
        Layer::Process => "the process does not run",
        Layer::Interpreter => "something holds Python's GIL",
        Layer::Loop => "its event loop is blocked, or all its threads are busy with the same requests",
    }
}

/// Describes the state of a process that does not run, as the system reports it.
fn state_of(pid: u32) -> &'static str {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    match stat.rsplit_once(") ").and_then(|(_, fields)| fields.chars().next()) {
        Some('T') => " (it was stopped by a signal)",
        Some('t') => " (a debugger holds it)",
        Some('D') => " (it waits for a device or a file system)",
        _ => "",
    }
}

fn tenths(time: Duration) -> f64 {
    (time.as_secs_f64() * 10.0).round() / 10.0
}
