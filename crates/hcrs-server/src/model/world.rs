//! One edge thread with its clients, its links and their workers, and the steps of a schedule.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use super::client::{Clients, Connection};
use super::invariants::{Checked, Limits, Records};
use super::random::Random;
use super::rest::Service;
use super::terms::{Drawn, Step, Terms};
use super::wires::Wire;
use super::{Material, Scene};
use crate::exchange::file_permits::OpenFiles;
use crate::exchange::seam::DEAD_WORKERS_MAX;
use crate::origin::app::WorkerId;
use crate::origin::app::dispatch::{Dispatch, HALF_CLOSED_PATIENCE};
use crate::origin::app::link::Link;
use crate::origin::app::pressure::Pressure;
use crate::origin::app::tick_waker::TickWaker;

/// The interval of the dispatch's ticks.
pub(super) const TICK: Duration = Duration::from_millis(10);

/// The number of steps that a failure's report shows.
const TRACE: usize = 80;

/// When the dispatch's next tick is.
pub(super) enum Looking {
    At(Instant),
    /// Once the dispatch has changed.
    Asleep(Pin<Box<dyn Future<Output = ()>>>),
}

/// The whole state of an episode.
pub(super) struct World {
    pub(super) scene: Scene,
    pub(super) terms: Terms,
    pub(super) dispatch: Rc<Dispatch>,
    pub(super) waker: Rc<TickWaker>,
    pub(super) looking: Looking,
    pub(super) wires: Vec<Wire>,
    pub(super) links: Vec<Weak<Link>>,
    pub(super) next_worker: WorkerId,
    pub(super) clients: Clients,
    pub(super) is_serving: bool,
    /// The circumstances after the last step.
    pub(super) last_service: Service,
    /// The last steps.
    pub(super) trace: VecDeque<(u64, Duration, Step)>,
    pub(super) began: Instant,
    pub(super) steps: u64,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World")
            .field("terms", &self.terms)
            .field("clients", &self.clients.habits)
            .finish_non_exhaustive()
    }
}

impl World {
    pub(super) fn new(seed: u64, material: Rc<Material>, began: Instant) -> Checked<Self> {
        let mut random = Random::new(seed);
        let Drawn { terms, settings, habits } = Drawn::new(&mut random);
        let limits = Limits {
            queue_timeout: settings.queue_timeout,
            target: Pressure::new(settings.queue_timeout).target(),
            queue_size: settings.queue_size,
            queue_bytes: settings.queue_bytes,
            half_closed_patience: HALF_CLOSED_PATIENCE,
            dead_workers: u32::from(DEAD_WORKERS_MAX),
        };
        let files = Rc::new(OpenFiles::default());
        let connections = (0..random.between(1, 3)).map(|_| Connection::new(&files)).collect();
        let waker = Rc::<TickWaker>::default();
        let mut world = Self {
            scene: Scene {
                random,
                material,
                records: Records { all: Vec::new(), limits, events: BTreeMap::new() },
                now: began,
                is_quick: false,
            },
            dispatch: Rc::new(Dispatch::new(settings, Rc::clone(&waker))),
            waker,
            looking: Looking::At(began + TICK),
            wires: Vec::new(),
            links: Vec::new(),
            next_worker: 1,
            clients: Clients::new(connections, habits),
            is_serving: true,
            last_service: Service::default(),
            trace: VecDeque::new(),
            began,
            steps: 0,
            terms,
        };
        for _ in 0..world.terms.workers {
            world.attach(None)?;
        }
        Ok(world)
    }

    /// Describes the last steps.
    pub(super) fn story(&self) -> String {
        let lines = self
            .trace
            .iter()
            .map(|(at, since, step)| format!("\n  step {at} at {} ms: {step:?}", since.as_millis()));
        let wires = self.wires.iter().map(|wire| {
            let link = wire.edge.as_ref().map(|edge| {
                let (taken, all) = edge.link.model_slots();
                format!(
                    "{} in flight, {taken} of {all} slots taken, {} bytes to write",
                    edge.link.in_flight(),
                    edge.link.model_waiting()
                )
            });
            format!(
                "\n  worker {}: {link:?}; {} and {} bytes between; {} (blocked {}, dead {})",
                wire.id,
                wire.down.len(),
                wire.up.len(),
                wire.worker.describe(),
                wire.worker.is_blocked,
                wire.worker.is_dead
            )
        });
        let open = self.clients.open.iter().map(|open| {
            format!(
                "\n  request {} holds {:?}: {:?}",
                open.number,
                open.exchange.model_held(),
                self.scene.records.all[open.number]
            )
        });
        format!(
            "{self:?}{}{}{}",
            lines.collect::<String>(),
            wires.collect::<String>(),
            open.collect::<String>()
        )
    }

    /// Takes one step and checks the rules that always hold.
    pub(super) fn step(&mut self) -> Checked {
        let mut at = self.scene.random.below(self.terms.sum);
        let mut step = Step::Start;
        for &(candidate, weight) in &self.terms.weights {
            step = candidate;
            if at < weight {
                break;
            }
            at -= weight;
        }
        self.take(step)?;
        self.check()
    }

    pub(super) fn take(&mut self, step: Step) -> Checked {
        self.steps += 1;
        if self.trace.len() == TRACE {
            self.trace.pop_front();
        }
        self.trace.push_back((self.steps, self.scene.now - self.began, step));
        let Self { scene, clients, .. } = self;
        match step {
            Step::Start => {
                if self.is_serving && clients.open.len() < self.terms.open_max {
                    clients.start(scene, &self.dispatch);
                }
            }
            Step::Upload => clients.upload(scene, &self.dispatch),
            Step::Take => return clients.take(scene),
            Step::Connection => {
                let at = scene.random.below(clients.connections.len());
                return clients.poll(at, scene);
            }
            Step::Reset => return clients.reset(scene),
            Step::HalfClose => clients.half_close(scene),
            Step::Look => return self.look(),
            Step::Pass => {
                let past = scene.random.between(1, 6000) as u64;
                return self.pass(Duration::from_micros(past));
            }
            Step::Jump => {
                let past = scene.random.between(1, 4000) as u64;
                return self.pass(Duration::from_millis(past));
            }
            Step::Edge
            | Step::Turn
            | Step::Act
            | Step::Write
            | Step::Block
            | Step::Unblock
            | Step::Kill
            | Step::Orphan
            | Step::Report
            | Step::LoseLink
            | Step::Replace
            | Step::Respawn
            | Step::Retiring => return self.take_of_wire(step),
        }
        Ok(())
    }

    /// Takes a step of a link or its worker, if there is one that can take it.
    fn take_of_wire(&mut self, step: Step) -> Checked {
        let can = |wire: &Wire| match step {
            Step::Edge | Step::LoseLink => wire.edge.is_some(),
            Step::Turn => wire.worker.is_up() && wire.down.is_readable(),
            Step::Act | Step::Write | Step::Block => wire.worker.is_up(),
            Step::Unblock => wire.worker.is_blocked,
            Step::Kill | Step::Orphan => !wire.worker.is_dead,
            Step::Report => wire.worker.is_dead,
            Step::Replace => wire.can_be_replaced(),
            Step::Respawn => wire.can_be_replaced() && wire.edge.as_ref().is_some_and(|edge| edge.is_spent),
            Step::Retiring => wire.retiring.is_some(),
            _ => false,
        };
        let Some(at) = self.some_wire(can) else {
            let links = self.wires.iter().filter(|wire| wire.edge.is_some()).count();
            let is_missing = step == Step::Respawn && links < self.terms.workers;
            return if is_missing { self.attach(None) } else { Ok(()) };
        };
        let chunk = self.chunk();
        let Self { scene, wires, .. } = self;
        let wire = &mut wires[at];
        match step {
            Step::Edge => return self.run_edge(at),
            Step::Turn => wire.worker.turn(&mut wire.down, chunk, &mut scene.records)?,
            Step::Act => wire.worker.act(scene)?,
            Step::Write => wire.worker.write(&mut wire.up, chunk)?,
            Step::Block => wire.worker.is_blocked = true,
            Step::Unblock => wire.worker.is_blocked = false,
            Step::Kill => wire.worker.end(),
            Step::Orphan => {
                wire.worker.end();
                wire.is_held_open = true;
            }
            Step::Report => self.dispatch.lost(wire.id),
            Step::LoseLink => return self.detach(at),
            Step::Replace | Step::Respawn => return self.replace(at),
            Step::Retiring => self.go_on_retiring(at),
            _ => {}
        }
        self.close_dead(at);
        Ok(())
    }

    pub(super) fn some_wire(&mut self, which: impl Fn(&Wire) -> bool) -> Option<usize> {
        let count = self.wires.iter().filter(|wire| which(wire)).count();
        let nth = if count == 0 { return None } else { self.scene.random.below(count) };
        self.wires.iter().enumerate().filter(|(_, wire)| which(wire)).nth(nth).map(|(at, _)| at)
    }

    pub(super) fn chunk(&mut self) -> usize {
        if self.scene.is_quick { usize::MAX } else { self.scene.random.between(1, self.terms.chunk) }
    }

    fn pass(&mut self, duration: Duration) -> Checked {
        self.scene.now += duration;
        // A timer is rarely late by much.
        if self.scene.random.one_in(4) { Ok(()) } else { self.look() }
    }
}
