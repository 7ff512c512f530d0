//! Templates, with `preload`: a process that has loaded the app and forks the workers from itself.
//!
//! The workers share its memory as long as they do not write to it, and are forked within milliseconds. A
//! request for new code (SIGHUP, a changed file) starts a new template. The old one is kept until the new one
//! has proven itself by a worker that is ready, and ends when its last worker has ended, because the app may
//! have started processes in it that its workers use.
//!
//! A template that dies takes no worker with it: the workers are children of this process, which adopts them
//! ([`adopted`](super::adopted)). The next worker is forked from a new one.

mod messages;
mod process;

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::net::UnixStream;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::unix::pipe;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinSet;

use self::messages::Seat;
use self::process::{Order, TemplateProcess};
use super::adopted::{AdoptedChild, Adoptions};
use super::event::Event;
use super::output::{self, Forwarding};
use super::worker::{self, Ends, Plan, Process, Started};
use super::workers::Worker;
use super::{Supervisor, reload};
use crate::origin::app::WorkerId;
use crate::process_title;
use crate::thread::control::LinkEnd;

/// The most workers that may wait to be forked from one template.
const ORDERS: usize = 1 << 10;
/// How long all templates may take to end with the server.
const END_TIMEOUT: Duration = Duration::from_secs(3);

/// The templates that workers are forked from.
#[derive(Debug)]
pub(super) struct Templates {
    /// The one from which a worker was forked that became ready.
    proven: Option<Template>,
    /// The newest one, until it has proven itself.
    fresh: Option<Fresh>,
    /// Whether new code was requested since the proven one was started.
    is_outdated: bool,
    adoptions: Adoptions,
    tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Fresh {
    template: Template,
    /// The workers that were ordered from it.
    workers: BTreeSet<WorkerId>,
}

/// A handle of a template, which ends when its last handle is dropped.
#[derive(Debug, Clone)]
struct Template {
    pid: u32,
    orders: mpsc::Sender<Order>,
    /// Triggered to kill it.
    kill: Arc<Notify>,
}

/// A worker that was forked.
#[derive(Debug)]
pub(super) struct Forked {
    /// The process id.
    pub pid: u32,
    /// The edge's end of each link, by thread.
    pub links: Vec<LinkEnd>,
}

impl Templates {
    /// Returns an empty set of templates.
    pub(super) fn new(adoptions: Adoptions) -> Self {
        Self { proven: None, fresh: None, is_outdated: false, adoptions, tasks: JoinSet::new() }
    }

    /// Orders a worker, and starts a template for it if there is none. Its process id and its links follow with
    /// [`Event::Forked`]. One that replaces another worker is to run the newest code.
    pub(super) fn start(
        &mut self,
        plan: &Plan<'_>,
        id: WorkerId,
        is_replacement: bool,
        events: &mpsc::Sender<Event>,
    ) -> io::Result<Started> {
        let template = self.choose(plan, id, is_replacement, events)?;
        let Ends { links, loaded, pulse, crash, output, theirs } = Ends::create(plan, id)?;
        let (outcome, forked) = oneshot::channel();
        let order = Order {
            worker: id,
            seat: Seat::of(plan),
            links,
            ends: theirs,
            crash: crash.try_clone()?,
            outcome,
        };
        if template.orders.try_send(order).is_err() {
            return Err(io::Error::other("the template takes no more orders"));
        }
        let pid = template.pid;
        let process = Process::Forked(ForkedWorker { template, forked });
        Ok(Started { pid, links: Vec::new(), process, loaded, pulse, crash, output })
    }

    /// Requests a template with new code for replacements. The proven one is kept for workers that die meanwhile.
    pub(super) fn renew(&mut self) {
        self.fresh = None;
        self.is_outdated = true;
    }

    /// Notes that a worker is ready.
    pub(super) fn ready(&mut self, id: WorkerId) {
        if let Some(fresh) = self.fresh.take_if(|fresh| fresh.workers.contains(&id)) {
            self.proven = Some(fresh.template);
            self.is_outdated = false;
        }
    }

    /// Forks no more workers from these templates, each of which ends with its last worker.
    pub(super) fn close(&mut self) {
        self.proven = None;
        self.fresh = None;
    }

    /// Waits for the end of all templates, whose workers have ended, and kills those that do not end.
    pub(super) async fn end(&mut self) {
        self.close();
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(END_TIMEOUT, all).await.is_err() {
            self.tasks.shutdown().await;
        }
    }

    fn choose(
        &mut self,
        plan: &Plan<'_>,
        id: WorkerId,
        is_replacement: bool,
        events: &mpsc::Sender<Event>,
    ) -> io::Result<Template> {
        let may_be_old = !(self.is_outdated && is_replacement);
        if let Some(proven) = self.proven.as_ref().filter(|proven| may_be_old && proven.is_alive()) {
            return Ok(proven.clone());
        }
        let fresh = match self.fresh.take().filter(|fresh| fresh.template.is_alive()) {
            Some(fresh) => fresh,
            None => Fresh { template: self.spawn(plan, events)?, workers: BTreeSet::new() },
        };
        let fresh = self.fresh.insert(fresh);
        fresh.workers.insert(id);
        Ok(fresh.template.clone())
    }

    /// Starts a template.
    fn spawn(&mut self, plan: &Plan<'_>, events: &mpsc::Sender<Event>) -> io::Result<Template> {
        while self.tasks.try_join_next().is_some() {}
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let crash = worker::crash_file()?;
        let (loaded, loaded_files) = match plan.app.use_reloader.then(io::pipe).transpose()? {
            Some((loaded, loaded_files)) => (Some(loaded), Some(loaded_files)),
            None => (None, None),
        };
        let mut command = worker::command(plan);
        command.args(worker::program(plan));
        command.args(["--template", &theirs.as_raw_fd().to_string()]);
        command.args(["--crash", &crash.as_raw_fd().to_string()]);
        if let Some(loaded_files) = &loaded_files {
            command.args(["--loaded-files", &loaded_files.as_raw_fd().to_string()]);
        }
        let [title, comm] = process_title::of_template(plan.proc_name, plan.app);
        command.args(["--title", &title, "--comm", &comm]);
        command.args(worker::app_arguments(plan));
        let inherited: Vec<_> = [Some(theirs.as_fd()), Some(crash.as_fd())]
            .into_iter()
            .chain([loaded_files.as_ref().map(|pipe| pipe.as_fd())])
            .flatten()
            .collect();
        let output = match plan.capture.map(|_| output::pipe()).transpose()? {
            Some((output, written)) => {
                worker::write_into(&mut command, written)?;
                Some(output)
            }
            None => None,
        };
        let child = worker::spawn(plan, command, &inherited)?;
        let pid = worker::pid_of(&child)?;
        if let Some(loaded) = loaded {
            reload::listen(loaded, plan.app.name.clone(), events.clone())?;
        }
        let (orders, received) = mpsc::channel(ORDERS);
        let template = Template { pid, orders, kill: Arc::default() };
        let socket = tokio::net::UnixStream::from_std(ours)?;
        let process = TemplateProcess {
            pid,
            child,
            output: output.map(|pipe| Forwarding::start(pipe, pid)),
            socket,
            crash,
            orders: received,
            kill: Arc::clone(&template.kill),
            events: events.clone(),
            adoptions: self.adoptions.clone(),
        };
        self.tasks.spawn(process.run());
        Ok(template)
    }
}

impl Template {
    fn is_alive(&self) -> bool {
        !self.orders.is_closed()
    }
}

/// The result of an order to fork a worker.
#[derive(Debug)]
enum Outcome {
    /// The worker was forked.
    Forked(AdoptedChild),
    /// The template has ended before that.
    TemplateEnded(ExitStatus),
    /// The template could not fork it.
    NotForked(io::Error),
}

/// A worker that is forked from a template. It keeps the template alive.
#[derive(Debug)]
pub(super) struct ForkedWorker {
    template: Template,
    forked: oneshot::Receiver<Outcome>,
}

impl ForkedWorker {
    /// Waits for the end of the worker, and kills it once `kill` is triggered. If it was not forked by then,
    /// the template hangs and is killed; its end is the worker's.
    pub(super) async fn wait(
        self,
        output: Option<pipe::Receiver>,
        kill: oneshot::Receiver<()>,
    ) -> io::Result<ExitStatus> {
        let Self { template, mut forked } = self;
        let mut kill = Some(kill);
        let mut is_killed = false;
        let outcome = loop {
            let killed = async {
                match &mut kill {
                    Some(kill) => kill.await.is_ok(),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                outcome = &mut forked => break outcome,
                is_ordered = killed => {
                    kill = None;
                    if is_ordered {
                        is_killed = true;
                        template.kill.notify_one();
                    }
                }
            }
        };
        match outcome {
            Ok(Outcome::Forked(child)) => {
                if is_killed {
                    child.kill();
                }
                let forwarding = output.map(|pipe| Forwarding::start(pipe, child.pid()));
                let status = child.wait(kill).await;
                if let Some(forwarding) = forwarding {
                    forwarding.finish().await;
                }
                status
            }
            Ok(Outcome::TemplateEnded(status)) => Ok(status),
            Ok(Outcome::NotForked(error)) => Err(error),
            Err(_) => Err(io::Error::other("the template was given up")),
        }
    }
}

impl Supervisor<'_> {
    /// Waits for the end of the templates of all apps.
    pub(super) async fn end_templates(&mut self) {
        for pool in &mut self.pools {
            pool.templates.end().await;
        }
    }

    /// Attaches a worker that was forked. Without one there are no links whose end is to be awaited.
    pub(super) async fn attach_forked(&mut self, id: WorkerId, forked: Option<Forked>) {
        if let Some(pool) = self.pool_with(id) {
            match &forked {
                Some(forked) => pool.workers.set_pid(id, forked.pid),
                None => pool.workers.has_no_links(id),
            }
        }
        let Some(Forked { links, .. }) = forked else { return };
        self.edge.attach(links).await;
        if self.worker(id).is_some_and(Worker::is_retired) {
            // It was superseded before the threads knew it.
            self.retire(id).await;
        }
    }
}
