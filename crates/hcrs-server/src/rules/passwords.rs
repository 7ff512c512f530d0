//! Verifies names and passwords. A hash takes up to a second by intention, so that it is done on threads of its
//! own; what was right is remembered by each edge thread for some minutes.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use hcrs_rules::{Credentials, PairKey, PasswordFile, Remembered};
use rustix::rand::{GetRandomFlags, getrandom};
use tokio::sync::oneshot;
use tokio::task::spawn_local;

use super::RuleState;
use crate::clock;
use crate::settings::Users;

/// The number of threads that verify. More would take the cores from the edge threads.
const THREADS: usize = 2;

/// The most names and passwords that wait for these threads. With more, requests get 503.
const QUEUE: usize = 64;

/// The threads that verify, which start with the first name and password.
#[derive(Debug, Default)]
pub(super) struct VerifierQueue(OnceLock<SyncSender<Job>>);

/// A name and a password to verify.
#[derive(Debug)]
struct Job {
    users: Arc<PasswordFile>,
    credentials: Credentials,
    outcome: oneshot::Sender<bool>,
}

impl VerifierQueue {
    /// Queues the pair. Returns `None` if too many wait.
    fn add(&self, users: Arc<PasswordFile>, credentials: Credentials) -> Option<oneshot::Receiver<bool>> {
        let (outcome, verified) = oneshot::channel();
        match self.0.get_or_init(start).try_send(Job { users, credentials, outcome }) {
            Ok(()) => Some(verified),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => None,
        }
    }
}

fn start() -> SyncSender<Job> {
    let (jobs, queue) = sync_channel(QUEUE);
    let queue = Arc::new(Mutex::new(queue));
    for number in 1..=THREADS {
        let queue = Arc::clone(&queue);
        let thread = std::thread::Builder::new().name(format!("hcrs-verify-{number}"));
        if let Err(error) = thread.spawn(move || run(&queue)) {
            tracing::error!("Cannot start a thread that verifies passwords: {error}");
        }
    }
    jobs
}

fn run(queue: &Mutex<Receiver<Job>>) {
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { users, credentials, outcome }) = next else { return };
        // An error means that the server ends.
        let _over = outcome.send(users.verify(credentials.name(), credentials.password()));
    }
}

/// The names and passwords that an edge thread has verified, or waits for.
#[derive(Debug, Default)]
pub(super) struct Passwords {
    remembered: OnceCell<RefCell<Remembered>>,
    /// The pairs that are being verified, with those that wait for it: a page has many files.
    waiting: RefCell<HashMap<PairKey, Vec<oneshot::Sender<bool>>>>,
}

impl Passwords {
    fn remembered(&self) -> io::Result<&RefCell<Remembered>> {
        if let Some(remembered) = self.remembered.get() {
            return Ok(remembered);
        }
        let mut secret = [0; 32];
        // Of so few bytes the kernel returns all or none.
        getrandom(&mut secret, GetRandomFlags::empty())?;
        Ok(self.remembered.get_or_init(|| RefCell::new(Remembered::new(secret))))
    }
}

/// The outcome of a verification, which is awaited.
#[derive(Debug)]
pub(crate) struct Verification(oneshot::Receiver<bool>);

impl Verification {
    /// Waits for the outcome: whether the name and the password are right.
    pub(crate) async fn outcome(self) -> bool {
        self.0.await.unwrap_or(false)
    }
}

/// The state of a name and a password.
#[derive(Debug)]
pub(super) enum Verifying {
    /// They are known to be right.
    IsRight,
    /// They are verified now.
    Begun(Verification),
    /// Too many others wait, or the kernel refuses what verifying takes.
    Unavailable,
}

/// Verifies a name and a password.
pub(super) fn verify(
    state: &Rc<RuleState>,
    users: &Users,
    credentials: Credentials,
    now: Instant,
) -> Verifying {
    let passwords = &state.passwords;
    let remembered = match passwords.remembered() {
        Ok(remembered) => remembered.borrow(),
        Err(error) => {
            tracing::error!("Passwords cannot be verified: the kernel has no random numbers: {error}");
            return Verifying::Unavailable;
        }
    };
    let key = remembered.key(users.serial, &credentials);
    if remembered.has(&key, now) {
        return Verifying::IsRight;
    }
    let (waiter, verification) = oneshot::channel();
    match passwords.waiting.borrow_mut().entry(key) {
        Entry::Occupied(mut waiting) => waiting.get_mut().push(waiter),
        Entry::Vacant(none) => {
            let Some(verified) = state.shared.verifiers.add(Arc::clone(&users.file), credentials) else {
                return Verifying::Unavailable;
            };
            none.insert(vec![waiter]);
            let state = Rc::clone(state);
            spawn_local(async move {
                let is_right = verified.await.unwrap_or(false);
                let passwords = &state.passwords;
                if let (true, Some(remembered)) = (is_right, passwords.remembered.get()) {
                    remembered.borrow_mut().add(key, clock::now());
                }
                let waiting = passwords.waiting.borrow_mut().remove(&key);
                for waiter in waiting.into_iter().flatten() {
                    // The client may be gone.
                    let _gone = waiter.send(is_right);
                }
            });
        }
    }
    Verifying::Begun(Verification(verification))
}
