//! The lock that lets one server at a time ask an authority, across processes and machines.
//!
//! It is a file that its holder writes anew every few seconds. No clocks are compared: a lock is stale once its
//! content has not changed for a while by the clock of the server that waits. The lock of a process of this machine
//! that has ended is stale at once.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::storage;

/// How often the holder writes the file anew.
const BEAT: Duration = Duration::from_secs(5);
/// The time without a change after which a lock is stale.
const STALE: Duration = Duration::from_secs(20);

/// The holder of a lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Holder {
    /// The start of the machine, and the processes that are visible to the holder: a process has its number there.
    machine: String,
    pid: u32,
    /// When the process has started, in the clock ticks of its machine.
    started: u64,
    /// Which of the process's locks it is, and how often it was written.
    lock: u64,
    beat: u64,
}

impl Holder {
    fn of_this_process(lock: u64) -> Self {
        let pid = std::process::id();
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let processes = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        let machine = format!("{} {}", boot.trim(), processes.display());
        Self { machine, pid, started: start_of(pid).unwrap_or_default(), lock, beat: 0 }
    }

    /// Whether it is the same lock, whenever it was written.
    fn is(&self, other: &Self) -> bool {
        Self { beat: 0, ..self.clone() } == Self { beat: 0, ..other.clone() }
    }

    /// Whether the holder was a process of the machine of `here` that has ended.
    fn has_ended(&self, here: &Self) -> bool {
        self.machine == here.machine && start_of(self.pid) != Some(self.started)
    }
}

/// Returns when a process has started, if there is one with this number that has not ended.
fn start_of(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may have any letters.
    let mut rest = text.rsplit_once(')')?.1.split_ascii_whitespace();
    // One that has ended is there until its parent has noticed.
    let state = rest.next().filter(|state| !matches!(*state, "Z" | "X"))?;
    debug_assert!(state.len() == 1, "the state is a letter");
    rest.nth(18)?.parse().ok()
}

/// The content of a lock of others, and since when it has been the same.
#[derive(Debug, Default)]
struct Watch(Option<(String, Instant)>);

impl Watch {
    /// Returns whether a lock with this content is stale.
    fn is_stale(&mut self, content: &str, now: Instant) -> bool {
        match &self.0 {
            Some((known, since)) if known == content => now.saturating_duration_since(*since) >= STALE,
            _ => {
                self.0 = Some((content.to_owned(), now));
                false
            }
        }
    }
}

/// A lock that may be taken.
#[derive(Debug)]
pub(crate) struct LockFile {
    path: PathBuf,
    watch: Watch,
}

impl LockFile {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, watch: Watch::default() }
    }

    /// Takes the lock if no other server has it. What depends on it is to be looked at again then.
    pub(crate) fn try_take(&mut self, now: Instant) -> io::Result<Option<Lock>> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let holder = Holder::of_this_process(NUMBER.fetch_add(1, Ordering::Relaxed));
        if let Some(content) = storage::read(&self.path)? {
            let known: Option<Holder> = serde_json::from_str(&content).ok();
            let has_ended = known.is_some_and(|known| known.has_ended(&holder));
            if !has_ended && !self.watch.is_stale(&content, now) {
                return Ok(None);
            }
            tracing::info!("Breaking the lock {}, whose holder has ended", self.path.display());
            if !break_lock(&self.path, &content)? {
                return Ok(None);
            }
        }
        self.watch = Watch::default();
        if !create(&self.path, &holder)? {
            return Ok(None);
        }
        Lock::keep(self.path.clone(), holder).map(Some)
    }
}

/// Creates the file with its content at once, if there is none.
fn create(path: &Path, holder: &Holder) -> io::Result<bool> {
    let beside = path.with_extension(format!("{}.{}.tmp", storage::process_name(), holder.lock));
    storage::write_new(&beside, serde_json::to_string(holder)?.as_bytes())?;
    let linked = fs::hard_link(&beside, path);
    let _made_above = fs::remove_file(&beside);
    match linked {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        // Some network file systems have no links.
        Err(error)
            if matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied) =>
        {
            match storage::write_new(path, serde_json::to_string(holder)?.as_bytes()) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
                made => made.map(|()| true),
            }
        }
        Err(error) => Err(error),
    }
}

/// Removes the lock with this content. Returns whether it was that one.
fn break_lock(path: &Path, content: &str) -> io::Result<bool> {
    let aside = path.with_extension(format!("broken.{}.tmp", storage::process_name()));
    match fs::rename(path, &aside) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        renamed => renamed?,
    }
    let was_it = storage::read(&aside)?.as_deref() == Some(content);
    if !was_it {
        // Another server has broken it first, and holds the lock that was moved.
        let _another_is_there = fs::hard_link(&aside, path);
    }
    fs::remove_file(&aside)?;
    Ok(was_it)
}

/// The lock, until it is dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    path: PathBuf,
    holder: Holder,
    is_lost: Arc<AtomicBool>,
    /// Dropped to end the thread.
    end: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Lock {
    /// Keeps the lock fresh, by a thread that wakes every few seconds.
    fn keep(path: PathBuf, holder: Holder) -> io::Result<Self> {
        let (end, ended) = mpsc::channel::<()>();
        let is_lost = Arc::new(AtomicBool::new(false));
        let (lost, file, mut beating) = (Arc::clone(&is_lost), path.clone(), holder.clone());
        let thread = thread::Builder::new().name("hcrs-acme-lock".to_owned()).spawn(move || {
            while ended.recv_timeout(BEAT) == Err(RecvTimeoutError::Timeout) {
                beating.beat += 1;
                if !is_held(&file, &beating) || write(&file, &beating).is_err() {
                    lost.store(true, Ordering::Relaxed);
                    return;
                }
            }
        })?;
        Ok(Self { path, holder, is_lost, end: Some(end), thread: Some(thread) })
    }

    /// Whether the lock could be kept.
    pub(crate) fn is_held(&self) -> bool {
        !self.is_lost.load(Ordering::Relaxed)
    }
}

fn write(path: &Path, holder: &Holder) -> io::Result<()> {
    storage::replace(path, serde_json::to_string(holder)?.as_bytes())
}

fn is_held(path: &Path, holder: &Holder) -> bool {
    let content = storage::read(path).ok().flatten();
    let found: Option<Holder> = content.and_then(|content| serde_json::from_str(&content).ok());
    found.is_some_and(|found| found.is(holder))
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.end = None;
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
        if is_held(&self.path, &self.holder) {
            let _broken_meanwhile = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        (folder, path)
    }

    #[test]
    fn one_holds_it_until_it_is_dropped() {
        let (_folder, path) = file();
        let (mut first, mut second) = (LockFile::new(path.clone()), LockFile::new(path.clone()));
        let now = Instant::now();
        let held = first.try_take(now).unwrap().unwrap();
        assert!(held.is_held());
        assert!(second.try_take(now).unwrap().is_none());
        drop(held);
        assert!(!path.exists());
        assert!(second.try_take(now).unwrap().is_some());
    }

    #[test]
    fn the_lock_of_a_process_that_has_ended_is_broken_at_once() {
        let (_folder, path) = file();
        let mut other =
            std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let started = start_of(other.id()).unwrap();
        let holder = Holder { pid: other.id(), started, ..Holder::of_this_process(1) };
        write(&path, &holder).unwrap();
        assert!(LockFile::new(path.clone()).try_take(Instant::now()).unwrap().is_none());
        drop(other.stdin.take());
        // It is not waited for, and so remains as a zombie.
        while start_of(other.id()).is_some() {
            thread::yield_now();
        }
        assert!(LockFile::new(path.clone()).try_take(Instant::now()).unwrap().is_some());
        other.wait().unwrap();
        let again = Holder { started: started + 1, pid: std::process::id(), ..holder };
        write(&path, &again).unwrap();
        let taken = LockFile::new(path).try_take(Instant::now()).unwrap();
        assert!(taken.is_some(), "another process has the number now");
    }

    #[test]
    fn the_lock_of_another_machine_is_broken_when_it_stands_still() {
        let (_folder, path) = file();
        let mut other = Holder { machine: "other".into(), ..Holder::of_this_process(1) };
        write(&path, &other).unwrap();
        let mut waiting = LockFile::new(path.clone());
        let start = Instant::now();
        assert!(waiting.try_take(start).unwrap().is_none());
        assert!(waiting.try_take(start + STALE / 2).unwrap().is_none());
        other.beat += 1;
        write(&path, &other).unwrap();
        assert!(waiting.try_take(start + STALE).unwrap().is_none(), "it has changed");
        assert!(waiting.try_take(start + STALE * 3 / 2).unwrap().is_none());
        assert!(waiting.try_take(start + STALE * 2).unwrap().is_some());
    }

    #[test]
    fn a_lock_that_another_has_taken_is_neither_removed_nor_broken() {
        let (_folder, path) = file();
        let held = LockFile::new(path.clone()).try_take(Instant::now()).unwrap().unwrap();
        let other = Holder { machine: "other".into(), ..Holder::of_this_process(9) };
        write(&path, &other).unwrap();
        drop(held);
        assert!(is_held(&path, &other));
        assert!(!break_lock(&path, "what it was before").unwrap());
        assert!(is_held(&path, &other));
    }

    #[test]
    fn a_damaged_lock_is_broken_in_time() {
        let (_folder, path) = file();
        for damaged in [&b""[..], b"\xff{", &[0; 100]] {
            fs::write(&path, damaged).unwrap();
            let mut waiting = LockFile::new(path.clone());
            let start = Instant::now();
            assert!(waiting.try_take(start).unwrap().is_none());
            assert!(waiting.try_take(start + STALE).unwrap().is_some());
        }
    }

    proptest! {
        /// A holder that beats in time never loses the lock, whatever its clock says.
        #[test]
        fn a_lock_that_changes_is_not_stale(gaps in proptest::collection::vec(0_u64..20_000, 1..50)) {
            let (mut watch, mut now) = (Watch::default(), Instant::now());
            for (beat, gap) in gaps.into_iter().enumerate() {
                prop_assert!(!watch.is_stale(&beat.to_string(), now));
                now += Duration::from_millis(gap);
                prop_assert!(!watch.is_stale(&beat.to_string(), now));
            }
            let content = "the last".to_owned();
            watch.is_stale(&content, now);
            prop_assert!(watch.is_stale(&content, now + STALE));
        }
    }
}
