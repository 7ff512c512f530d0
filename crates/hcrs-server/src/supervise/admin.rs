//! The commands of the admin interface.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hcrs_metrics::{
    Label as _, ServerFacts, SpanFacts, ThreadSnapshot, WorkerFacts, WorkerState, exposition,
};
use hcrs_status as status;
use tokio::sync::oneshot;

use super::configuration::Requester;
use super::event::Change;
use super::pool::Pool;
use super::signals::Stop;
use super::usage::Usage;
use super::workers::Worker;
use super::{Supervisor, notify};
use crate::origin::admin::{Call, Command, Reply};
use crate::{AppIndex, AppName};

/// How long a thread may take to report its metrics. Those of one that does not are missing.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(2);

impl Supervisor<'_> {
    /// Sets whether probes are told to send requests.
    pub(super) fn update_readiness(&self) {
        let have_enough = self.pools.iter().all(|pool| pool.is_leaving || self.has_enough_ready(pool));
        self.readiness.set(self.is_open && !self.is_drained && have_enough);
    }

    fn has_enough_ready(&self, pool: &Pool) -> bool {
        let ready = pool.workers.iter().filter(|(_, worker)| worker.state() == WorkerState::Ready).count();
        let wanted = self.settings.health.ready_workers.min(pool.slots.len());
        ready >= wanted.max(1)
    }

    /// Obeys a command that is obeyed at any time. Returns the change that another one asks for.
    pub(super) fn take_call(&mut self, Call { command, reply }: Call) -> Option<Change> {
        match command {
            Command::Status | Command::Event | Command::Metrics(_) => self.report(command, reply),
            Command::Dump => self.dump(reply),
            Command::Renew(domain) => {
                let _gone = reply.send(self.renew_certificates(domain));
            }
            Command::Reopen => {
                self.reopen_logs();
                let _gone = reply.send(Reply::text(200, "the logs were reopened"));
            }
            Command::Stop => {
                let _gone = reply.send(Reply::text(200, "the server is stopping"));
                return self
                    .stops
                    .counts(Stop::COMMAND, Instant::now())
                    .then_some(Change::Stop(Stop::COMMAND));
            }
            Command::Reload(None) => return self.begin_reload(Requester::Command(reply)),
            Command::Reload(Some(_)) | Command::Scale { .. } | Command::Drain(_) => {
                return Some(Change::Call(Call { command, reply }));
            }
        }
        None
    }

    /// Obeys a command that is obeyed while the server serves.
    pub(super) async fn obey(&mut self, Call { command, reply }: Call) {
        let done = |text: &str| Reply::text(200, text);
        let answer = match command {
            Command::Reload(Some(app)) => match self.pool_asked_for(Some(&app)) {
                Ok(_) if self.settings.embedder.is_some() => {
                    Reply::text(409, "there are no workers to replace")
                }
                Ok(at) => {
                    self.renew_all(at, "hcrs reload").await;
                    done(&format!("all workers of app {app} are being replaced"))
                }
                Err(why) => Reply::text(409, &why),
            },
            Command::Scale { workers, app } => match self.pool_asked_for(app.as_ref()) {
                Ok(at) => match self.scale_to(at, workers, "hcrs scale").await {
                    Ok(()) => done(&format!(
                        "the server runs {workers} workers{} from now on",
                        self.pools[at].suffix()
                    )),
                    Err(why) => Reply::text(409, why),
                },
                Err(why) => Reply::text(409, &why),
            },
            Command::Drain(is_drained) => {
                self.is_drained = is_drained;
                self.update_readiness();
                tracing::info!(
                    "Probes are told that the server is {}ready (hcrs drain)",
                    if is_drained { "not " } else { "" }
                );
                done(if is_drained {
                    "probes are told that the server is not ready; it still serves"
                } else {
                    "probes are told that the server is ready"
                })
            }
            // The others do not change what is served.
            _ => Reply::text(409, "the command is obeyed at any time"),
        };
        let _gone = reply.send(answer);
    }

    /// Returns the place of the pool that a command is for: that of the app which it names, or else that of the
    /// main or only app.
    fn pool_asked_for(&self, app: Option<&AppName>) -> Result<usize, String> {
        let serving = || self.pools.iter().filter(|pool| !pool.is_leaving);
        let names = || serving().map(|pool| pool.app.name.as_str()).collect::<Vec<_>>().join(", ");
        let default = || self.settings.default_app().map(|AppIndex(at)| &self.settings.apps[at].name);
        let pool = app.or_else(default).and_then(|name| self.pool_named(name));
        let found = pool.filter(|&at| !self.pools[at].is_leaving);
        found.ok_or_else(|| match (app, self.pools.is_empty()) {
            (_, true) => "there is no app".to_owned(),
            (Some(app), _) => format!("there is no app {app}; the apps are {}", names()),
            (None, _) => format!("name the app, which is one of {}", names()),
        })
    }

    /// Reports the state or the metrics, once all threads have sent theirs.
    fn report(&self, command: Command, reply: oneshot::Sender<Reply>) {
        let snapshots = self.edge.snapshots();
        let (mut status, facts) = (self.status(), self.facts());
        let seats: Vec<_> = self.workers_by_slot().iter().map(|&(_, seat)| seat).collect();
        tokio::spawn(async move {
            let mut threads = ThreadSnapshot::default();
            let until = tokio::time::Instant::now() + SNAPSHOT_TIMEOUT;
            for snapshot in snapshots {
                if let Ok(Ok(snapshot)) = tokio::time::timeout_at(until, snapshot).await {
                    threads.merge(snapshot);
                }
            }
            let (content_type, body) = if let Command::Metrics(format) = command {
                (format.content_type(), exposition(format, &threads, &facts))
            } else {
                fill(&mut status, &seats, threads);
                match command {
                    Command::Event => {
                        // In milliseconds: when the browser asks for the next one.
                        ("text/event-stream", format!("retry: 1000\ndata: {}\n\n", status.to_json()))
                    }
                    _ => ("application/json", status.to_json() + "\n"),
                }
            };
            let _gone = reply.send(Reply { status: 200, content_type, body });
        });
    }

    /// Returns what the supervisor knows of the state.
    fn status(&self) -> status::Status {
        let now = Instant::now();
        let since = |at: Instant| now.saturating_duration_since(at).as_secs_f64();
        let worker = |(worker, _): (&Worker, usize)| {
            let usage = Usage::of(worker.pid);
            status::Worker {
                app: worker.app.to_string(),
                slot: worker.slot + 1,
                pid: worker.pid,
                state: worker.state().as_str().to_owned(),
                uptime: since(worker.started_at),
                rss: usage.resident,
                cpu: usage.processor.map(|time| time.as_secs_f64()),
                ..status::Worker::default()
            }
        };
        status::Status {
            server: status::Server {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                pid: std::process::id(),
                app: self.settings.apps.first().map(|app| app.path.clone()),
                state: match () {
                    () if !self.is_open => status::State::Starting,
                    () if self.is_drained => status::State::Draining,
                    () if self.readiness.is_ready() => status::State::Serving,
                    () => status::State::NotReady,
                },
                uptime: since(self.started_at),
                workers: self.pools.iter().map(|pool| pool.slots.len()).sum(),
                threads: self.edge.len(),
                rss: Usage::of(std::process::id()).resident,
            },
            listeners: self.addresses(),
            apps: self.pools.iter().filter(|pool| !pool.is_leaving).map(app_status).collect(),
            workers: self.workers_by_slot().into_iter().map(worker).collect(),
            acme: self.named_certificates(),
            certificates: self.certificates.as_ref().map(super::Certificates::facts).unwrap_or_default(),
            ..status::Status::default()
        }
    }

    /// Returns the workers by app and slot, each with the number of its slot over all apps.
    fn workers_by_slot(&self) -> Vec<(&Worker, usize)> {
        let mut all = Vec::new();
        for pool in &self.pools {
            let mut workers: Vec<_> = pool.workers.iter().map(|(_, worker)| worker).collect();
            workers.sort_by_key(|worker| (worker.slot, worker.id));
            let seat = |worker: &Worker| self.seats.find(&worker.app, worker.slot).unwrap_or_default();
            all.extend(workers.into_iter().map(|worker| (worker, seat(worker))));
        }
        all
    }

    /// Returns the addresses, each of which has a socket for each thread.
    fn addresses(&self) -> Vec<status::Listener> {
        let mut addresses: Vec<status::Listener> = Vec::new();
        for listener in &self.listeners {
            if !addresses.iter().any(|known| known.url == listener.address) {
                addresses.push(status::Listener { url: listener.address.clone(), admin: false });
            }
        }
        let quic = self.quic.iter();
        addresses.extend(quic.map(|bound| status::Listener { url: bound.address.clone(), admin: false }));
        let admin = self.admin.iter();
        addresses
            .extend(admin.map(|listener| status::Listener { url: listener.address.clone(), admin: true }));
        addresses
    }

    fn facts(&self) -> ServerFacts {
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let workers = self.workers_by_slot().into_iter().map(|(worker, seat)| WorkerFacts {
            slot: seat,
            state: worker.state(),
            resident_bytes: Usage::of(worker.pid).resident,
        });
        ServerFacts {
            version: env!("CARGO_PKG_VERSION"),
            started: started.saturating_sub(self.started_at.elapsed()),
            slots: self.seats.names().to_vec(),
            workers: workers.collect(),
            restarts: self.restarts.clone(),
            certificates: self.named_certificate_facts(),
            spans: self.spans.as_ref().map_or_else(SpanFacts::default, |totals| SpanFacts {
                exported: totals.exported(),
                dropped: totals.dropped(),
            }),
        }
    }

    /// Opens the log files again.
    pub(super) fn reopen_logs(&self) {
        for log in self.logs.iter().flatten() {
            log.reopen();
        }
    }

    /// Notes that connections are accepted.
    pub(super) fn note_open(&mut self) {
        self.is_open = true;
        self.update_readiness();
        self.start_acme();
        self.notify(notify::State::Ready);
    }
}

/// Returns what the supervisor knows of an app.
fn app_status(pool: &Pool) -> status::App {
    let is_ready = |worker: &Worker| worker.state() == WorkerState::Ready;
    status::App {
        name: pool.app.name.to_string(),
        path: pool.app.path.clone(),
        workers: pool.slots.len(),
        ready: pool.workers.iter().filter(|(_, worker)| is_ready(worker)).count(),
        queue: 0,
    }
}

/// Adds what the threads know. `seats` are the numbers of the workers' slots over all apps.
fn fill(status: &mut status::Status, seats: &[usize], threads: ThreadSnapshot) {
    let totals = threads.counters.totals();
    for (worker, &seat) in status.workers.iter_mut().zip(seats) {
        if let Some(slot) = totals.slots.get(seat) {
            (worker.requests, worker.in_flight) = (slot.requests, slot.streams);
        }
    }
    for app in &mut status.apps {
        app.queue = threads.queues.get(&app.name).map_or(0, |queue| queue.length);
    }
    status.queue =
        status::Queue { length: threads.queue_length, bytes: threads.queue_bytes, shed: totals.shed };
    status.connections = status::Connections {
        open: totals.open.iter().map(|(_, open)| open).sum(),
        by_protocol: totals.open.iter().map(|(of, open)| (of.as_str().to_owned(), *open)).collect(),
        accepted: totals.accepted,
        handshakes: totals.handshakes,
        failed_handshakes: totals.failed_handshakes,
    };
    let mut before = 0;
    let counts = totals.duration.cumulative().map(|(_, sum)| {
        let count = sum - before;
        before = sum;
        count
    });
    let counts = counts.collect();
    let bounds = totals.duration.cumulative().filter_map(|(bound, _)| bound);
    status.requests = status::Requests {
        in_flight: threads.in_flight(),
        total: totals.by_status.iter().map(|(_, count)| count).sum(),
        by_status: totals.by_status.iter().map(|(of, count)| (of.as_str().to_owned(), *count)).collect(),
        by_protocol: totals.by_protocol.iter().map(|(of, count)| (of.as_str().to_owned(), *count)).collect(),
        latency: status::Latency {
            bounds: bounds.map(|nanos| Duration::from_nanos(nanos).as_secs_f64()).collect(),
            counts,
        },
        bytes_received: threads.counters.received_bytes.get(),
        bytes_sent: threads.counters.sent_bytes.get(),
    };
    status.in_flight = threads
        .requests
        .into_iter()
        .map(|request| status::Request {
            worker: request.worker.map(|worker| worker.pid),
            thread: request.thread,
            conn: request.connection,
            stream: request.stream,
            protocol: request.protocol.as_str().to_owned(),
            method: request.method,
            path: request.path,
            age: request.age.as_secs_f64(),
            stage: request.stage.as_str().to_owned(),
        })
        .collect();
}
