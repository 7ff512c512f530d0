//! The rules that hold after every step, and when everything is at rest.

use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use hcrs_link::{BlockArea, RESPONSE_WINDOW, RESPONSE_WINDOW_GROWTH};

use super::invariants::{Broken, Checked, Limits, rule};
use super::terms::Step;
use super::wires::Wire;
use super::world::{Looking, TICK, World};

/// The circumstances under which requests are sent.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Service {
    is_under_pressure: bool,
    links: usize,
}

/// The arrivals of the requests that were sent to workers in a step, and of those that wait before it and
/// after it.
#[derive(Debug, Default)]
struct Order {
    sent: Vec<Instant>,
    queued: Vec<Instant>,
}

impl Order {
    /// Checks that the oldest requests were sent first or, under pressure, the newest.
    fn check(&self, is_under_pressure: bool) -> Checked {
        let Self { sent, queued } = self;
        if is_under_pressure {
            let is_kept = sent.iter().min() >= queued.iter().max();
            return rule(sent.is_empty() || is_kept, || {
                format!("an older request is sent under pressure while a newer one waits: {self:?}")
            });
        }
        let is_kept = queued.is_empty() || sent.iter().max() <= queued.iter().min();
        rule(is_kept, || format!("a newer request is sent while an older one waits: {self:?}"))
    }
}

impl World {
    /// Runs the dispatch's tick, if it is due.
    pub(super) fn look(&mut self) -> Checked {
        let Looking::At(at) = self.looking else { return Ok(()) };
        if self.scene.now < at {
            return Ok(());
        }
        self.dispatch.tick(self.scene.now);
        self.looking = Looking::At(self.scene.now + TICK);
        if !self.dispatch.has_work(self.scene.now) {
            let waker = Rc::clone(&self.waker);
            self.looking = Looking::Asleep(Box::pin(async move { waker.woken().await }));
        }
        let Limits { queue_timeout, target, half_closed_patience, .. } = self.scene.records.limits;
        let is_under_pressure = self.dispatch.model_is_under_pressure();
        if is_under_pressure {
            self.scene.records.note("ticks under pressure");
        }
        for open in &self.clients.open {
            let record = &mut self.scene.records.all[open.number];
            record.was_late_under_pressure |= is_under_pressure && self.scene.now - record.arrived >= target;
            let is_due = self.scene.now - record.arrived >= queue_timeout
                || record.half_closed_at.is_some_and(|at| self.scene.now - at >= half_closed_patience);
            rule(!is_due || record.begun_by.is_some() || open.exchange.is_over(), || {
                format!("request {} waits beyond its deadline", open.number)
            })?;
        }
        Ok(())
    }

    /// Checks the rules that hold after every step.
    pub(super) fn check(&mut self) -> Checked {
        if let Looking::Asleep(waiting) = &mut self.looking
            && waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())) == Poll::Ready(())
        {
            self.looking = Looking::At(self.scene.now + TICK);
        }
        let is_asleep = matches!(self.looking, Looking::Asleep(_));
        let mut backlog = 0;
        let window = self.clients.habits.window;
        let mut order = Order::default();
        for open in &mut self.clients.open {
            let sent_to = open.exchange.sent_to().map(|sent| sent.worker.pid);
            if sent_to.is_some() && open.sent_to.is_some() && open.sent_to != sent_to {
                self.scene.records.note("requests moved to another worker");
            }
            let arrived = self.scene.records.all[open.number].arrived;
            if sent_to.is_some() && open.sent_to != sent_to {
                order.sent.push(arrived);
            }
            let is_queued = sent_to.is_none() && !open.exchange.is_over();
            // One that was returned in this step may have been with its worker while another was sent.
            if std::mem::replace(&mut open.was_queued, is_queued) && is_queued {
                order.queued.push(arrived);
            }
            open.sent_to = sent_to.or(open.sent_to);
            let held = open.exchange.model_held();
            let is_waiting = !held.is_begun && !open.exchange.is_over();
            backlog += if is_waiting { open.weight } else { 0 };
            let number = open.number;
            rule(!(is_asleep && is_waiting), || format!("request {number} waits, and no tick is due"))?;
            rule(held.request <= window && open.exchange.unread() <= window, || {
                format!("request {number} holds {} bytes of a body", held.request)
            })?;
            let most = (RESPONSE_WINDOW + RESPONSE_WINDOW_GROWTH) as usize;
            rule(held.response <= most, || {
                format!("request {number} holds {} bytes of a response", held.response)
            })?;
        }
        // In a step that ends or retires a link, a request may return from it after others were sent.
        let links = self.wires.iter().filter(|wire| wire.edge.is_some() && wire.retiring.is_none()).count();
        let service = Service { is_under_pressure: self.dispatch.model_is_under_pressure(), links };
        let is_unchanged = std::mem::replace(&mut self.last_service, service) == service;
        // Towards the end, many steps precede a check.
        if is_unchanged && !self.scene.is_quick {
            order.check(service.is_under_pressure)?;
        }
        let counted = self.dispatch.model_backlog();
        let most = self.scene.records.limits.queue_bytes;
        rule(counted == backlog && backlog <= most, || {
            format!("the backlog counts {counted} bytes of {most}, and there are {backlog}")
        })?;
        for edge in self.wires.iter().filter_map(|wire| wire.edge.as_ref()) {
            let (waiting, limit) = (edge.link.model_waiting(), edge.link.model_limit());
            rule(waiting <= limit, || format!("{waiting} bytes wait for a worker that may have {limit}"))?;
        }
        Ok(())
    }

    /// Lets everything come to its end and checks what is left.
    pub(super) fn settle(&mut self) -> Checked {
        self.scene.is_quick = true;
        self.is_serving = false;
        let serves = !self.scene.random.one_in(8);
        for at in (0..self.wires.len()).rev() {
            self.wires[at].worker.is_blocked = false;
            if !serves {
                self.wires[at].worker.end();
                self.close_dead(at);
            }
        }
        let has_workers =
            |world: &Self| world.wires.iter().any(|wire| wire.edge.is_some() && !wire.worker.is_dead);
        if serves && !has_workers(self) {
            self.attach(None)?;
        }
        self.come_to_rest()?;
        self.check_left()?;
        if self.scene.random.one_in(2) {
            self.scene.records.note("drains");
            self.dispatch.drain(Duration::ZERO);
            self.come_to_rest()?;
            rule(self.wires.is_empty(), || "a worker lives on after the drain".to_owned())?;
        }
        self.check_nothing_lives()
    }

    fn come_to_rest(&mut self) -> Checked {
        let mut rounds = 0;
        while !self.is_at_rest() {
            rounds += 1;
            rule(rounds < 3000, || "it does not come to rest".to_owned())?;
            for step in [
                Step::Connection,
                Step::Edge,
                Step::Turn,
                Step::Act,
                Step::Write,
                Step::Upload,
                Step::Take,
                Step::Retiring,
                Step::Report,
            ] {
                for _ in 0..2 + self.clients.open.len() {
                    self.take(step)?;
                }
            }
            let past = if rounds % 16 == 0 { 200 } else { 1 };
            self.scene.now += Duration::from_millis(past);
            self.look()?;
            self.check()?;
        }
        Ok(())
    }

    fn is_at_rest(&self) -> bool {
        let is_quiet = |wire: &Wire| {
            let is_edge_quiet = wire.edge.as_ref().is_none_or(|edge| {
                !edge.flag.is_up() && edge.link.model_waiting() == 0 && edge.link.in_flight() == 0
            });
            let is_drained = wire.retiring.is_none();
            let is_spoken =
                wire.down.len() == 0 && wire.up.len() == 0 && !wire.down.is_closed && !wire.up.is_closed;
            is_edge_quiet && is_drained && is_spoken && wire.worker.is_at_rest()
        };
        self.clients.open.is_empty() && self.wires.iter().all(is_quiet)
    }

    /// Checks the rules that hold when everything is over.
    fn check_left(&mut self) -> Checked {
        for (number, record) in self.scene.records.all.iter().enumerate() {
            rule(record.answer.is_some(), || format!("request {number} has no answer: {record:?}"))?;
        }
        self.dispatch.tick(self.scene.now);
        let left = self.dispatch.left_over();
        rule(left.is_none(), || format!("{left:?} are left of what waited"))?;
        for wire in &self.wires {
            let Some(edge) = &wire.edge else { continue };
            let left = edge.link.left_over(self.scene.now);
            rule(left.is_none(), || format!("{left:?} are left of worker {}", wire.id))?;
            let starved = edge.link.model_starved();
            rule(starved == 0, || format!("{starved} bodies wait for room that is there"))?;
            let blocks = BlockArea::open(&wire.memory).map_err(|error| Broken(error.to_string()))?;
            let has_all = blocks.is_none_or(|blocks| edge.link.model_has_all_blocks(&blocks));
            rule(has_all, || format!("not all blocks of worker {} are free", wire.id))?;
        }
        for connection in &self.clients.connections {
            let left = connection.left_over();
            rule(left.is_none(), || format!("{left:?} are left of a connection"))?;
        }
        Ok(())
    }

    /// Checks that nothing keeps ended exchanges alive.
    fn check_nothing_lives(&mut self) -> Checked {
        let alive = self.clients.made.iter().filter(|exchange| exchange.strong_count() > 0).count();
        rule(alive == 0, || format!("{alive} exchanges live on"))?;
        for at in (0..self.wires.len()).rev() {
            self.wires[at].worker.end();
            self.detach(at)?;
        }
        let alive = self.links.iter().filter(|link| link.strong_count() > 0).count();
        rule(alive == 0, || format!("{alive} links live on"))
    }
}
