//! SIGHUP and `hcrs reload`: the configuration, the certificates and the working directory are read again, and
//! the workers are replaced.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;

use super::event::{Change, Event};
use super::folder::Folder;
use super::pool::{Pool, PoolTerms, known_python};
use super::start::Start;
use super::{Supervisor, notify};
use crate::origin::admin::Reply;
use crate::settings::NewSettings;
use crate::thread::control::Control;
use crate::{AppName, Settings};

/// The most reads of the configuration at a time: one that runs, and one that waits and sees what has changed
/// meanwhile.
const READS_MAX: usize = 2;

/// The reloads that have begun and not ended.
#[derive(Debug, Default)]
pub(super) struct Reloads {
    /// The number of reads of the configuration that run or wait.
    reads: usize,
    /// The reload that waits until the workers have started.
    put_off: Option<Reading>,
}

impl Reloads {
    /// Takes the reload that has waited until the workers have started.
    pub(super) fn take_put_off(&mut self) -> Option<Reading> {
        self.put_off.take()
    }
}

/// Who has asked for a reload.
#[derive(Debug)]
pub(super) enum Requester {
    /// SIGHUP.
    Signal,
    /// The admin interface, where the answer is sent.
    Command(oneshot::Sender<Reply>),
}

/// A read of the configuration that is over.
#[derive(Debug)]
pub(super) struct Reading {
    requester: Requester,
    /// `None` if the configuration cannot be read again.
    outcome: Option<Result<Box<NewSettings>, String>>,
}

impl Requester {
    fn cause(&self) -> &'static str {
        match self {
            Self::Signal => "SIGHUP",
            Self::Command(_) => "hcrs reload",
        }
    }

    fn answer(self, status: u16, text: &str) {
        if let Self::Command(reply) = self {
            let _gone = reply.send(Reply::text(status, text));
        }
    }
}

impl Reading {
    /// Answers that the server does not reload now.
    pub(super) fn refuse(self, why: &str) {
        self.requester.answer(409, why);
    }
}

impl Supervisor<'_> {
    /// Begins a reload. Returns the change at once if there is no configuration to read.
    pub(super) fn begin_reload(&mut self, requester: Requester) -> Option<Change> {
        self.notify(notify::State::Reloading);
        let Some(source) = self.settings.source.clone() else {
            return Some(Change::Reload(Reading { requester, outcome: None }));
        };
        if self.reloads.reads >= READS_MAX {
            // The one that waits sees the present state: it reads when the outcome of the other has been sent, and
            // that has not been received, so it was not sent before this request was.
            requester.answer(200, "a reload that has not begun includes this one");
            return None;
        }
        self.reloads.reads += 1;
        let events = self.sender.clone();
        // It may run Python.
        let reading = std::thread::Builder::new().name("hcrs-configuration".to_owned()).spawn(move || {
            source.read(|outcome| {
                let reading = Reading { requester, outcome: Some(outcome.map(Box::new)) };
                let _supervisor_gone = events.blocking_send(Event::Configuration(reading));
            });
        });
        if let Err(error) = reading {
            self.reloads.reads -= 1;
            tracing::error!("The configuration cannot be read again: {error}");
            self.notify(notify::State::Ready);
        }
        None
    }

    /// Takes a read of the configuration.
    pub(super) fn end_reading(&mut self, reading: Reading) -> Change {
        self.reloads.reads -= 1;
        Change::Reload(reading)
    }

    /// Keeps a reload until the workers have started: they may have loaded files that have changed since.
    pub(super) fn put_off(&mut self, reading: Reading) {
        let cause = reading.requester.cause();
        tracing::info!("The workers are starting; they will be replaced when they are ready ({cause})");
        if let Some(earlier) = self.reloads.put_off.replace(reading) {
            earlier.requester.answer(200, "a later reload includes this one");
        }
    }

    /// Applies a configuration that was read again, as far as a running server can; then reads the rest of what
    /// a reload applies to, and replaces the workers.
    pub(super) async fn reload(&mut self, reading: Reading) {
        let Reading { requester, outcome } = reading;
        let is_from_file = outcome.is_some();
        let mut started = Vec::new();
        let is_read = match outcome {
            None => true,
            Some(Ok(new)) => {
                started = self.apply(*new).await;
                true
            }
            Some(Err(why)) => {
                tracing::error!(
                    "The configuration cannot be read again, and the settings stay as they are: {why}"
                );
                false
            }
        };
        if let Some(path) = self.folder.as_mut().and_then(Folder::follow) {
            tracing::info!("New workers start in {}", path.display());
        }
        for pool in &mut self.pools {
            let app = pool.suffix();
            if let Some(path) = pool.folder.as_mut().and_then(Folder::follow) {
                tracing::info!("New workers{app} start in {}", path.display());
            }
        }
        if let Some(certificates) = &mut self.certificates {
            certificates.reload();
        }
        // With an embedder, the app is not started by this process.
        let has_workers = self.settings.embedder.is_none() && !self.pools.is_empty();
        if has_workers {
            self.replace_by_configuration(&started, requester.cause()).await;
        } else {
            if !is_from_file && self.certificates.is_none() {
                tracing::warn!("SIGHUP does nothing: there are no workers and no certificates");
            }
            self.notify(notify::State::Ready);
        }
        match (is_read, has_workers) {
            (true, true) => requester.answer(200, "all workers are being replaced"),
            (true, false) => requester.answer(200, "the configuration was read again; there are no workers to replace"),
            (false, _) => requester.answer(
                409,
                "the configuration cannot be read again, and the settings stay as they are; the error log has the \
                 reason. Workers are replaced all the same.",
            ),
        }
    }

    /// Applies settings that were read again. Returns the apps that are new, whose workers are starting.
    async fn apply(&mut self, new: NewSettings) -> Vec<AppName> {
        let NewSettings { settings, applied, mut unapplied, warnings } = new;
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        unapplied.extend(self.settings.unapplied_of_apps(&settings));
        let wants_acme = settings.acme.is_some();
        let mut settings = self.settings.changed_to(settings);
        if wants_acme != settings.acme.is_some() {
            tracing::warn!(
                "[hcrs.acme] takes effect at a start: the server {}",
                if wants_acme { "was started without TLS" } else { "has no other certificate" }
            );
        }
        self.refuse_late_preload(&mut settings);
        let settings = Arc::new(settings);
        let before = std::mem::replace(&mut self.settings, Arc::clone(&settings));
        self.change_acme(before.acme.as_ref());
        self.edge.send_all(|| Control::Apply(Arc::clone(&settings))).await;
        self.edge.settle().await;
        let started = self.apply_apps(&settings).await;
        self.update_readiness();
        if applied.is_empty() {
            tracing::info!(
                "The configuration was read again, and the files that it names; no setting that takes effect now has changed"
            );
        } else {
            tracing::info!("The configuration was read again; changed: {}", applied.join(", "));
        }
        if !unapplied.is_empty() {
            tracing::warn!(
                "These settings have changed and take effect at a start (SIGUSR2 succeeds this server without \
                 refusing a connection): {}",
                unapplied.join(", ")
            );
        }
        started
    }

    /// Turns `preload` of apps off that are new, if this process cannot adopt the workers.
    fn refuse_late_preload(&self, settings: &mut Settings) {
        for app in settings.apps.iter_mut().filter(|app| app.preload && !self.may_fork) {
            tracing::warn!(
                "preload of app {} takes effect at a start: no app had it when the server started",
                app.name
            );
            app.preload = false;
        }
    }

    /// Changes the pools to the apps of the settings. Returns the names of the apps that are new.
    async fn apply_apps(&mut self, settings: &Settings) -> Vec<AppName> {
        let mut started = Vec::new();
        let mut pools = std::mem::take(&mut self.pools);
        for app in &settings.apps {
            if let Some(at) = pools.iter().position(|pool| pool.app.name == app.name) {
                let mut pool = pools.remove(at);
                pool.apply(app);
                self.pools.push(pool);
                continue;
            }
            let terms = PoolTerms { settings, threads: self.edge.len(), adoptions: &self.adoptions };
            let known = known_python(app, self.pools.iter().chain(&pools));
            match Pool::new(app.clone(), known, &terms, &mut self.seats).await {
                Ok(mut pool) => {
                    tracing::info!("Starting the workers{}, which is new", pool.suffix());
                    let at = Instant::now();
                    pool.starts = (0..pool.slots.len()).map(|slot| Start { at, slot }).collect();
                    self.pools.push(pool);
                    started.push(app.name.clone());
                }
                Err(error) => tracing::error!("Cannot serve app {}: {error}", app.name),
            }
        }
        let remaining = self.pools.len();
        self.pools.append(&mut pools);
        for at in remaining..self.pools.len() {
            self.pools[at].is_leaving = true;
            let _possible = self.scale_to(at, 0, "the app is configured no more").await;
        }
        started
    }
}
