//! A template's process: passes it one order after the other, and reports what becomes of them.

use std::collections::VecDeque;
use std::io;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{RecvFlags, recv};
use rustix::process::Pid;
use socket2::SockRef;
use tokio::net::UnixStream;
use tokio::process::Child;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;

use super::messages::{Fork, Report, Reports, Seat};
use super::{Forked, Outcome};
use crate::origin::app::{WorkerEvent, WorkerId};
use crate::supervise::adopted::{Adoptions, Expected};
use crate::supervise::event::Event;
use crate::supervise::output::Forwarding;
use crate::supervise::signals;
use crate::supervise::worker::{self, WorkerEnds};
use crate::thread::control::LinkEnd;

/// How long a template may take to end when no more workers are to be forked from it.
const EXIT_TIMEOUT: Duration = Duration::from_secs(2);
/// The bytes of reports that are read at once.
const READ: usize = 4096;

/// An order to fork a worker.
#[derive(Debug)]
pub(super) struct Order {
    pub worker: WorkerId,
    pub seat: Seat,
    /// The edge's ends of its links.
    pub links: Vec<LinkEnd>,
    /// Its own ends.
    pub ends: WorkerEnds,
    pub crash: OwnedFd,
    pub outcome: oneshot::Sender<Outcome>,
}

/// An order that the template has got.
#[derive(Debug)]
struct SentOrder {
    worker: WorkerId,
    links: Vec<LinkEnd>,
    outcome: oneshot::Sender<Outcome>,
    expected: Expected,
}

/// A template, and the supervisor's end of its socket.
#[derive(Debug)]
pub(super) struct TemplateProcess {
    pub pid: u32,
    pub child: Child,
    /// Logs its output, if that is captured.
    pub output: Option<Forwarding>,
    pub socket: UnixStream,
    pub crash: OwnedFd,
    pub orders: mpsc::Receiver<Order>,
    pub kill: Arc<Notify>,
    pub events: mpsc::Sender<Event>,
    pub adoptions: Adoptions,
}

/// The progress of a template.
#[derive(Debug, Default)]
struct Progress {
    reports: Reports,
    /// Whether it has loaded the app.
    is_loaded: bool,
    /// Why it cannot load the app.
    failure: Option<String>,
    waiting: VecDeque<Order>,
    sent: Option<SentOrder>,
    /// Whether no more workers are to be forked from it.
    is_dismissed: bool,
    /// Whether it has closed its socket.
    is_closed: bool,
    /// When it is killed.
    exit_by: Option<Instant>,
}

impl TemplateProcess {
    /// Serves the template until it has ended.
    pub(super) async fn run(mut self) {
        let mut progress = Progress::default();
        let status = loop {
            self.send_next(&mut progress);
            let overdue = async {
                match progress.exit_by {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                order = self.orders.recv(), if !progress.is_dismissed => match order {
                    Some(order) => self.take(order, &mut progress).await,
                    None => self.dismiss(&mut progress),
                },
                readable = self.socket.readable(), if !progress.is_closed => {
                    progress.is_closed = readable.is_err();
                    self.read(&mut progress).await;
                }
                status = self.child.wait() => break status,
                () = self.kill.notified() => self.kill(),
                () = overdue => {
                    progress.exit_by = None;
                    self.kill();
                }
            }
        };
        self.drain(&mut progress).await;
        if let Some(output) = self.output.take() {
            output.finish().await;
        }
        self.end(status, progress).await;
    }

    /// Sends the next order, if the template can take it.
    fn send_next(&mut self, progress: &mut Progress) {
        if !progress.is_loaded || progress.sent.is_some() {
            return;
        }
        let Some(Order { worker, seat, links, ends, crash, outcome }) = progress.waiting.pop_front() else {
            return;
        };
        let order = Fork {
            worker,
            seat,
            has_loaded_files: ends.loaded_files.is_some(),
            has_pulse: ends.pulse.is_some(),
            has_output: ends.output.is_some(),
        };
        let expected = self.adoptions.expect();
        progress.sent = Some(SentOrder { worker, links, outcome, expected });
        if let Err(error) = order.send(&self.socket, &ends.descriptors(&crash)) {
            // If it has ended, that is what is reported.
            tracing::debug!("Template {} gets no orders: {error}", self.pid);
            self.kill();
        }
    }

    async fn take(&mut self, order: Order, progress: &mut Progress) {
        if let Some(why) = &progress.failure {
            self.report_failure(order.worker, why).await;
        }
        progress.waiting.push_back(order);
    }

    /// Lets the template end: no more workers are to be forked from it.
    fn dismiss(&mut self, progress: &mut Progress) {
        progress.is_dismissed = true;
        if progress.is_loaded {
            progress.exit_by = Some(Instant::now() + EXIT_TIMEOUT);
            let _gone = SockRef::from(&self.socket).shutdown(Shutdown::Write);
        } else {
            self.kill();
        }
    }

    fn kill(&mut self) {
        let _ended = self.child.start_kill();
    }

    /// Reads what the template has reported.
    async fn read(&mut self, progress: &mut Progress) {
        let mut bytes = [0; READ];
        loop {
            match self.socket.try_read(&mut bytes) {
                Ok(0) => progress.is_closed = true,
                Ok(length) => {
                    progress.reports.push(&bytes[..length]);
                    self.note_reports(progress).await;
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => progress.is_closed = true,
            }
            return;
        }
    }

    /// Reads what a template has reported that has ended.
    async fn drain(&mut self, progress: &mut Progress) {
        let mut bytes = [0; READ];
        while let Ok((length @ 1.., _)) = recv(&self.socket, &mut bytes[..], RecvFlags::DONTWAIT) {
            progress.reports.push(&bytes[..length]);
            self.note_reports(progress).await;
        }
    }

    async fn note_reports(&mut self, progress: &mut Progress) {
        loop {
            match progress.reports.next() {
                Ok(Some(report)) => self.note(report, progress).await,
                Ok(None) => return,
                Err(error) => {
                    tracing::error!("Killing template {}: {error}", self.pid);
                    progress.is_closed = true;
                    return self.kill();
                }
            }
        }
    }

    async fn note(&mut self, report: Report, progress: &mut Progress) {
        match report {
            Report::Loaded => {
                tracing::info!("The app is loaded; workers are forked from process {}", self.pid);
                progress.is_loaded = true;
            }
            Report::Failed(why) => {
                let sent = progress.sent.iter().map(|order| order.worker);
                let workers: Vec<_> = sent.chain(progress.waiting.iter().map(|order| order.worker)).collect();
                if workers.is_empty() {
                    tracing::error!(traceback = why.as_str(), "Template {} has failed", self.pid);
                }
                for worker in workers {
                    self.report_failure(worker, &why).await;
                }
                progress.failure = Some(why);
            }
            Report::Forked(worker, pid) => {
                let (Some(order), Some(pid)) =
                    (progress.sent.take_if(|order| order.worker == worker), Pid::from_raw(pid))
                else {
                    return;
                };
                let SentOrder { mut links, outcome, expected, .. } = order;
                let child = expected.arrived(pid);
                let pid = child.pid();
                worker::set_pid(&mut links, pid);
                self.send(Event::Forked(worker, Some(Forked { pid, links }))).await;
                // If it is no longer waited for, it is killed.
                let _given_up = outcome.send(Outcome::Forked(child));
            }
            Report::NotForked(worker, why) => {
                if let Some(order) = progress.sent.take_if(|order| order.worker == worker) {
                    self.report_failure(worker, &why).await;
                    self.send(Event::Forked(worker, None)).await;
                    let _given_up = order.outcome.send(Outcome::NotForked(io::Error::other(why)));
                }
            }
        }
    }

    /// Reports the end of the template, and of the workers that were not forked.
    async fn end(mut self, status: io::Result<ExitStatus>, progress: Progress) {
        let Progress { sent, mut waiting, failure, is_loaded, is_dismissed, .. } = progress;
        self.orders.close();
        while let Ok(order) = self.orders.try_recv() {
            if let Some(why) = &failure {
                self.report_failure(order.worker, why).await;
            }
            waiting.push_back(order);
        }
        if let Some(stack) = worker::crash_of(&self.crash) {
            tracing::error!(traceback = stack, "Template {} has crashed:", self.pid);
        }
        if is_loaded && !is_dismissed {
            let end =
                status.as_ref().map_or_else(|_| "has ended".to_owned(), |&status| signals::describe(status));
            tracing::error!("Template {} {end}; the next worker is forked from a new one", self.pid);
        }
        let lost = sent.into_iter().map(|order| (order.worker, order.outcome));
        for (worker, outcome) in lost.chain(waiting.into_iter().map(|order| (order.worker, order.outcome))) {
            self.send(Event::Forked(worker, None)).await;
            let _given_up = outcome.send(match &status {
                Ok(status) => Outcome::TemplateEnded(*status),
                Err(error) => Outcome::NotForked(io::Error::other(error.to_string())),
            });
        }
    }

    async fn report_failure(&self, worker: WorkerId, why: &str) {
        self.send(Event::Worker(worker, WorkerEvent::Failed(why.to_owned()))).await;
    }

    async fn send(&self, event: Event) {
        let _supervisor_gone = self.events.send(event).await;
    }
}
