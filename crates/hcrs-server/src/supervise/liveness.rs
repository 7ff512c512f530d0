//! Workers that hang are found, told of and killed: each ready worker is pinged over a socket of its own, and what its
//! layers answer is judged by [`Pulse`]. Before one is killed the error log gets the stacks of its threads and the
//! requests that it has under way.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use hcrs_link::{Answer, Asked, Layer, PULSE_MAX};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair};

use super::pulse::{Patience, Pulse, Verdict};
use super::{Event, Supervisor};
use crate::origin::app::WorkerId;
use crate::thread::control::Control;

/// How long a worker may take to tell its stacks. It tries by the GIL first, and has a second for that.
const STACKS_TIMEOUT: Duration = Duration::from_secs(3);

/// Messages of a worker that are read at one look: more than there are unless something is wrong with it.
const READ_MAX: usize = 64;

/// Room for any message but stacks, which are read where they were asked for.
const SHORT: usize = 16;

/// The workers that are watched.
#[derive(Debug)]
pub(super) struct Liveness {
    /// None if workers may hang as long as they like.
    patience: Option<Patience>,
    workers: BTreeMap<WorkerId, Watched>,
    /// When all were looked at last.
    looked: Option<Instant>,
}

#[derive(Debug)]
struct Watched {
    pulse: Pulse,
    socket: OwnedFd,
    /// It is about to be killed.
    is_condemned: bool,
}

impl Liveness {
    pub(super) fn new(timeout: Duration) -> Self {
        Self { patience: Patience::of(timeout), workers: BTreeMap::new(), looked: None }
    }

    /// A worker was started, which answers at the other end of the socket.
    pub(super) fn add(&mut self, id: WorkerId, socket: OwnedFd) {
        self.workers.insert(id, Watched { pulse: Pulse::default(), socket, is_condemned: false });
    }

    /// A worker has ended.
    pub(super) fn remove(&mut self, id: WorkerId) {
        self.workers.remove(&id);
    }

    /// When all are to be looked at.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        let patience = self.patience.filter(|_| !self.workers.is_empty())?;
        Some(self.looked.map_or(now, |looked| looked + patience.interval()))
    }
}

/// The two ends of a pulse: ours, which does not block, and the one that the worker inherits.
pub(super) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

impl Watched {
    /// Takes note of what has been answered.
    fn read(&mut self) {
        let mut message = [0; SHORT];
        for _ in 0..READ_MAX {
            let Some(Answer::Turns(layer, number)) = next(&self.socket, &mut message) else { return };
            self.pulse.answered(layer, number);
        }
    }

    fn ask(&self, asked: Asked) {
        // A worker that reads nothing has a full socket in the end, and its silence is what counts.
        let _full = send(&self.socket, &asked.to_bytes(), SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
    }
}

/// The next message that is there.
fn next(socket: impl AsFd, message: &mut [u8]) -> Option<Answer<'_>> {
    let (length, _) = recv(socket, &mut *message, RecvFlags::DONTWAIT).ok()?;
    Answer::parse(&message[..length])
}

impl Supervisor<'_> {
    /// Looks at the pulse of each worker that serves, if it is time to.
    pub(super) async fn check_pulses(&mut self) {
        let now = Instant::now();
        let Some(patience) = self.liveness.patience else { return };
        if self.liveness.due(now).is_none_or(|due| due > now) {
            return;
        }
        let passed = self.liveness.looked.replace(now).map_or(Duration::ZERO, |looked| now - looked);
        let mut hung = Vec::new();
        for (&id, watched) in &mut self.liveness.workers {
            let Some(worker) = self.roster.get(id) else { continue };
            // One that starts or ends has deadlines of its own.
            if worker.ready_at.is_none() || worker.is_retired() || worker.ended || watched.is_condemned {
                continue;
            }
            watched.read();
            match watched.pulse.look(passed, patience) {
                Verdict::Same => {}
                Verdict::Blocked(layer, silent) => {
                    tracing::warn!(
                        "Worker {} has not answered for {} s: {}",
                        worker.pid,
                        tenths(silent),
                        why(layer)
                    );
                }
                Verdict::Recovered(silent) => {
                    tracing::warn!("Worker {} answers again, after {} s", worker.pid, tenths(silent));
                }
                Verdict::Hung(layer, silent) => {
                    watched.is_condemned = true;
                    hung.push((id, worker.pid, layer, silent));
                }
            }
            let number = watched.pulse.ask();
            watched.ask(Asked::Ping(number));
        }
        for (id, pid, layer, silent) in hung {
            tracing::error!(
                "Worker {pid} has not answered for {} s: {}{}; killing and replacing it (worker_timeout)",
                tenths(silent),
                why(layer),
                if layer == Layer::Process { state_of(pid) } else { "" }
            );
            self.edge.send_all(|| Control::Describe(id)).await;
            self.ask_for_stacks(id, layer);
        }
    }

    /// Asks a worker where it stands; what it tells, or that it does not, is an event.
    fn ask_for_stacks(&mut self, id: WorkerId, layer: Layer) {
        let Some(watched) = self.liveness.workers.get(&id) else { return };
        let socket = (layer > Layer::Process).then(|| watched.socket.try_clone().ok()).flatten();
        watched.ask(Asked::Stacks);
        let events = self.sender.clone();
        tokio::spawn(async move {
            let stacks = match socket {
                Some(socket) => {
                    let told = tokio::time::timeout(STACKS_TIMEOUT, stacks(socket)).await;
                    told.ok().and_then(Result::ok)
                }
                None => None,
            };
            let _supervisor_gone = events.send(Event::Stacks(id, stacks)).await;
        });
    }

    /// A hung worker has told where it stands, or has not: that was all that was waited for.
    pub(super) fn kill_hung(&mut self, id: WorkerId, stacks: Option<&str>) {
        let Some(worker) = self.roster.get(id).filter(|worker| !worker.ended) else { return };
        if let Some(stacks) = stacks {
            tracing::error!(traceback = stacks, "Stacks of worker {}:", worker.pid);
        } else {
            tracing::error!("Worker {} did not report its stacks", worker.pid);
        }
        self.kill(id);
    }
}

async fn stacks(socket: OwnedFd) -> io::Result<String> {
    // What keeps messages apart is read as datagrams are.
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

/// What a silent layer means for those who look for the cause.
fn why(layer: Layer) -> &'static str {
    match layer {
        Layer::Process => "the process does not run",
        Layer::Interpreter => "something holds Python's GIL",
        Layer::Loop => "its event loop is blocked, or all its threads are busy with the same requests",
    }
}

/// What the system says of a process that does not run.
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
