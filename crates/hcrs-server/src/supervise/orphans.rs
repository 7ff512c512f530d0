//! Reaps processes that have lost their parent, where this process is the first one of its PID namespace, as
//! in a container without an init of its own, or the subreaper of the processes below it: the system makes it
//! their parent, and they stay zombies until it waits for them.

use std::collections::HashSet;
use std::io;
use std::time::Duration;

use rustix::process::{Pid, WaitOptions, getpid, waitpid};
use tokio::signal::unix::{SignalKind, signal};

use super::adopted::Adoptions;

/// How long a process has to be a zombie before it is reaped. The supervisor waits for its own children as
/// soon as they have ended.
const PATIENCE: Duration = Duration::from_secs(1);

/// Reaps orphans for as long as the supervisor runs, if this is the first process or `forks` workers from a
/// template, for which it becomes the subreaper; does nothing otherwise.
pub(super) fn watch(forks: bool, adoptions: Adoptions) -> io::Result<()> {
    if forks {
        Adoptions::begin()?;
    } else if !getpid().is_init() {
        return Ok(());
    }
    match signal(SignalKind::child()) {
        Ok(mut ends) => {
            tokio::spawn(async move {
                while ends.recv().await.is_some() {
                    let mut seen = zombies();
                    while !seen.is_empty() {
                        tokio::time::sleep(PATIENCE).await;
                        seen = reap(&seen, &zombies(), &adoptions);
                    }
                }
            });
        }
        Err(error) => tracing::warn!("Orphaned processes will not be reaped: {error}"),
    }
    Ok(())
}

/// Reaps the processes that were zombies before and still are, except adopted workers. Returns the others.
fn reap(before: &HashSet<Pid>, now: &HashSet<Pid>, adoptions: &Adoptions) -> HashSet<Pid> {
    let (workers, orphans): (Vec<Pid>, Vec<Pid>) =
        now.intersection(before).partition(|&&child| adoptions.may_include(child));
    for orphan in &orphans {
        match waitpid(Some(*orphan), WaitOptions::NOHANG) {
            Ok(_) => tracing::debug!("Reaped the orphaned process {orphan}"),
            Err(error) => tracing::debug!("The orphaned process {orphan} cannot be reaped: {error}"),
        }
    }
    now.difference(before).copied().chain(workers).collect()
}

/// Returns the children of this process that have ended and were not waited for.
fn zombies() -> HashSet<Pid> {
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let children = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    children
        .flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<i32>>())
        .filter(|pid| {
            // The name before the state may contain any character.
            std::fs::read_to_string(format!("/proc/{pid}/stat"))
                .is_ok_and(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z')))
        })
        .filter_map(Pid::from_raw)
        .collect()
}
