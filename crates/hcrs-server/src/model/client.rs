//! A client's connection, as the drivers hold one: many exchanges, one mailbox.

use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};

use bytes::Bytes;
use hcrs_http::{Endpoints, RequestHead, RequestLine, Scheme, Version};

use super::Scene;
use super::invariants::{Answer, Broken, Checked, Record, rule};
use super::planted::{self, Planted};
use super::random::{Random, Sizes};
use crate::exchange::file_permits::{FilePermits, OpenFiles};
use crate::exchange::mailbox::Mailbox;
use crate::exchange::{Exchange, Output, Parts};
use crate::origin::app::dispatch::Dispatch;

/// A flag that is raised when a task is woken.
#[derive(Debug, Default)]
pub(super) struct Flag(AtomicBool);

impl Flag {
    /// Returns a raised flag, and the waker that raises it.
    pub(super) fn up() -> (Arc<Self>, Waker) {
        let flag = Arc::new(Self(AtomicBool::new(true)));
        (Arc::clone(&flag), Waker::from(flag))
    }

    pub(super) fn is_up(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn lower(&self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A request that has not ended for its client.
#[derive(Debug)]
pub(super) struct Open {
    pub number: usize,
    pub connection: usize,
    key: usize,
    pub exchange: Rc<Exchange>,
    /// The bytes that it holds of the backlog until a worker begins it.
    pub weight: usize,
    has_body: bool,
    /// Whether the client sends nothing before it is asked to.
    is_held_back: bool,
    /// The number of bytes that the client may send.
    window: usize,
    /// The number of the response's bytes that the connection has and the client has not taken.
    pub unsent: usize,
    /// Whether the response's last bytes are among those.
    is_last_unsent: bool,
    /// The worker that it was sent to last.
    pub sent_to: Option<u32>,
    /// Whether it waited in the queue after the last step.
    pub was_queued: bool,
}

/// The behavior of an episode's clients.
#[derive(Debug, Clone, Copy)]
pub(super) struct Habits {
    pub window: usize,
    pub head: usize,
    pub sizes: Sizes,
    /// The number of bytes that a connection takes beyond what its client has taken; `None` for all.
    pub ahead: Option<usize>,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Connection {
    mailbox: Rc<Mailbox>,
    flag: Arc<Flag>,
    waker: Waker,
    /// The request of each key.
    keys: Vec<Option<usize>>,
    permits: Rc<FilePermits>,
    permit_count: usize,
    running: Rc<()>,
}

impl Connection {
    pub(super) fn new(files: &Rc<OpenFiles>) -> Self {
        let (flag, waker) = Flag::up();
        let permits = FilePermits::of_connection(files);
        let permit_count = count(&permits);
        Self {
            mailbox: Rc::default(),
            flag,
            waker,
            keys: Vec::new(),
            permits,
            permit_count,
            running: Rc::new(()),
        }
    }

    /// Describes what has not been returned; `None` if everything has.
    pub(super) fn left_over(&self) -> Option<String> {
        let (permits, running) = (count(&self.permits), Rc::strong_count(&self.running) - 1);
        (permits != self.permit_count || running > 0)
            .then(|| format!("{permits} of {} file permits, {running} requests counted", self.permit_count))
    }
}

fn count(permits: &Rc<FilePermits>) -> usize {
    std::iter::from_fn(|| permits.take()).collect::<Vec<_>>().len()
}

/// All connections and their open requests.
#[derive(Debug)]
pub(super) struct Clients {
    pub connections: Vec<Connection>,
    pub open: Vec<Open>,
    /// The exchanges that were made.
    pub made: Vec<Weak<Exchange>>,
    pub habits: Habits,
    batch: Vec<usize>,
}

impl Clients {
    pub(super) fn new(connections: Vec<Connection>, habits: Habits) -> Self {
        Self { connections, open: Vec::new(), made: Vec::new(), habits, batch: Vec::new() }
    }

    /// Begins a request.
    pub(super) fn start(&mut self, scene: &mut Scene, dispatch: &Dispatch) {
        let at = scene.random.below(self.connections.len());
        let connection = &mut self.connections[at];
        let number = scene.records.all.len();
        scene.records.all.push(Record::new(scene.now));
        let path = format!("/{number}");
        let line = RequestLine {
            version: Version::Http2,
            scheme: Scheme::Http,
            method: b"POST",
            path: path.as_bytes(),
            query: b"",
        };
        let mut head = RequestHead::new(Vec::new(), line, &Endpoints::default());
        head.push_field(b"te", b"trailers");
        head.push_field(b"x", &vec![b'x'; scene.random.below(self.habits.head)]);
        let has_body = !scene.random.one_in(3);
        if has_body {
            head.set_has_body();
        }
        if scene.random.one_in(4) {
            head.set_takes_pushes();
        }
        let key = connection.keys.iter().position(Option::is_none).unwrap_or(connection.keys.len());
        if key == connection.keys.len() {
            connection.keys.push(None);
        }
        connection.keys[key] = Some(number);
        let weight = head.as_bytes().len();
        let is_held_back = has_body && scene.random.one_in(8);
        let exchange = Exchange::new(Parts {
            expects_continue: is_held_back,
            file_permit: connection.permits.take(),
            running: Some(Rc::clone(&connection.running)),
            ..Parts::new(key, Rc::clone(&connection.mailbox), head, scene.now)
        });
        self.made.push(Rc::downgrade(&exchange));
        if !has_body && let Ok(record) = scene.records.get(number) {
            record.is_upload_over = true;
        }
        self.open.push(Open {
            number,
            connection: at,
            key,
            exchange: Rc::clone(&exchange),
            weight,
            has_body,
            is_held_back,
            window: self.habits.window,
            unsent: 0,
            is_last_unsent: false,
            sent_to: None,
            was_queued: true,
        });
        // Some bodies arrive with the head.
        if has_body && !is_held_back && scene.random.one_in(4) {
            let open = self.open.len() - 1;
            let len = scene.random.below(300);
            let end = scene.random.one_in(2);
            self.push(open, len, end, scene);
        }
        let weight = self.open[self.open.len() - 1].weight;
        let limits = scene.records.limits;
        if let Ok(record) = scene.records.get(number) {
            record.has_met_full_queue = dispatch.model_queued() >= limits.queue_size
                || dispatch.model_backlog() + weight > limits.queue_bytes;
        }
        dispatch.submit(&exchange, scene.now);
    }

    /// Sends a piece of a request's body.
    pub(super) fn upload(&mut self, scene: &mut Scene, dispatch: &Dispatch) {
        let Some(at) = self.some(&mut scene.random) else { return };
        let open = &self.open[at];
        let queue_bytes = scene.records.limits.queue_bytes;
        let Ok(record) = scene.records.get(open.number) else { return };
        if !open.has_body || open.is_held_back || record.is_upload_over {
            return;
        }
        let len = scene.random.length(self.habits.sizes).min(open.window);
        let end = scene.random.one_in(if scene.is_quick { 2 } else { 12 });
        record.has_met_full_queue |= dispatch.model_backlog() + len > queue_bytes;
        self.push(at, len, end, scene);
    }

    fn push(&mut self, at: usize, len: usize, end: bool, scene: &mut Scene) {
        let open = &mut self.open[at];
        let Some(record) = scene.records.all.get_mut(open.number) else { return };
        let bytes = Bytes::copy_from_slice(scene.material.pattern.piece(open.number, record.uploaded, len));
        open.window -= len;
        open.weight += len;
        record.uploaded += len;
        record.is_upload_over = end;
        if len == 0 && end && record.uploaded.is_multiple_of(2) {
            open.exchange.end_body();
        } else {
            open.exchange.push_body(bytes, end);
        }
    }

    /// Closes the client's side of a request.
    pub(super) fn half_close(&mut self, scene: &mut Scene) {
        let Some(at) = self.some(&mut scene.random) else { return };
        let open = &self.open[at];
        let Ok(record) = scene.records.get(open.number) else { return };
        if record.is_upload_over && !open.is_held_back {
            record.half_closed_at.get_or_insert(scene.now);
            open.exchange.half_close(scene.now);
        }
    }

    /// Resets a request.
    pub(super) fn reset(&mut self, scene: &mut Scene) -> Checked {
        match self.some(&mut scene.random) {
            Some(at) => self.end(at, Answer::Reset, scene),
            None => Ok(()),
        }
    }

    /// Takes bytes of a response.
    pub(super) fn take(&mut self, scene: &mut Scene) -> Checked {
        let Some(at) = self.some(&mut scene.random) else { return Ok(()) };
        let open = &mut self.open[at];
        if open.unsent == 0 {
            return Ok(());
        }
        let len = if scene.is_quick { open.unsent } else { scene.random.between(1, open.unsent) };
        open.exchange.client_took(len);
        open.unsent -= len;
        if open.unsent == 0 && open.is_last_unsent {
            return self.end(at, Answer::Complete, scene);
        }
        if open.exchange.has_output() {
            return self.pass_on(at, scene);
        }
        Ok(())
    }

    /// Runs a connection that was woken.
    pub(super) fn poll(&mut self, at: usize, scene: &mut Scene) -> Checked {
        let connection = &self.connections[at];
        if !connection.flag.is_up() {
            return Ok(());
        }
        connection.flag.lower();
        let mailbox = Rc::clone(&connection.mailbox);
        mailbox.begin_turn(&connection.waker);
        let mut batch = std::mem::take(&mut self.batch);
        while !mailbox.is_empty() {
            mailbox.take(&mut batch);
            for nth in (1..batch.len()).rev() {
                batch.swap(nth, scene.random.below(nth + 1));
            }
            for key in batch.drain(..) {
                let Some(number) = self.connections[at].keys[key] else { continue };
                let Some(open) = self.open.iter().position(|open| open.number == number) else { continue };
                self.pass_on(open, scene)?;
            }
        }
        self.batch = batch;
        if !planted::is(Planted::WakeLost) {
            mailbox.rest();
        }
        Ok(())
    }

    fn some(&self, random: &mut Random) -> Option<usize> {
        (!self.open.is_empty()).then(|| random.below(self.open.len()))
    }

    /// Sends an exchange's output to its client.
    fn pass_on(&mut self, at: usize, scene: &mut Scene) -> Checked {
        let ahead = self.habits.ahead.unwrap_or(usize::MAX);
        loop {
            let open = &mut self.open[at];
            if open.unsent > ahead {
                open.exchange.note_seen();
                return Ok(());
            }
            let number = open.number;
            let record = scene.records.get(number)?;
            let Some(output) = open.exchange.next_output() else { return Ok(()) };
            match output {
                Output::Continue => open.is_held_back = false,
                Output::Release(len) => {
                    open.window += len;
                    rule(open.window <= self.habits.window, || {
                        format!("the client of request {number} is given credit that it has not spent")
                    })?;
                }
                Output::Push(_) => {}
                Output::Interim(_) => {
                    let is_due = record.interims.checked_sub(1);
                    record.interims = is_due.ok_or_else(|| {
                        Broken(format!("request {number} is answered with an interim head of another"))
                    })?;
                }
                Output::Head { head, end, .. } => {
                    let is_first = !std::mem::replace(&mut record.has_head, true);
                    let expected = number.to_string();
                    let is_own = head.fields().first(b"number") == Some(expected.as_bytes());
                    rule(is_first && is_own, || format!("request {number} gets a head that is not its own"))?;
                    if end {
                        return self.end(at, Answer::Complete, scene);
                    }
                }
                Output::Data { data, end } => {
                    let offset = record.seen;
                    record.seen += data.len();
                    let is_own = record.has_head
                        && !open.is_last_unsent
                        && data == scene.material.pattern.piece(number, offset, data.len());
                    rule(is_own, || format!("request {number} gets bytes that are not its own"))?;
                    open.unsent += data.len();
                    let taken = if scene.random.one_in(2) {
                        open.unsent
                    } else {
                        scene.random.below(open.unsent + 1)
                    };
                    open.exchange.client_took(taken);
                    open.unsent -= taken;
                    open.is_last_unsent = end;
                    if end && open.unsent == 0 {
                        return self.end(at, Answer::Complete, scene);
                    }
                }
                Output::Trailers(fields) => {
                    let expected = number.to_string();
                    let is_own =
                        record.has_head && fields.fields().first(b"end") == Some(expected.as_bytes());
                    rule(is_own, || format!("request {number} gets trailers that are not its own"))?;
                    if open.unsent == 0 {
                        return self.end(at, Answer::Complete, scene);
                    }
                    open.is_last_unsent = true;
                    return Ok(());
                }
                Output::Fault(fault) => return self.end(at, Answer::Fault(fault), scene),
            }
        }
    }

    fn end(&mut self, at: usize, answer: Answer, scene: &mut Scene) -> Checked {
        let open = self.open.swap_remove(at);
        self.connections[open.connection].keys[open.key] = None;
        open.exchange.abandon();
        rule(open.exchange.take_head().is_some(), || format!("the head of request {} is gone", open.number))?;
        scene.records.answer(open.number, answer, scene.now)
    }
}
