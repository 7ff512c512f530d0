//! Which worker gets a request, and how long it waits for one.
//!
//! A request goes to the worker with the fewest streams under way among those that have a start credit. While
//! none has one, requests wait in one bounded queue, in order, until a worker makes progress or the queue's deadline
//! has passed. A request that a worker leaves unbegun for too long is taken back and given to another.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Instant;

use hcrs_exchange::Fault;
use tokio::sync::Notify;

use crate::clock;
use crate::control::WorkerId;
use crate::exchange::Exchange;
use crate::link::Link;
use crate::settings::DispatchSettings;

/// The links of one edge thread and the requests that wait for them.
#[derive(Debug)]
pub(crate) struct Dispatch {
    settings: DispatchSettings,
    links: RefCell<Vec<Rc<Link>>>,
    queue: RefCell<VecDeque<Rc<Exchange>>>,
    /// Whether somebody waits to be told of the next submission.
    asleep: Cell<bool>,
    stirred: Notify,
}

impl Dispatch {
    pub(crate) fn new(settings: DispatchSettings) -> Self {
        Self {
            settings,
            links: RefCell::default(),
            queue: RefCell::default(),
            asleep: Cell::new(false),
            stirred: Notify::new(),
        }
    }

    /// Gives the request to a worker, or lets it wait for one. Fails it if too many wait.
    pub(crate) fn submit(&self, exchange: &Rc<Exchange>, now: Instant) {
        self.stir();
        if self.queue.borrow().is_empty()
            && let Some(link) = self.pick(None)
        {
            return link.start(exchange, now);
        }
        if self.queue.borrow().len() >= self.settings.queue_size {
            self.queue.borrow_mut().retain(|waiting| !waiting.is_over());
        }
        if self.queue.borrow().len() >= self.settings.queue_size {
            return exchange.fail(Fault::QueueFull);
        }
        self.queue.borrow_mut().push_back(Rc::clone(exchange));
    }

    /// Gives waiting requests to workers that have start credits.
    pub(crate) fn pump(&self, now: Instant) {
        while !self.queue.borrow().is_empty() {
            let Some(link) = self.pick(None) else { return };
            let next = self.queue.borrow_mut().pop_front();
            if let Some(exchange) = next {
                link.start(&exchange, now);
            }
        }
    }

    /// Fails what has waited too long, and takes back what workers leave unbegun while others could take it.
    pub(crate) fn tick(&self, now: Instant) {
        loop {
            let expired = match self.queue.borrow().front() {
                Some(front) if front.is_over() => None,
                Some(front)
                    if now.saturating_duration_since(front.since()) >= self.settings.queue_timeout =>
                {
                    Some(Rc::clone(front))
                }
                _ => break,
            };
            self.queue.borrow_mut().pop_front();
            if let Some(exchange) = expired {
                exchange.fail(Fault::QueueTimeout);
            }
        }
        self.rescue_stalled(now);
        self.pump(now);
    }

    fn rescue_stalled(&self, now: Instant) {
        let Some(before) = now.checked_sub(self.settings.stall_timeout) else { return };
        let links = self.links.borrow().clone();
        for link in &links {
            if !link.has_unbegun() || self.pick(Some(link.worker())).is_none() {
                continue;
            }
            let stalled = link.withdraw_stalled(before);
            for exchange in stalled {
                match self.pick(Some(link.worker())) {
                    Some(other) => other.start(&exchange, now),
                    None => self.queue.borrow_mut().push_front(exchange),
                }
            }
        }
    }

    /// Whether [`Dispatch::tick`] has anything to look after.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.queue.borrow().is_empty() || self.links.borrow().iter().any(|link| link.has_unbegun())
    }

    /// Waits for the next submission, or another reason to look again.
    pub(crate) async fn waiting(&self) {
        self.asleep.set(true);
        self.stirred.notified().await;
    }

    /// Ends [`Dispatch::waiting`].
    pub(crate) fn stir(&self) {
        if self.asleep.replace(false) {
            self.stirred.notify_one();
        }
    }

    /// Gives waiting requests to workers, if any wait.
    pub(crate) fn pump_if_waiting(&self) {
        if !self.queue.borrow().is_empty() {
            self.pump(clock::now());
        }
    }

    /// A worker was started.
    pub(crate) fn attach(&self, link: Rc<Link>) {
        self.links.borrow_mut().push(link);
    }

    /// A worker is gone; what it had not begun goes to the front of the queue.
    pub(crate) fn detach(&self, link: &Rc<Link>, unbegun: Vec<Rc<Exchange>>, now: Instant) {
        self.links.borrow_mut().retain(|other| !Rc::ptr_eq(other, link));
        self.put_back(unbegun, now);
    }

    fn put_back(&self, withdrawn: Vec<Rc<Exchange>>, now: Instant) {
        for exchange in withdrawn.into_iter().rev() {
            self.queue.borrow_mut().push_front(exchange);
        }
        self.pump(now);
    }

    /// A worker gets no more requests; what it has not begun goes to the front of the queue. Gives its link.
    pub(crate) fn retire(&self, worker: WorkerId, now: Instant) -> Option<Rc<Link>> {
        let link = self.link_to(worker)?;
        link.retire();
        let mut unbegun = link.withdraw_stalled(now);
        unbegun.sort_by_key(|exchange| exchange.since());
        self.put_back(unbegun, now);
        Some(link)
    }

    /// A worker's process has ended: its link ends as soon as it has been read empty.
    pub(crate) fn lost(&self, worker: WorkerId) {
        if let Some(link) = self.link_to(worker) {
            link.worker_has_ended();
        }
    }

    /// Logs which requests a worker has under way.
    pub(crate) fn describe(&self, worker: WorkerId, now: Instant) {
        if let Some(link) = self.link_to(worker) {
            link.describe(now);
        }
    }

    fn link_to(&self, worker: WorkerId) -> Option<Rc<Link>> {
        self.links.borrow().iter().find(|link| link.worker() == worker).map(Rc::clone)
    }

    /// Says `Drain` over every link.
    pub(crate) fn drain(&self) {
        for link in &*self.links.borrow() {
            link.send_drain();
        }
    }

    fn pick(&self, not: Option<WorkerId>) -> Option<Rc<Link>> {
        let links = self.links.borrow();
        let eligible = links.iter().filter(|link| Some(link.worker()) != not && link.has_start_credit());
        eligible.min_by_key(|link| link.under_way()).map(Rc::clone)
    }
}
