//! Workers that a template has forked. This process is not the one that has forked them, but has adopted them
//! as the subreaper of the processes below it, so it waits for them like for its own children.

use std::collections::HashSet;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, waitpid};
use tokio::signal::unix::{self, SignalKind};
use tokio::sync::oneshot;

/// The processes that must be waited for here only, however long they have been zombies.
#[derive(Debug, Clone, Default)]
pub(super) struct Adoptions(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// The workers whose process id is known.
    known: HashSet<Pid>,
    /// The number of orders to fork a worker that were not answered yet: any child may be such a worker.
    expected: usize,
}

impl Adoptions {
    /// Makes this process the parent of all processes below it that lose theirs.
    pub(super) fn begin() -> io::Result<()> {
        Ok(set_child_subreaper(Some(getpid()))?)
    }

    /// Whether an ended child may be one that is waited for here.
    pub(super) fn may_include(&self, child: Pid) -> bool {
        let state = self.lock();
        state.expected > 0 || state.known.contains(&child)
    }

    /// Announces a worker that is about to be forked.
    pub(super) fn expect(&self) -> Expected {
        self.lock().expected += 1;
        Expected(self.clone())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A worker that is being forked.
#[derive(Debug)]
pub(super) struct Expected(Adoptions);

impl Expected {
    /// Adopts the worker, whose process id is known now.
    pub(super) fn arrived(self, pid: Pid) -> AdoptedChild {
        self.0.lock().known.insert(pid);
        AdoptedChild { pid, adoptions: self.0.clone(), is_reaped: false }
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        self.0.lock().expected -= 1;
    }
}

/// An adopted process. It is killed when this is dropped.
#[derive(Debug)]
pub(super) struct AdoptedChild {
    pid: Pid,
    adoptions: Adoptions,
    is_reaped: bool,
}

impl AdoptedChild {
    /// Returns the process id.
    pub(super) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Waits for the end of the process, and kills it once `kill` is triggered.
    pub(super) async fn wait(mut self, mut kill: Option<oneshot::Receiver<()>>) -> io::Result<ExitStatus> {
        let mut ends = unix::signal(SignalKind::child())?;
        loop {
            if let Some((_, status)) = waitpid(Some(self.pid), WaitOptions::NOHANG)? {
                self.is_reaped = true;
                return Ok(ExitStatus::from_raw(status.as_raw()));
            }
            let killed = async {
                match &mut kill {
                    Some(kill) => kill.await.is_ok(),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = ends.recv() => {}
                is_killed = killed => {
                    kill = None;
                    if is_killed {
                        self.kill();
                    }
                }
            }
        }
    }

    /// Kills the process. It was not waited for, so its number is still its own.
    pub(super) fn kill(&self) {
        let _ended = kill_process(self.pid, Signal::KILL);
    }
}

impl Drop for AdoptedChild {
    fn drop(&mut self) {
        if !self.is_reaped {
            self.kill();
        }
        self.adoptions.lock().known.remove(&self.pid);
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[expect(clippy::zombie_processes, reason = "the adopted child is waited for")]
    fn child(script: &str) -> Pid {
        let child = Command::new("sh").args(["-c", script]).spawn().unwrap();
        Pid::from_raw(child.id().cast_signed()).unwrap()
    }

    #[test]
    fn the_end_of_an_adopted_process_is_reported_and_its_number_is_protected_until_then() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let adoptions = Adoptions::default();
            let (first, second) = (child("exit 3"), child("sleep 60"));
            let expected = adoptions.expect();
            assert!(adoptions.may_include(first) && adoptions.may_include(second));
            let adopted = expected.arrived(first);
            assert!(adoptions.may_include(first) && !adoptions.may_include(second));
            assert_eq!(adopted.wait(None).await.unwrap().code(), Some(3));
            assert!(!adoptions.may_include(first));

            let adopted = adoptions.expect().arrived(second);
            let (kill, killed) = oneshot::channel();
            let waiting = tokio::spawn(adopted.wait(Some(killed)));
            kill.send(()).unwrap();
            let status = waiting.await.unwrap().unwrap();
            assert_eq!(super::super::signals::describe(status), "was killed by SIGKILL");
        });
    }

    #[test]
    fn an_adopted_process_does_not_outlive_its_handle() {
        let adoptions = Adoptions::default();
        let pid = child("sleep 60");
        drop(adoptions.expect().arrived(pid));
        let (_, status) = waitpid(Some(pid), WaitOptions::empty()).unwrap().unwrap();
        assert_eq!(status.terminating_signal(), Some(Signal::KILL.as_raw()));
    }
}
