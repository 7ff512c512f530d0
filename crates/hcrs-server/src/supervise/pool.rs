//! The workers of an app, and all that keeps them alive. Each app has a pool of its own: what happens to the workers
//! of one changes nothing for those of another.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use hcrs_metrics::SlotName;

use super::adopted::Adoptions;
use super::backoff::Backoff;
use super::folder::Folder;
use super::liveness::Liveness;
use super::recycle::Recycling;
use super::reload::Watch;
use super::replace::Replacements;
use super::start::Start;
use super::template::Templates;
use super::workers::{Worker, Workers};
use super::{Supervisor, embedding, python};
use crate::origin::app::WorkerId;
use crate::{AppName, AppSettings, Settings, StartError};

/// The workers of an app.
#[derive(Debug)]
pub(super) struct Pool {
    /// The settings of the app.
    pub app: AppSettings,
    /// The interpreter; `None` if the workers are not started by this process, or none was found.
    pub python: Option<PathBuf>,
    /// The working directory of the workers, if it is not the server's.
    pub folder: Option<Folder>,
    /// The watched files of the app, with `use_reloader`.
    pub reload: Option<Watch>,
    /// The processes that workers are forked from, with `preload`.
    pub templates: Templates,
    pub workers: Workers,
    /// The configured workers.
    pub slots: Vec<Slot>,
    /// The times at which slots get their next worker.
    pub starts: Vec<Start>,
    /// The replacements of workers that serve.
    pub replacements: Replacements,
    /// The ages and sizes at which workers are replaced.
    pub recycling: Recycling,
    /// The pulses of the workers.
    pub liveness: Liveness,
    /// Whether the app cannot be served, and its requests are answered with the reason.
    pub is_given_up: bool,
    /// Whether the app is configured no more, and the pool goes with its last worker.
    pub is_leaving: bool,
}

/// A configured worker, which one worker process after another fills.
#[derive(Debug)]
pub(super) struct Slot {
    /// The number under which the edge threads count its requests. No other slot of the server ever has it.
    pub seat: usize,
    /// The pauses between its workers.
    pub backoff: Backoff,
}

/// The numbers of slots over all apps, in the order of their first use. The slot of an app gets the same number
/// again, so that what is counted for it continues.
#[derive(Debug, Default)]
pub(super) struct Seats(Vec<SlotName>);

impl Seats {
    /// Returns the number of a slot of the app, which is counted from 0.
    pub(super) fn of(&mut self, app: &AppName, slot: usize) -> usize {
        self.find(app, slot).unwrap_or_else(|| {
            self.0.push(SlotName { app: app.to_string(), number: slot + 1 });
            self.0.len() - 1
        })
    }

    /// Returns the number of a slot that has had one.
    pub(super) fn find(&self, app: &AppName, slot: usize) -> Option<usize> {
        self.0.iter().position(|known| known.app == app.as_str() && known.number == slot + 1)
    }

    /// Returns the names of the slots, by their numbers.
    pub(super) fn names(&self) -> &[SlotName] {
        &self.0
    }
}

/// The parameters that all pools are made with.
#[derive(Debug)]
pub(super) struct PoolTerms<'a> {
    pub settings: &'a Settings,
    /// The number of edge threads, each of which has a link to each worker.
    pub threads: usize,
    pub adoptions: &'a Adoptions,
}

impl Pool {
    /// Returns the pool of an app, without workers. Its interpreter is looked for unless it is known.
    pub(super) async fn new(
        app: AppSettings,
        known_python: Option<PathBuf>,
        terms: &PoolTerms<'_>,
        seats: &mut Seats,
    ) -> Result<Self, StartError> {
        let settings = terms.settings;
        let python = match &settings.embedder {
            Some(_) => None,
            None => match known_python {
                Some(python) => Some(python),
                None => Some(python::find(app.python.as_deref()).await?),
            },
        };
        let count = embedding::slots(settings, &app);
        let slots = (0..count).map(|slot| Slot::new(seats.of(&app.name, slot))).collect();
        Ok(Self {
            python,
            folder: app.chdir.as_deref().map(Folder::of_app),
            reload: Watch::of(&app).filter(|_| settings.embedder.is_none()),
            templates: Templates::new(terms.adoptions.clone()),
            workers: Workers::new(&app.name, terms.threads, app.shutdown_timeout),
            slots,
            starts: Vec::new(),
            replacements: Replacements::default(),
            recycling: Recycling::of(&app, Instant::now()),
            liveness: Liveness::new(app.worker_timeout),
            is_given_up: false,
            is_leaving: false,
            app,
        })
    }

    /// Applies changed settings. What a worker gets at its start is that of workers which start from now on.
    pub(super) fn apply(&mut self, app: &AppSettings) {
        self.app = app.clone();
        self.is_leaving = false;
        self.liveness.set_timeout(app.worker_timeout);
        self.workers.set_shutdown_timeout(app.shutdown_timeout);
        self.recycling.set_limits(app);
    }

    /// Returns the next time at which something is due.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        let starts = self.starts.iter().map(|start| start.at);
        let look = self.reload.as_ref().and_then(Watch::due);
        let replacement = self.replacements.due(now);
        starts.chain(replacement).chain(look).chain(self.liveness.due(now)).chain(self.recycling.due()).min()
    }

    /// Returns the words that follow what belongs to the app, in messages.
    pub(super) fn suffix(&self) -> String {
        self.app.name.suffix()
    }
}

impl Slot {
    /// Returns a slot with this number.
    pub(super) fn new(seat: usize) -> Self {
        Self { seat, backoff: Backoff::default() }
    }
}

impl Supervisor<'_> {
    /// Returns the place of the pool that has the worker.
    pub(super) fn pool_of(&self, id: WorkerId) -> Option<usize> {
        self.pools.iter().position(|pool| pool.workers.get(id).is_some())
    }

    /// Returns the place of the pool of this app.
    pub(super) fn pool_named(&self, name: &AppName) -> Option<usize> {
        self.pools.iter().position(|pool| pool.app.name == *name)
    }

    /// Returns the pool that has the worker.
    pub(super) fn pool_with(&mut self, id: WorkerId) -> Option<&mut Pool> {
        self.pool_of(id).map(|at| &mut self.pools[at])
    }

    /// Returns a worker.
    pub(super) fn worker(&self, id: WorkerId) -> Option<&Worker> {
        self.pools.iter().find_map(|pool| pool.workers.get(id))
    }

    /// Returns all workers.
    pub(super) fn workers(&self) -> impl Iterator<Item = &Worker> {
        self.pools.iter().flat_map(|pool| pool.workers.iter().map(|(_, worker)| worker))
    }

    /// Whether no worker is left.
    pub(super) fn has_no_workers(&self) -> bool {
        self.pools.iter().all(|pool| pool.workers.is_empty())
    }

    /// Returns the longest of a time that each app has.
    pub(super) fn longest(&self, time: impl Fn(&AppSettings) -> Duration) -> Duration {
        longest(&self.settings, time)
    }
}

/// Returns the interpreter of an app, if one of the pools has found it.
pub(super) fn known_python<'a>(
    app: &AppSettings,
    mut pools: impl Iterator<Item = &'a Pool>,
) -> Option<PathBuf> {
    pools.find(|pool| pool.app.python == app.python).and_then(|pool| pool.python.clone())
}

/// Returns the longest of a time that each app has; zero without apps.
pub(super) fn longest(settings: &Settings, time: impl Fn(&AppSettings) -> Duration) -> Duration {
    settings.apps.iter().map(time).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_has_the_same_number_again_and_no_other_has_it() {
        let (mut seats, shop) = (Seats::default(), AppName::parse("shop").unwrap());
        let main = AppName::default();
        assert_eq!([seats.of(&main, 0), seats.of(&main, 1), seats.of(&shop, 0)], [0, 1, 2]);
        assert_eq!([seats.of(&main, 2), seats.of(&shop, 0), seats.of(&main, 1)], [3, 2, 1]);
        assert_eq!(seats.names()[2], SlotName { app: "shop".to_owned(), number: 1 });
    }
}
