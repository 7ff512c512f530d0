//! The thread that keeps certificates: it looks which are due, asks the authority, stores what it gets, and reports.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use hcrs_status::NamedCertificate;

use crate::client::{Failure, now};
use crate::domain::Domain;
use crate::lock::{Lock, LockFile};
use crate::order::{Desk, Wish, suggestion};
use crate::report::Known;
use crate::schedule::{DAY, Moment, next_suggestion};
use crate::settings::{AcmeSettings, ChallengeKind};
use crate::storage::{NameRecord, Obtained, Storage, Suggestion};

/// How often the storage is looked at, where other servers may have put certificates.
const LOOK: Duration = Duration::from_secs(30);
/// How often a lock that another server holds is tried.
const LOCK_LOOK: Duration = Duration::from_secs(1);

/// What the thread is to do besides, of which later requests take the place of earlier ones. So it stays small however
/// long an authority takes.
#[derive(Debug, Default)]
struct Requested {
    settings: Option<AcmeSettings>,
    /// The names to renew whether they are due or not.
    renewed: BTreeSet<Domain>,
    /// Whether all names are to be renewed.
    all_renewed: bool,
}

type Reports = Arc<Mutex<Vec<NamedCertificate>>>;

/// The thread that keeps certificates. It ends when this is dropped, once it has finished what it does.
#[derive(Debug)]
pub struct Acme {
    requested: Arc<Mutex<Requested>>,
    /// Has one place: a thread that is told once looks at all that is requested.
    wake: SyncSender<()>,
    reports: Reports,
}

impl Acme {
    /// Starts the thread. `renewed` is called after certificates were stored.
    pub fn start(settings: AcmeSettings, renewed: impl Fn() + Send + 'static) -> io::Result<Self> {
        let (wake, woken) = sync_channel(1);
        let (reports, requested) = (Reports::default(), Arc::new(Mutex::new(Requested::default())));
        let mut runner = Runner {
            storage: Storage::new(&settings.storage, &settings.directory),
            lock: LockFile::new(Storage::new(&settings.storage, &settings.directory).lock()),
            settings,
            renewed: Box::new(renewed),
            reports: Arc::clone(&reports),
            requested: Arc::clone(&requested),
            forced: BTreeSet::new(),
            unsaved: BTreeMap::new(),
            failures: BTreeMap::new(),
        };
        runner.publish(None);
        thread::Builder::new().name("hcrs-acme".to_owned()).spawn(move || {
            let ended = panic::catch_unwind(AssertUnwindSafe(|| runner.run(&woken)));
            if ended.is_err() {
                tracing::error!(
                    "Certificates are renewed no more, because of a fault of hcrs; restart the server"
                );
            }
        })?;
        Ok(Self { requested, wake, reports })
    }

    /// Changes the settings.
    pub fn change(&self, settings: AcmeSettings) {
        self.request(|requested| requested.settings = Some(settings));
    }

    /// Has a name renewed now, or all.
    pub fn renew(&self, domain: Option<Domain>) {
        self.request(|requested| match domain {
            Some(domain) => drop(requested.renewed.insert(domain)),
            None => requested.all_renewed = true,
        });
    }

    fn request(&self, add: impl FnOnce(&mut Requested)) {
        add(&mut self.requested.lock().unwrap_or_else(PoisonError::into_inner));
        let _is_told_or_has_ended = self.wake.try_send(());
    }

    /// Returns the state of the names.
    pub fn report(&self) -> Vec<NamedCertificate> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

struct Runner {
    settings: AcmeSettings,
    storage: Storage,
    renewed: Box<dyn Fn() + Send>,
    reports: Reports,
    requested: Arc<Mutex<Requested>>,
    lock: LockFile,
    /// The names that are renewed whether they are due or not.
    forced: BTreeSet<Domain>,
    /// What could not be stored.
    unsaved: BTreeMap<Domain, NameRecord>,
    /// The number of failures since the start.
    failures: BTreeMap<Domain, u64>,
}

impl Runner {
    fn run(&mut self, woken: &Receiver<()>) {
        self.storage.clear(SystemTime::now());
        loop {
            let wait = self.pass();
            self.publish(None);
            match woken.recv_timeout(wait) {
                Ok(()) => self.take_requested(),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn take_requested(&mut self) {
        let mut requested = self.requested.lock().unwrap_or_else(PoisonError::into_inner);
        let Requested { settings, renewed, all_renewed } = std::mem::take(&mut *requested);
        drop(requested);
        if let Some(settings) = settings {
            self.storage = Storage::new(&settings.storage, &settings.directory);
            self.lock = LockFile::new(self.storage.lock());
            self.settings = settings;
            self.unsaved.clear();
        }
        self.forced.extend(renewed);
        if all_renewed {
            self.forced.extend(self.settings.domains.iter().cloned());
        }
        // A name that is gone is not renewed when it comes back.
        self.forced.retain(|domain| self.settings.domains.contains(domain));
    }

    /// Does what is due. Returns the time until something may be due again.
    fn pass(&mut self) -> Duration {
        let mut next = LOOK;
        for domain in self.settings.domains.clone() {
            next = next.min(self.look_after(&domain));
        }
        next
    }

    /// Does what is due for a name. Returns the time until something may be due again.
    fn look_after(&mut self, domain: &Domain) -> Duration {
        let until = |at: Moment| Duration::from_secs(at.saturating_sub(now()).max(1));
        let known = self.known(domain);
        let is_due = self.is_due(domain, &known);
        if !is_due && known.stale_suggestion(now()).is_none() {
            return until(known.due(now()));
        }
        if is_due {
            let next = self.storage.orders().next(now());
            if next > now() {
                return until(next);
            }
        }
        match self.take_lock() {
            Ok(Some(lock)) => self.work(domain, &lock),
            Ok(None) => return LOCK_LOOK,
            Err(error) if is_due => {
                self.fail(domain, &unusable(&error));
            }
            Err(_) => return LOOK,
        }
        let known = self.known(domain);
        if known.stale_suggestion(now()).is_some() { until(now()) } else { until(known.due(now())) }
    }

    fn take_lock(&mut self) -> io::Result<Option<Lock>> {
        self.storage.prepare()?;
        self.lock.try_take(Instant::now())
    }

    fn known(&self, domain: &Domain) -> Known {
        let unsaved = self.unsaved.get(domain).cloned();
        let record = unsaved.unwrap_or_else(|| self.storage.name_record(domain));
        Known { stored: self.storage.load(domain), record }
    }

    fn is_due(&self, domain: &Domain, known: &Known) -> bool {
        self.forced.contains(domain) || known.due(now()) <= now()
    }

    /// Does what is still due for a name, now that no other server does it.
    fn work(&mut self, domain: &Domain, lock: &Lock) {
        let known = self.known(domain);
        if !self.is_due(domain, &known) {
            if let Some(id) = known.stale_suggestion(now()) {
                self.ask_when_to_renew(domain, id);
            }
            return;
        }
        let mut orders = self.storage.orders();
        if orders.next(now()) > now() {
            return;
        }
        self.forced.remove(domain);
        let mut record = known.record;
        let challenge = self.settings.challenge.after(record.attempts.failures, record.challenge);
        // A server that is killed again and again keeps the limits too, and so do all that share the storage.
        orders.spend(now());
        record.attempts.begin(now());
        let noted = self.storage.store_orders(&orders).and_then(|()| self.keep(domain, &record));
        if let Err(error) = noted {
            self.fail(domain, &unusable(&error));
            return;
        }
        tracing::info!(
            "Asking {} for a certificate for {domain} by {}",
            self.settings.directory.as_str(),
            challenge.as_str()
        );
        self.publish(Some(domain));
        let replaces = known.stored.as_ref().and_then(|stored| stored.facts.id.as_deref());
        let desk = Desk { settings: &self.settings, storage: &self.storage, lock };
        match desk.obtain(Wish { domain, challenge, replaces }) {
            Ok(()) => self.succeed(domain, challenge),
            Err(failure) => self.fail(domain, &failure),
        }
    }

    fn succeed(&mut self, domain: &Domain, challenge: ChallengeKind) {
        let stored = self.storage.load(domain);
        let obtained = stored.map(|stored| Obtained { seed: stored.facts.seed, at: now() });
        let challenge = Some(challenge);
        let _is_kept_in_memory =
            self.keep(domain, &NameRecord { challenge, obtained, ..NameRecord::default() });
        (self.renewed)();
        self.publish(None);
        tracing::info!("There is a new certificate for {domain}");
    }

    fn fail(&mut self, domain: &Domain, failure: &Failure) {
        let mut record = self.known(domain).record;
        self.forced.remove(domain);
        record.attempts.fail(now(), failure.retry_after, failure.words.clone());
        let wait = record.attempts.next_try(now()).saturating_sub(now());
        *self.failures.entry(domain.clone()).or_default() += 1;
        let _is_kept_in_memory = self.keep(domain, &record);
        self.publish(None);
        tracing::error!(
            "No certificate for {domain}: {}; the next try is in {}",
            failure.words,
            in_words(wait)
        );
    }

    /// Stores what is known of a name; if that is not possible, it is kept in memory.
    fn keep(&mut self, domain: &Domain, record: &NameRecord) -> io::Result<()> {
        let stored = self.storage.store_name_record(domain, record);
        match &stored {
            Ok(()) => drop(self.unsaved.remove(domain)),
            Err(error) => {
                tracing::debug!("{error}");
                self.unsaved.insert(domain.clone(), record.clone());
            }
        }
        stored
    }

    fn ask_when_to_renew(&mut self, domain: &Domain, id: &str) {
        let asked = suggestion(&self.settings, id);
        let mut record = self.known(domain).record;
        let before = record.suggestion.take().filter(|known| known.id == id).and_then(|known| known.window);
        let (window, next_check) = match asked {
            Ok(suggested) => {
                if let (true, Some(url)) = (suggested.window != before, suggested.explanation) {
                    tracing::info!(
                        "The authority suggests when to renew the certificate of {domain}: {}",
                        crate::messages::one_line(&url)
                    );
                }
                let wait = if suggested.window.is_some() { suggested.retry_after } else { Some(DAY) };
                (suggested.window, next_suggestion(now(), wait))
            }
            Err(failure) => {
                tracing::debug!("The authority is not asked when to renew {domain}: {}", failure.words);
                (before, next_suggestion(now(), failure.retry_after))
            }
        };
        record.suggestion = Some(Suggestion { id: id.to_owned(), window, next_check });
        let _is_kept_in_memory = self.keep(domain, &record);
    }

    /// Publishes the state of all names; `asking` is the one that the authority is being asked for.
    fn publish(&mut self, asking: Option<&Domain>) {
        let next_order = self.storage.orders().next(now());
        let report = |domain: &Domain| {
            let mut report = self.known(domain).report(domain, &self.settings, next_order, now());
            report.is_asking = asking == Some(domain);
            report.failures_total = self.failures.get(domain).copied().unwrap_or_default();
            report
        };
        let reports = self.settings.domains.iter().map(report).collect();
        *self.reports.lock().unwrap_or_else(PoisonError::into_inner) = reports;
    }
}

fn unusable(error: &io::Error) -> Failure {
    Failure::new(format!("the storage cannot be used: {error}"))
}

/// Returns a number of seconds in words.
fn in_words(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_to_a_thread_that_is_busy_take_the_place_of_each_other() {
        let (wake, woken) = sync_channel(1);
        let acme = Acme { requested: Arc::default(), wake, reports: Arc::default() };
        for _ in 0..1000 {
            acme.renew(Some(Domain::parse("a.test").unwrap()));
            acme.change(AcmeSettings::new("/nonexistent".into()));
            acme.renew(None);
        }
        assert_eq!(woken.try_iter().count(), 1);
        let requested = acme.requested.lock().unwrap();
        assert_eq!(requested.renewed.len(), 1);
        assert!(requested.all_renewed && requested.settings.is_some());
    }
}
