//! A worker's answers to the edge's question whether it lives.
//!
//! Three answer each ping, and each of them shows more than the one before: a thread without Python that the process runs, a
//! thread of Python that the GIL is passed on, and whatever that thread can get the event loop or the pool to do.

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

/// The signal by which `faulthandler` writes the stacks without the GIL. Nobody else uses it: Linux itself never sends it.
const DUMP: Signal = Signal::STKFLT;

/// How long Python may take to tell its stacks, before they are taken without its help.
const BY_PYTHON: Duration = Duration::from_secs(1);

/// Room for a question.
const QUESTION: usize = 16;

/// Requests that were begun, and tasks and threads that have ended one.
static STEPS: AtomicU64 = AtomicU64::new(0);

/// The app has got on: a request was begun, or has ended. Many requests that block for a while each may run in one turn of the
/// loop; who gets through them is busy, and not hung.
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
    /// What `faulthandler` writes to.
    dump: OwnedFd,
    asked: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The number of the last ping.
    ping: u32,
    /// The last one that the thread of Python has taken.
    taken: u32,
    stacks: Stacks,
    /// `faulthandler` knows what to do at the signal.
    can_dump: bool,
    /// Python is not to be woken any more: the interpreter ends.
    closed: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Stacks {
    #[default]
    NotAsked,
    Asked,
    /// Python makes them.
    Taken,
    Told,
}

#[pymethods]
impl Pulse {
    /// Takes the descriptor that the edge has passed on.
    #[new]
    fn new(descriptor: RawFd) -> PyResult<Self> {
        let socket = take_descriptor(descriptor)?;
        fork::withhold(socket.as_raw_fd());
        let dump = memfd_create("hcrs-stacks", MemfdFlags::CLOEXEC).map_err(io::Error::from)?;
        fork::withhold(dump.as_raw_fd());
        let shared = Shared { socket, dump, asked: Mutex::default(), changed: Condvar::new() };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The descriptor and the signal for `faulthandler`.
    fn dump(&self) -> (RawFd, i32) {
        (self.shared.dump.as_raw_fd(), DUMP.as_raw())
    }

    /// Answers from now on. `can_dump` says that `faulthandler` knows of [`Pulse::dump`].
    fn start(&self, can_dump: bool) -> PyResult<()> {
        lock(&self.shared.asked).can_dump = can_dump;
        let shared = Arc::clone(&self.shared);
        std::thread::Builder::new().name("hcrs-pulse".into()).spawn(move || shared.run())?;
        Ok(())
    }

    /// Waits for the next question: True for stacks, False for a ping. None once there are no more.
    fn next(&self, py: Python<'_>) -> Option<bool> {
        py.detach(|| self.shared.next())
    }

    /// The interpreter has come to answer.
    fn interpreter_turns(&self) {
        self.shared.turns(Layer::Interpreter);
    }

    /// The event loop, or the pool, has come to answer.
    fn loop_turns(&self) {
        self.shared.turns(Layer::Loop);
    }

    /// Where all threads and tasks stand.
    fn tell_stacks(&self, text: &str) {
        self.shared.tell_stacks(text.as_bytes());
    }

    /// Lets the thread that waits in `next` end: the interpreter is about to.
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
    /// The thread that never touches Python: reads what is asked until the edge is gone.
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
                    self.turns(Layer::Process);
                    let now = STEPS.load(Ordering::Relaxed);
                    if std::mem::replace(&mut steps, now) != now {
                        self.turns(Layer::Loop);
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

    fn turns(&self, layer: Layer) {
        let number = lock(&self.asked).ping;
        self.say(Answer::Turns(layer, number));
    }

    fn say(&self, answer: Answer<'_>) {
        // An edge that does not read is not waited for; it misses what it asks for anew soon.
        let _missed = send(&self.socket, &answer.to_bytes(), SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
    }

    fn tell_stacks(&self, text: &[u8]) {
        lock(&self.asked).stacks = Stacks::Told;
        self.changed.notify_all();
        self.say(Answer::Stacks(text));
    }

    /// Has Python tell its stacks, or takes them without the GIL if it does not get it.
    fn find_stacks(&self) {
        let mut state = lock(&self.asked);
        if !state.closed {
            state.stacks = Stacks::Asked;
            self.changed.notify_all();
            let told =
                self.changed.wait_timeout_while(state, BY_PYTHON, |state| state.stacks != Stacks::Told);
            state = told.unwrap_or_else(PoisonError::into_inner).0;
        }
        let (is_told, can_dump) = (state.stacks == Stacks::Told, state.can_dump);
        drop(state);
        if !is_told {
            let text = if can_dump { self.dump_stacks() } else { Vec::new() };
            self.tell_stacks(&text);
        }
    }

    /// The stacks of all threads, by `faulthandler`.
    fn dump_stacks(&self) -> Vec<u8> {
        #[expect(unsafe_code, reason = "a signal to the calling thread")]
        // SAFETY: raise has no conditions. faulthandler's handler, which is made for a process in any state, runs on this
        // thread before it returns.
        let raised = unsafe { libc::raise(DUMP.as_raw()) };
        let mut text = vec![0; STACKS_MAX];
        let length =
            if raised == 0 { rustix::io::pread(&self.dump, &mut text[..], 0).unwrap_or(0) } else { 0 };
        text.truncate(length);
        text
    }
}
