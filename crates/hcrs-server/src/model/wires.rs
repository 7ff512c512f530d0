//! Links with both ends, and the edge's tasks for each.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use hcrs_link::{BlockArea, ClaimTable, FromWorker, Inbox, StreamIds};

use super::client::Flag;
use super::invariants::{Broken, Checked, rule};
use super::pipe::Pipe;
use super::planted::{self, Planted};
use super::worker::Worker;
use super::world::World;
use crate::origin::app::link::{Link, LinkEvent, LinkParts};
use crate::origin::app::request_quota::RequestQuota;
use crate::origin::app::{WorkerEvent, WorkerId};

/// The edge's end of a link.
pub(super) struct EdgeEnd {
    pub link: Rc<Link>,
    pub inbox: Inbox,
    pub files: VecDeque<OwnedFd>,
    pub flag: Arc<Flag>,
    pub waker: Waker,
    /// Whether the worker is to be replaced.
    pub is_spent: bool,
    pub has_replacement: bool,
}

/// The task that waits for the end of a worker that is replaced.
pub(super) struct Retiring {
    pub link: Rc<Link>,
    pub quiet: Pin<Box<dyn Future<Output = ()>>>,
    pub flag: Arc<Flag>,
    pub waker: Waker,
    pub until: Instant,
}

/// A link with both ends.
pub(super) struct Wire {
    pub id: WorkerId,
    pub memory: OwnedFd,
    pub edge: Option<EdgeEnd>,
    pub retiring: Option<Retiring>,
    /// The two directions: to the worker, and from it.
    pub down: Pipe,
    pub up: Pipe,
    pub worker: Worker,
    /// Whether a process that the worker has started holds its end of the socket open.
    pub is_held_open: bool,
    /// The worker that this one replaces.
    pub replaces: Option<WorkerId>,
}

impl World {
    /// Starts a worker.
    pub(super) fn attach(&mut self, replaces: Option<WorkerId>) -> Checked {
        let io = |error: std::io::Error| Broken(format!("no link can be made: {error}"));
        let id = self.next_worker;
        self.next_worker += 1;
        let (claims, memory) = ClaimTable::create().map_err(io)?;
        let parts = LinkParts {
            worker: id,
            pid: id as u32,
            slot: 0,
            claims,
            blocks: self.blocks(&memory)?,
            quota: self.terms.max_requests.map(|limit| Arc::new(RequestQuota::new(limit))),
        };
        let ids = StreamIds::up_to(self.terms.numbers);
        let link = Link::with_ids(parts, self.terms.start_credits, self.scene.now, ids);
        self.links.push(Rc::downgrade(&link));
        self.dispatch.attach(Rc::clone(&link));
        let (flag, waker) = Flag::up();
        let worker =
            Worker::new(id, ClaimTable::open(&memory).map_err(io)?, self.blocks(&memory)?, &self.terms);
        self.wires.push(Wire {
            id,
            memory,
            edge: Some(EdgeEnd {
                link,
                inbox: Inbox::new(self.terms.inbox),
                files: VecDeque::new(),
                flag,
                waker,
                is_spent: false,
                has_replacement: false,
            }),
            retiring: None,
            down: Pipe::new(self.terms.capacity),
            up: Pipe::new(self.terms.capacity),
            worker,
            is_held_open: false,
            replaces,
        });
        Ok(())
    }

    fn blocks(&self, memory: &OwnedFd) -> Checked<Option<BlockArea>> {
        if !self.terms.has_blocks {
            return Ok(None);
        }
        BlockArea::open(memory).map_err(|error| Broken(format!("no blocks can be had: {error}")))
    }

    pub(super) fn replace(&mut self, at: usize) -> Checked {
        let id = self.wires[at].id;
        if let Some(edge) = &mut self.wires[at].edge {
            edge.has_replacement = true;
        }
        self.attach(Some(id))
    }

    /// Runs the task of a link, if it was woken.
    pub(super) fn run_edge(&mut self, at: usize) -> Checked {
        let (read_max, write_max) = (self.chunk(), self.chunk());
        let now = self.scene.now;
        let Wire { edge: Some(edge), down, up, replaces, .. } = &mut self.wires[at] else { return Ok(()) };
        let waits_for_room = edge.link.model_waiting() > 0 && (down.room() > 0 || down.is_deaf);
        if !edge.flag.is_up() && !up.is_readable() && !waits_for_room {
            return Ok(());
        }
        edge.flag.lower();
        edge.link.model_listen(&edge.waker);
        let is_orphaned = edge.link.model_is_orphaned();
        let mut read_left = if is_orphaned { usize::MAX } else { read_max };
        let mut ready = false;
        while read_left > 0 && up.is_readable() {
            let room = edge.inbox.room();
            let max = room.len().min(read_left);
            let len = up.read(&mut room[..max], &mut edge.files);
            if len == 0 {
                return self.detach(at);
            }
            read_left -= len;
            edge.inbox.filled(len);
            let dispatch = &self.dispatch;
            let mut on_event = |event: LinkEvent| match event {
                LinkEvent::Worker(WorkerEvent::Ready) => {
                    ready = true;
                    dispatch.pump(now);
                }
                LinkEvent::Progress => dispatch.pump(now),
                LinkEvent::Worker(_) => {}
            };
            let broken = |error| Broken(format!("a worker breaks the protocol: {error}"));
            while let Some((header, payload)) = edge.inbox.next_frame().map_err(broken)? {
                let frame = FromWorker::parse(&header, payload).map_err(broken)?;
                edge.link.handle(&frame, &mut edge.files, now, &mut on_event).map_err(broken)?;
                match frame {
                    FromWorker::Block { .. } => self.scene.records.note("blocks"),
                    FromWorker::File { .. } => self.scene.records.note("files"),
                    FromWorker::Credit { .. } => self.scene.records.note("credits to the edge"),
                    FromWorker::Trailers { .. } => self.scene.records.note("trailers"),
                    FromWorker::AwaitsBody { .. } => self.scene.records.note("bodies asked for"),
                    _ => {}
                }
                if frame == (FromWorker::Finished { all: true }) {
                    self.scene.records.note("workers finished");
                    let left = edge.link.left_over(now);
                    rule(left.is_none(), || format!("a worker has finished, and {left:?} are left"))?;
                }
            }
            if !is_orphaned {
                on_event(LinkEvent::Progress);
            }
        }
        if is_orphaned {
            return self.detach(at);
        }
        if edge.link.model_after_read().map_err(|error| Broken(error.to_string()))? {
            self.scene.records.note("workers spent");
            edge.is_spent = true;
        }
        let mut write_left = write_max;
        if down.is_deaf && edge.link.model_waiting() > 0 {
            edge.link.model_clear();
        }
        let has_fed = edge.link.model_write(|bytes| {
            let len = down.write(&bytes[..bytes.len().min(write_left)], None);
            write_left -= len;
            len
        });
        if has_fed {
            self.scene.records.note("links with room again");
            self.dispatch.pump(now);
        }
        let replaced = if ready { replaces.take() } else { None };
        if let Some(replaced) = replaced {
            self.retire(replaced);
        }
        Ok(())
    }

    fn retire(&mut self, worker: WorkerId) {
        let Some(link) = self.dispatch.retire(worker, 15, self.scene.now) else { return };
        let Some(wire) = self.wires.iter_mut().find(|wire| wire.id == worker) else { return };
        let waiting = Rc::clone(&link);
        let (flag, waker) = Flag::up();
        let patience = Duration::from_millis(self.scene.random.choose(&[1, 100, 3_600_000]));
        wire.retiring = Some(Retiring {
            link,
            quiet: Box::pin(async move { waiting.quiet().await }),
            flag,
            waker,
            until: self.scene.now + patience,
        });
    }

    /// Runs the task that waits for a retired worker, if it was woken.
    pub(super) fn go_on_retiring(&mut self, at: usize) {
        let wire = &mut self.wires[at];
        let Some(retiring) = &mut wire.retiring else { return };
        if retiring.flag.is_up() {
            retiring.flag.lower();
            let mut cx = Context::from_waker(&retiring.waker);
            if retiring.quiet.as_mut().poll(&mut cx).is_pending() {
                return;
            }
        } else if self.scene.now >= retiring.until {
            for record in &mut self.scene.records.all {
                record.is_cut |= record.begun_by == Some(wire.id);
            }
            self.scene.records.note("workers cut");
            retiring.link.cut();
        } else {
            return;
        }
        retiring.link.send_drain(Duration::ZERO);
        wire.retiring = None;
    }

    /// Detaches a link that has ended at the edge.
    pub(super) fn detach(&mut self, at: usize) -> Checked {
        let wire = &mut self.wires[at];
        let Some(edge) = wire.edge.take() else { return Ok(()) };
        wire.down.is_closed = true;
        wire.up.is_deaf = true;
        for record in &mut self.scene.records.all {
            record.is_worker_lost |= record.begun_by == Some(wire.id);
        }
        for open in &self.clients.open {
            let record = self.scene.records.get(open.number)?;
            let is_here =
                open.exchange.sent_to().is_some_and(|sent| WorkerId::from(sent.worker.pid) == wire.id);
            if is_here && record.begun_by.is_none() {
                record.lost_before += 1;
            }
        }
        if !wire.worker.is_dead {
            self.scene.records.note("links lost under a worker");
        }
        if planted::is(Planted::UnbegunDropped) {
            drop(edge.link.disconnect());
        }
        self.dispatch.detach(&edge.link, self.scene.now);
        self.drop_dead(at);
        Ok(())
    }

    /// Closes the end of a worker that has ended.
    pub(super) fn close_dead(&mut self, at: usize) {
        let Wire { worker, down, up, is_held_open, .. } = &mut self.wires[at];
        if worker.is_dead {
            up.is_closed |= !*is_held_open;
            down.is_deaf |= !*is_held_open;
            self.drop_dead(at);
        }
    }

    pub(super) fn drop_dead(&mut self, at: usize) {
        if self.wires[at].worker.is_dead && self.wires[at].edge.is_none() {
            self.wires.swap_remove(at);
        }
    }
}

impl Wire {
    pub(super) fn can_be_replaced(&self) -> bool {
        self.edge.as_ref().is_some_and(|edge| !edge.has_replacement) && !self.worker.is_dead
    }
}
