//! The choice of a worker for each request, and the time that requests wait for one.
//!
//! A request goes to the worker with the fewest streams in flight among those that have a start credit and
//! are not suspect. While there is none, requests wait in one bounded queue until a worker makes progress or
//! their deadline passes. The oldest is served first or, under [pressure](super::pressure), the newest. The
//! deadline of a request counts from its arrival until a worker begins it, wherever it waits.
//!
//! A worker that leaves a request unbegun for the stall timeout, and sends, begins and passes nothing
//! meanwhile, is *suspect*: it gets no more requests until it does. Requests that it has not begun return to
//! the queue if a healthy worker has nothing to begin, or else once the stall has lasted several times as
//! long. So a request moves only to a worker that has made progress since the stall began, and while all
//! workers are blocked nothing moves.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hcrs_http::Fault;
use hcrs_metrics::{QueueFacts, Stalls, ThreadSnapshot};

use crate::clock;
use crate::exchange::Exchange;
use crate::exchange::backlog::Backlog;
#[cfg(test)]
use crate::model::planted::{self, Planted};
use crate::origin::app::WorkerId;
use crate::origin::app::link::Link;
use crate::origin::app::pressure::{Counts, Pressure};
use crate::origin::app::tick_waker::TickWaker;
use crate::settings::DispatchSettings;

/// The number of stall timeouts after which unbegun requests leave a worker even if every other worker has
/// requests of its own to begin.
const LONG_STALL: u32 = 10;

/// How long after its client has closed its side a request still waits to be begun.
pub(crate) const HALF_CLOSED_PATIENCE: Duration = Duration::from_millis(100);

/// The links of one edge thread and the requests that wait for them.
#[derive(Debug)]
pub(crate) struct Dispatch {
    settings: Cell<DispatchSettings>,
    links: RefCell<Vec<Rc<Link>>>,
    /// The index where the search for a worker begins, so that ties rotate.
    first: Cell<usize>,
    /// Requests that wait for a worker, in order of arrival.
    queue: RefCell<VecDeque<Rc<Exchange>>>,
    /// The bytes held by requests that no worker has begun, in the queue and in the links.
    backlog: Rc<Backlog>,
    /// The stalls of links that have ended.
    ended_stalls: Stalls,
    /// The number of requests that have arrived.
    arrived: Cell<u64>,
    pressure: RefCell<Pressure>,
    /// Woken when there may be something to do for [`Dispatch::tick`].
    waker: Rc<TickWaker>,
}

impl Dispatch {
    /// Returns a dispatch without links. It wakes `waker` when there is something to do for [`Dispatch::tick`].
    pub(crate) fn new(settings: DispatchSettings, waker: Rc<TickWaker>) -> Self {
        let backlog = Backlog::new(settings.queue_bytes);
        let pressure = RefCell::new(Pressure::new(settings.queue_timeout));
        Self {
            settings: Cell::new(settings),
            links: RefCell::default(),
            first: Cell::new(0),
            queue: RefCell::default(),
            backlog,
            ended_stalls: Stalls::default(),
            arrived: Cell::new(0),
            pressure,
            waker,
        }
    }

    /// Replaces the settings, for requests that wait too. Links keep their start credits.
    pub(crate) fn apply(&self, settings: DispatchSettings) {
        self.backlog.set_max(settings.queue_bytes);
        if settings.queue_timeout != self.settings.get().queue_timeout {
            self.pressure.replace(Pressure::new(settings.queue_timeout));
        }
        self.settings.set(settings);
        self.waker.wake();
    }

    /// Sends the request to a worker, or queues it. Fails it if the queue or the backlog is full.
    pub(crate) fn submit(&self, exchange: &Rc<Exchange>, now: Instant) {
        self.waker.wake();
        self.arrived.set(self.arrived.get() + 1);
        if !exchange.join(&self.backlog) {
            return exchange.fail(Fault::QueueFull);
        }
        if self.queue.borrow().is_empty()
            && let Some(link) = self.pick(now)
        {
            return link.start(exchange, now);
        }
        let queue_size = self.settings.get().queue_size;
        #[cfg(test)]
        let queue_size = planted::queue_size(queue_size);
        if self.queue.borrow().len() >= queue_size {
            self.queue.borrow_mut().retain(|waiting| !waiting.is_over());
        }
        if self.queue.borrow().len() >= queue_size {
            return exchange.fail(Fault::QueueFull);
        }
        self.queue.borrow_mut().push_back(Rc::clone(exchange));
    }

    /// Sends queued requests to workers that have start credits.
    pub(crate) fn pump(&self, now: Instant) {
        while !self.queue.borrow().is_empty() {
            let Some(link) = self.pick(now) else { return };
            let is_newest_first = self.pressure.borrow().is_on();
            #[cfg(test)]
            let is_newest_first = is_newest_first && !planted::is(Planted::OldestFirst);
            let mut queue = self.queue.borrow_mut();
            let next = if is_newest_first { queue.pop_back() } else { queue.pop_front() };
            drop(queue);
            if let Some(exchange) = next {
                link.start(&exchange, now);
            }
        }
    }

    /// Fails requests whose deadline has passed, takes requests back from stalled workers while others could
    /// begin them, and refuses late requests under pressure.
    pub(crate) fn tick(&self, now: Instant) {
        self.expire(now);
        self.rescue(now);
        self.measure(now);
        self.shed(now);
        self.pump(now);
    }

    /// Fails requests whose deadline has passed, and unbegun ones whose client has closed its side.
    fn expire(&self, now: Instant) {
        let arrived_before = now.checked_sub(self.settings.get().queue_timeout);
        let closed_before = now.checked_sub(HALF_CLOSED_PATIENCE);
        let is_due = |exchange: &Exchange| {
            arrived_before.is_some_and(|before| exchange.arrived() <= before)
                || closed_before.is_some_and(|before| exchange.is_half_closed_since(before))
        };
        let mut due = Vec::new();
        self.queue.borrow_mut().retain(|exchange| {
            let is_due = is_due(exchange);
            if is_due {
                due.push(Rc::clone(exchange));
            }
            !is_due && !exchange.is_over()
        });
        for link in &*self.links.borrow() {
            due.extend(link.withdraw(now, |exchange, _| is_due(exchange)));
        }
        for exchange in due.iter().filter(|exchange| !exchange.is_over()) {
            exchange.fail(Fault::QueueTimeout);
        }
    }

    fn rescue(&self, now: Instant) {
        let stall = self.settings.get().stall_timeout;
        let links = self.links.borrow().clone();
        let stalled: Vec<_> =
            links.iter().filter_map(|link| Some((link, link.stalled_for(now, stall)?))).collect();
        if stalled.is_empty() {
            return;
        }
        let fit: Vec<_> = links.iter().filter(|link| link.is_fit(now, usize::MAX)).collect();
        let is_idle = fit.iter().any(|link| !link.has_unbegun(now));
        let Some(sent_before) = now.checked_sub(stall) else { return };
        for (link, lasted) in stalled {
            if is_idle || !fit.is_empty() && lasted >= stall * LONG_STALL {
                self.put_back(link.withdraw(now, |_, sent_at| sent_at <= sent_before));
            }
        }
    }

    /// Measures the pressure. When it has begun, and after each window of it, takes requests back that were
    /// sent too far ahead: they would be begun in the order of arrival, and late.
    fn measure(&self, now: Instant) {
        let (links, queue) = (self.links.borrow(), self.queue.borrow());
        let queued = queue.front().map(|exchange| exchange.arrived());
        let oldest = links.iter().filter_map(|link| link.oldest_unbegun()).chain(queued).min();
        let counts = Counts { arrived: self.arrived.get(), begun: self.backlog.begun() };
        let has_changed = self.pressure.borrow_mut().look(now, counts, oldest, queued.is_some());
        drop(queue);
        if !has_changed {
            return;
        }
        let ahead = self.pressure.borrow().ahead(links.len());
        for link in &*links {
            self.put_back(link.withdraw_beyond(now, ahead));
        }
    }

    /// Refuses requests that are late under pressure, the oldest first.
    fn shed(&self, now: Instant) {
        let pressure = self.pressure.borrow();
        let kept = pressure.kept(now, self.links.borrow().len());
        #[cfg(test)]
        let kept = if planted::is(Planted::ShedInCalm) { Some(0) } else { kept };
        let (Some(kept), Some(arrived_before)) = (kept, now.checked_sub(pressure.target())) else { return };
        drop(pressure);
        let is_late = |exchange: &Rc<Exchange>| exchange.arrived() <= arrived_before;
        loop {
            let mut queue = self.queue.borrow_mut();
            if queue.len() <= kept || !queue.front().is_some_and(is_late) {
                return;
            }
            let oldest = queue.pop_front();
            drop(queue);
            if let Some(exchange) = oldest
                && !exchange.is_over()
            {
                exchange.fail(Fault::QueueTimeout);
            }
        }
    }

    /// Returns memory that no response needs now to the system.
    pub(crate) fn release_memory(&self) {
        self.links.borrow().iter().for_each(|link| link.release_memory());
    }

    /// Whether there is anything for [`Dispatch::tick`] to do.
    pub(crate) fn has_work(&self, now: Instant) -> bool {
        !self.queue.borrow().is_empty() || self.links.borrow().iter().any(|link| link.has_unbegun(now))
    }

    /// Sends queued requests to workers, if there are any.
    pub(crate) fn pump_if_waiting(&self) {
        if !self.queue.borrow().is_empty() {
            self.pump(clock::now());
        }
    }

    /// Adds the link of a worker that was started.
    pub(crate) fn attach(&self, link: Rc<Link>) {
        self.links.borrow_mut().push(link);
    }

    /// Removes the link of a worker that is gone. Requests that it had not begun wait for another worker,
    /// unless too many workers have died with them.
    pub(crate) fn detach(&self, link: &Rc<Link>, now: Instant) {
        self.links.borrow_mut().retain(|other| !Rc::ptr_eq(other, link));
        self.ended_stalls.add_all(link.stalls());
        let (left, given_up): (Vec<_>, Vec<_>) =
            link.disconnect().into_iter().partition(|exchange| exchange.survives_worker());
        for exchange in given_up {
            exchange.fail(Fault::WorkerLost);
        }
        self.put_back(left);
        self.pump(now);
    }

    /// Returns withdrawn requests to the places in the queue that their arrival gives them.
    fn put_back(&self, withdrawn: Vec<Rc<Exchange>>) {
        let mut queue = self.queue.borrow_mut();
        for exchange in withdrawn {
            let at = queue.partition_point(|waiting| waiting.arrived() <= exchange.arrived());
            queue.insert(at, exchange);
        }
        drop(queue);
        self.waker.wake();
    }

    /// Removes the requests that wait for a worker, which the caller is to answer.
    pub(crate) fn take_queue(&self) -> impl Iterator<Item = Rc<Exchange>> {
        let queue = std::mem::take(&mut *self.queue.borrow_mut());
        queue.into_iter().filter(|exchange| !exchange.is_over())
    }

    /// Stops sending requests to a worker and notifies it of the signal. Requests that it has not begun wait
    /// for another worker. Returns the worker's link.
    pub(crate) fn retire(&self, worker: WorkerId, signal: u16, now: Instant) -> Option<Rc<Link>> {
        let link = self.link_to(worker)?;
        link.send_stopping(signal);
        link.retire();
        self.put_back(link.withdraw(now, |_, _| true));
        self.pump(now);
        Some(link)
    }

    /// Marks a worker's process as ended: its link ends as soon as it has been read to the end.
    pub(crate) fn lost(&self, worker: WorkerId) {
        if let Some(link) = self.link_to(worker) {
            link.worker_has_ended();
        }
    }

    /// Logs the requests that a worker has in flight.
    pub(crate) fn describe(&self, worker: WorkerId, now: Instant) {
        if let Some(link) = self.link_to(worker) {
            link.describe(now);
        }
    }

    fn link_to(&self, worker: WorkerId) -> Option<Rc<Link>> {
        self.links.borrow().iter().find(|link| link.worker() == worker).map(Rc::clone)
    }

    /// Notifies the workers that the drain begins because of the signal with this number.
    pub(crate) fn begin_drain(&self, signal: u16) {
        for link in &*self.links.borrow() {
            link.send_stopping(signal);
        }
    }

    /// Sends `Drain` over every link; the apps have `left` for what they still do.
    pub(crate) fn drain(&self, left: Duration) {
        for link in &*self.links.borrow() {
            link.send_drain(left);
        }
    }

    /// Describes the queued requests and backlog bytes that remain after the last connection has ended;
    /// `None` if there are none.
    pub(crate) fn left_over(&self) -> Option<String> {
        let waiting = self.queue.borrow().iter().filter(|exchange| !exchange.is_over()).count();
        let bytes = self.backlog.bytes();
        (waiting > 0 || bytes > 0)
            .then(|| format!("{waiting} waiting requests, {bytes} bytes of the backlog"))
    }

    /// Returns the length of the queue and the bytes of unbegun requests.
    pub(crate) fn queue_facts(&self) -> QueueFacts {
        let waiting = self.queue.borrow().iter().filter(|exchange| !exchange.is_over()).count();
        QueueFacts { length: waiting as u64, bytes: self.backlog.bytes() as u64 }
    }

    /// Adds the stalls of the links to the thread's snapshot.
    pub(crate) fn add_stalls_to(&self, snapshot: &ThreadSnapshot) {
        let links = self.links.borrow();
        let stalls = links.iter().map(|link| link.stalls()).chain([&self.ended_stalls]);
        stalls.for_each(|stalls| snapshot.counters.stalls.add_all(stalls));
    }

    /// Appends the number of streams of each link, with the worker's slot.
    pub(crate) fn append_streams_to(&self, streams: &mut Vec<(usize, usize)>) {
        streams.extend(self.links.borrow().iter().map(|link| (link.slot(), link.in_flight())));
    }

    /// Whether there is a link.
    pub(crate) fn has_links(&self) -> bool {
        !self.links.borrow().is_empty()
    }

    /// Whether there is pressure.
    #[cfg(test)]
    pub(crate) fn model_is_under_pressure(&self) -> bool {
        self.pressure.borrow().is_on()
    }

    /// Returns the bytes that unbegun requests hold.
    #[cfg(test)]
    pub(crate) fn model_backlog(&self) -> usize {
        self.backlog.bytes()
    }

    /// Returns the number of queued requests that have not ended.
    #[cfg(test)]
    pub(crate) fn model_queued(&self) -> usize {
        self.queue.borrow().iter().filter(|waiting| !waiting.is_over()).count()
    }

    fn pick(&self, now: Instant) -> Option<Rc<Link>> {
        let links = self.links.borrow();
        let ahead = self.pressure.borrow().ahead(links.len());
        let first = self.first.get();
        let in_turn = (0..links.len()).map(|nth| (first + nth) % links.len());
        let at =
            in_turn.filter(|&at| links[at].is_fit(now, ahead)).min_by_key(|&at| links[at].in_flight())?;
        self.first.set(at + 1);
        Some(Rc::clone(&links[at]))
    }
}
