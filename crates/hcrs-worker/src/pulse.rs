//! A worker's answers to the edge's liveness pings.
//!
//! Each ping has three answers, each of which shows more than the one before: a thread without Python answers
//! that the process runs, a thread of Python that the GIL is passed on, and the event loop or the pool that
//! the app makes progress.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use hcrs_link::{Answer, Asked, Layer, STACKS_MAX};
use pyo3::prelude::*;
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use rustix::process::Signal;

use crate::link::take_descriptor;
use crate::{fork, lock};

/// The signal at which `faulthandler` writes the stacks without the GIL. It has no other use: Linux never
/// sends it.
const DUMP: Signal = Signal::STKFLT;

/// Time that Python may take to report its stacks, before `faulthandler` dumps them.
const BY_PYTHON: Duration = Duration::from_secs(1);

/// Bytes of the buffer for a message of the edge.
const QUESTION: usize = 16;

/// Number of requests that were begun, plus the number that have ended.
static STEPS: AtomicU64 = AtomicU64::new(0);

/// Records the app's progress: a request was begun, or has ended.
///
/// Many requests that each block for a while may run in one turn of the loop. Such a worker is busy and not
/// hung.
pub(crate) fn note_step() {
    STEPS.fetch_add(1, Ordering::Relaxed);
}

/// The worker's end of a pulse.
#[derive(Debug)]
#[pyclass(frozen, module = "hcrs._hcrs")]
pub(crate) struct Pulse {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    socket: OwnedFd,
    /// The file to which `faulthandler` writes.
    dump: OwnedFd,
    asked: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Number of the last ping.
    ping: u32,
    /// Number of the last ping that the thread of Python has taken.
    taken: u32,
    stacks: Stacks,
    /// Whether `faulthandler` handles the signal.
    can_dump: bool,
    /// Whether the interpreter is shutting down, so that Python is not woken any more.
    closed: bool,
}

/// The progress of a request of the edge for the stacks.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Stacks {
    #[default]
    NotAsked,
    Asked,
    /// The thread of Python is collecting them.
    Taken,
    Sent,
}

#[pymethods]
impl Pulse {
    /// Creates a pulse from the inherited descriptor.
    #[new]
    fn new(descriptor: RawFd) -> PyResult<Self> {
        let socket = take_descriptor(descriptor)?;
        fork::withhold(socket.as_raw_fd());
        let dump = memfd_create("hcrs-stacks", MemfdFlags::CLOEXEC).map_err(io::Error::from)?;
        fork::withhold(dump.as_raw_fd());
        let shared = Shared { socket, dump, asked: Mutex::default(), changed: Condvar::new() };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Returns the descriptor and the signal for `faulthandler`.
    fn dump(&self) -> (RawFd, i32) {
        (self.shared.dump.as_raw_fd(), DUMP.as_raw())
    }

    /// Starts answering. `can_dump` is whether `faulthandler` uses the descriptor and signal of
    /// [`Pulse::dump`].
    fn start(&self, can_dump: bool) -> PyResult<()> {
        lock(&self.shared.asked).can_dump = can_dump;
        let shared = Arc::clone(&self.shared);
        std::thread::Builder::new().name("hcrs-pulse".into()).spawn(move || shared.run())?;
        Ok(())
    }

    /// Waits for the next message of the edge. Returns True for stacks, False for a ping, and None once
    /// closed.
    fn next(&self, py: Python<'_>) -> Option<bool> {
        py.detach(|| self.shared.next())
    }

    /// Answers for the interpreter.
    fn note_interpreter_turn(&self) {
        self.shared.answer(Layer::Interpreter);
    }

    /// Answers for the event loop or the pool.
    fn note_loop_turn(&self) {
        self.shared.answer(Layer::Loop);
    }

    /// Sends the stacks of all threads and tasks.
    fn send_stacks(&self, text: &str) {
        self.shared.send_stacks(text.as_bytes());
    }

    /// Ends the wait in `next`. Must be called before the interpreter shuts down.
    fn close(&self) {
        lock(&self.shared.asked).closed = true;
        self.shared.changed.notify_all();
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        fork::release(self.socket.as_raw_fd());
        fork::release(self.dump.as_raw_fd());
    }
}

impl Shared {
    /// Handles the edge's messages until the edge is gone, in a thread that never uses Python.
    fn run(&self) {
        let mut message = [0; QUESTION];
        let mut steps = STEPS.load(Ordering::Relaxed);
        loop {
            let length = match recv(&self.socket, &mut message[..], RecvFlags::empty()) {
                Ok((0, _)) => return,
                Ok((length, _)) => length,
                Err(Errno::INTR) => continue,
                Err(_) => return,
            };
            match Asked::parse(&message[..length]) {
                Some(Asked::Ping(number)) => {
                    lock(&self.asked).ping = number;
                    self.changed.notify_all();
                    self.answer(Layer::Process);
                    let now = STEPS.load(Ordering::Relaxed);
                    if std::mem::replace(&mut steps, now) != now {
                        self.answer(Layer::Loop);
                    }
                }
                Some(Asked::Stacks) => self.find_stacks(),
                None => {}
            }
        }
    }

    fn next(&self) -> Option<bool> {
        let mut state = lock(&self.asked);
        loop {
            if state.closed {
                return None;
            }
            if state.stacks == Stacks::Asked {
                state.stacks = Stacks::Taken;
                return Some(true);
            }
            if state.taken != state.ping {
                state.taken = state.ping;
                return Some(false);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn answer(&self, layer: Layer) {
        let number = lock(&self.asked).ping;
        self.send(Answer::Turns(layer, number));
    }

    fn send(&self, answer: Answer<'_>) {
        // If the edge does not read, the answer is dropped: the edge will ask again.
        let _missed = send(&self.socket, &answer.to_bytes(), SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
    }

    fn send_stacks(&self, text: &[u8]) {
        lock(&self.asked).stacks = Stacks::Sent;
        self.changed.notify_all();
        self.send(Answer::Stacks(text));
    }

    /// Requests the stacks of the thread of Python, and dumps them without the GIL if it does not answer.
    fn find_stacks(&self) {
        let mut state = lock(&self.asked);
        if !state.closed {
            state.stacks = Stacks::Asked;
            self.changed.notify_all();
            let waited =
                self.changed.wait_timeout_while(state, BY_PYTHON, |state| state.stacks != Stacks::Sent);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let (is_sent, can_dump) = (state.stacks == Stacks::Sent, state.can_dump);
        drop(state);
        if !is_sent {
            let text = if can_dump { self.dump_stacks() } else { Vec::new() };
            self.send_stacks(&text);
        }
    }

    /// Returns the stacks of all threads, as `faulthandler` writes them.
    fn dump_stacks(&self) -> Vec<u8> {
        #[expect(unsafe_code, reason = "a signal to the calling thread")]
        // SAFETY: raise has no preconditions. The handler of faulthandler, which works in any state of the
        // process, runs on this thread before raise returns.
        let raised = unsafe { libc::raise(DUMP.as_raw()) };
        let mut text = vec![0; STACKS_MAX];
        let length =
            if raised == 0 { rustix::io::pread(&self.dump, &mut text[..], 0).unwrap_or(0) } else { 0 };
        text.truncate(length);
        text
    }
}
