//! Changes of the number of workers while they serve. Slots are added and removed at the end of the list.

use std::time::Instant;

use hcrs_metrics::RestartCause;

use super::pool::Slot;
use super::signals::Scale;
use super::start::Start;
use super::{Supervisor, embedding};
use crate::AppName;

/// The most workers that a server is scaled up to by signals and commands.
pub(super) const WORKERS_MAX: usize = 1024;

impl Supervisor<'_> {
    /// Obeys a signal that changes the number of workers: of the first app, which is the main one if there is one,
    /// or with SIGWINCH of all.
    pub(super) async fn scale(&mut self, scale: Scale) {
        let count = self.pools.first().map_or(0, |pool| pool.slots.len());
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
        let apps = if wanted == 0 { self.pools.len() } else { 1 };
        for at in 0..apps.max(1) {
            if let Err(why) = self.scale_to(at, wanted, signal).await {
                tracing::warn!("{signal} is ignored: {why}");
            }
        }
    }

    /// Serves each app but these, whose first workers are starting, with the configured number of workers, all
    /// of them new.
    pub(super) async fn replace_by_configuration(&mut self, started: &[AppName], cause: &str) {
        for at in 0..self.pools.len() {
            let pool = &self.pools[at];
            if pool.is_leaving || started.contains(&pool.app.name) {
                continue;
            }
            let wanted = embedding::slots(&self.settings, &pool.app);
            // Only apps that workers serve are reloaded, and their number is not too large.
            let _possible = self.scale_to(at, wanted, cause).await;
            self.renew_all(at, cause).await;
        }
    }

    /// Serves an app with `wanted` workers from now on. More are started at once; those that are too many
    /// finish what they have begun, and end.
    pub(super) async fn scale_to(
        &mut self,
        at: usize,
        wanted: usize,
        cause: &str,
    ) -> Result<(), &'static str> {
        let Some(pool) = self.pools.get_mut(at) else { return Err("there is no app") };
        if self.settings.embedder.is_some() {
            return Err("the app runs in the program that embeds the server");
        }
        if wanted > WORKERS_MAX {
            return Err("there are as many workers as are possible");
        }
        let count = pool.slots.len();
        if wanted == count {
            return Ok(());
        }
        let app = pool.suffix();
        tracing::info!("Changing the number of workers{app} from {count} to {wanted} ({cause})");
        let now = Instant::now();
        for slot in count..wanted {
            pool.slots.push(Slot::new(self.seats.of(&pool.app.name, slot)));
            pool.starts.push(Start { at: now, slot });
        }
        pool.slots.truncate(wanted);
        pool.starts.retain(|start| start.slot < wanted);
        (wanted..count).for_each(|slot| pool.replacements.abandon(slot));
        let surplus: Vec<_> = pool.workers.iter().filter(|(_, worker)| worker.slot >= wanted).collect();
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
