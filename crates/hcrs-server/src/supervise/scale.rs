//! Changes of the number of workers while they serve. Slots are added and removed at the end of the list.

use std::time::Instant;

use hcrs_metrics::RestartCause;

use super::backoff::Backoff;
use super::signals::Scale;
use super::start::Start;
use super::{Supervisor, embedding};

/// The most workers that a server is scaled up to by signals and commands.
pub(super) const WORKERS_MAX: usize = 1024;

impl Supervisor<'_> {
    /// Obeys a signal that changes the number of workers.
    pub(super) async fn scale(&mut self, scale: Scale) {
        let count = self.slots.len();
        let (wanted, signal) = match scale {
            Scale::Up => (count + 1, "SIGTTIN"),
            Scale::Down if count <= 1 => {
                return tracing::warn!("SIGTTOU is ignored: there is no more than one worker");
            }
            Scale::Down => (count - 1, "SIGTTOU"),
            Scale::None if has_terminal() => {
                // A terminal sends it when its size changes.
                return tracing::debug!("SIGWINCH is ignored: the server has a controlling terminal");
            }
            Scale::None => (0, "SIGWINCH"),
        };
        if let Err(why) = self.scale_to(wanted, signal).await {
            tracing::warn!("{signal} is ignored: {why}");
        }
    }

    /// Serves with the configured number of workers, all of them new.
    pub(super) async fn replace_by_configuration(&mut self, cause: &str) {
        // Only an app that workers serve is reloaded, and its number is not too large.
        let _possible = self.scale_to(embedding::slots(&self.settings), cause).await;
        self.renew_all(cause).await;
    }

    /// Serves with `wanted` workers from now on. More are started at once; those that are too many finish
    /// what they have begun, and end.
    pub(super) async fn scale_to(&mut self, wanted: usize, cause: &str) -> Result<(), &'static str> {
        if self.settings.app.is_none() {
            return Err("there is no app");
        }
        if self.settings.embedder.is_some() {
            return Err("the app runs in the program that embeds the server");
        }
        if wanted > WORKERS_MAX {
            return Err("there are as many workers as are possible");
        }
        let count = self.slots.len();
        if wanted == count {
            return Ok(());
        }
        tracing::info!("Changing the number of workers from {count} to {wanted} ({cause})");
        let now = Instant::now();
        for slot in count..wanted {
            self.slots.push(Backoff::default());
            self.starts.push(Start { at: now, slot });
        }
        self.slots.truncate(wanted);
        self.starts.retain(|start| start.slot < wanted);
        (wanted..count).for_each(|slot| self.replacements.abandon(slot));
        let surplus: Vec<_> = self.workers.iter().filter(|(_, worker)| worker.slot >= wanted).collect();
        let surplus: Vec<_> =
            surplus.into_iter().filter(|(_, worker)| !worker.is_retired()).map(|(id, _)| id).collect();
        for id in surplus {
            self.restarts.note(RestartCause::Scale);
            self.retire(id).await;
        }
        Ok(())
    }
}

/// Whether the process has a controlling terminal.
fn has_terminal() -> bool {
    std::fs::File::open("/dev/tty").is_ok()
}
