//! A worker: the worker's ends of the link from `hcrs-link`, used as the worker's code uses them, and an app
//! that follows the schedule.

use std::collections::VecDeque;

use hcrs_http::{RequestView, ResponseHeadWriter};
use hcrs_link::{
    BlockArea, ClaimTable, FileOut, FromEdge, FromWorker, HeadKind, HeadTooLongError, Inbox, LinkError,
    MESSAGE_MAX, Next, Outbox, PUSH_MAX, Phase, Stalled, Stream, StreamId, begin_promise,
};

use super::Scene;
use super::invariants::{Broken, Checked, Records, rule};
use super::pipe::Pipe;
use super::planted::{self, Planted};
use super::random::{PIECE_MAX, Pattern, Random, Sizes};
use super::terms::Terms;

/// The app's task of a request, or its response that was not sent completely.
#[derive(Debug)]
struct App {
    number: usize,
    slot: usize,
    stream: Stream<Vec<u8>>,
    /// Whether the worker has passed the request.
    is_begun: bool,
    /// Whether the task has not ended.
    is_running: bool,
    /// Whether it is in the queue of tasks that wait for room in the outbox.
    is_queued: bool,
    has_trailers: bool,
    /// Whether it takes the whole body before it ends its response, and notices a client that has closed its
    /// side.
    is_thorough: bool,
}

/// A worker with one link.
#[derive(Debug)]
pub(super) struct Worker {
    id: u64,
    claims: ClaimTable,
    inbox: Inbox,
    outbox: Outbox,
    apps: Vec<App>,
    full: VecDeque<StreamId>,
    /// Whether it reads requests before it begins them, as a WSGI worker does.
    is_lazy: bool,
    sizes: Sizes,
    is_unannounced: bool,
    is_drained: bool,
    has_finished: bool,
    /// Whether it does nothing for a while.
    pub is_blocked: bool,
    /// Whether it has ended.
    pub is_dead: bool,
}

impl Worker {
    pub(super) fn new(id: u64, claims: ClaimTable, blocks: Option<BlockArea>, terms: &Terms) -> Self {
        let mut outbox = Outbox::new(blocks);
        outbox.push(&FromWorker::Ready);
        Self {
            id,
            claims,
            inbox: Inbox::new(terms.inbox),
            outbox,
            apps: Vec::new(),
            full: VecDeque::new(),
            is_lazy: terms.is_lazy,
            sizes: terms.sizes,
            is_unannounced: false,
            is_drained: false,
            has_finished: false,
            is_blocked: false,
            is_dead: false,
        }
    }

    /// Whether it can do anything.
    pub(super) fn is_up(&self) -> bool {
        !self.is_blocked && !self.is_dead
    }

    /// Whether it has nothing to do and nothing to send.
    pub(super) fn is_at_rest(&self) -> bool {
        self.is_dead || self.apps.is_empty() && self.outbox.is_empty()
    }

    /// Describes its state.
    pub(super) fn describe(&self) -> String {
        format!("{} apps, {} bytes to write", self.apps.len(), self.outbox.len())
    }

    /// Reads at most `max` bytes and handles their frames.
    pub(super) fn turn(&mut self, down: &mut Pipe, max: usize, records: &mut Records) -> Checked {
        if down.is_at_end() {
            self.end();
            return Ok(());
        }
        let mut inbox = std::mem::replace(&mut self.inbox, Inbox::new(0));
        let room = inbox.room();
        let max = room.len().min(max);
        let len = down.read(&mut room[..max], &mut VecDeque::new());
        inbox.filled(len);
        let outcome = self.take_frames(&mut inbox, records);
        self.inbox = inbox;
        outcome?;
        self.announce();
        Ok(())
    }

    fn announce(&mut self) {
        if std::mem::take(&mut self.is_unannounced) && self.outbox.is_empty() {
            self.outbox.push(&FromWorker::Begun);
        }
    }

    fn take_frames(&mut self, inbox: &mut Inbox, records: &mut Records) -> Checked {
        let broken = |error: LinkError| Broken(format!("the edge breaks the protocol: {error}"));
        while let Some((header, payload)) = inbox.next_frame().map_err(broken)? {
            match FromEdge::parse(&header, payload).map_err(broken)? {
                FromEdge::Request(request) => {
                    let head = RequestView::parse(request.head)
                        .map_err(|error| Broken(format!("a head is broken: {error}")))?;
                    let mut stream = Stream::new(&request);
                    stream.set_pushes(if head.takes_pushes { PUSH_MAX } else { 0 });
                    let number = number_of(head.path)?;
                    rule(self.app(request.stream).is_none(), || {
                        format!("the stream of request {number} has a number that is in use")
                    })?;
                    self.apps.push(App {
                        number,
                        slot: usize::from(request.slot),
                        stream,
                        is_begun: false,
                        is_running: true,
                        is_queued: false,
                        has_trailers: false,
                        is_thorough: number.is_multiple_of(2),
                    });
                    if !self.is_lazy {
                        self.begin(self.apps.len() - 1, records)?;
                    }
                }
                FromEdge::Drain { .. } => self.is_drained = true,
                FromEdge::Stopping { .. } => {}
                FromEdge::Tls { .. } | FromEdge::Message { .. } | FromEdge::Close { .. } => {
                    return Err(Broken("a frame that no request has caused".to_owned()));
                }
                FromEdge::Data { stream, bytes, end } => {
                    let Some(at) = self.app(stream) else { continue };
                    let app = &mut self.apps[at];
                    if !app.stream.is_gone() {
                        app.stream.arrive(bytes, end).map_err(|error| {
                            Broken(format!(
                                "the edge breaks the protocol for request {}: {error}",
                                app.number
                            ))
                        })?;
                    }
                }
                FromEdge::Credit { stream, amount } => {
                    records.note("credits to workers");
                    let Some(at) = self.app(stream) else { continue };
                    self.apps[at].stream.credit(amount);
                    if planted::is(Planted::CreditTwice) {
                        self.apps[at].stream.credit(amount);
                    }
                    while let Some(at) = self.app(stream) {
                        if !self.pump(at) {
                            break;
                        }
                    }
                }
                FromEdge::HalfClose { stream } => {
                    let Some(at) = self.app(stream) else { continue };
                    // A close that arrived with the request was sent by `Exchange::sent`.
                    if self.apps[at].is_begun || !planted::is(Planted::HalfCloseLost) {
                        self.apps[at].stream.half_close();
                    }
                }
                FromEdge::Reset { stream, cancel: _ } => {
                    let Some(at) = self.app(stream) else { continue };
                    self.apps[at].stream.reset(&mut self.outbox);
                    if !self.apps[at].is_running {
                        self.finish(at, records)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn app(&self, stream: StreamId) -> Option<usize> {
        self.apps.iter().position(|app| app.stream.id() == stream)
    }

    /// Passes a request, and begins it unless it was withdrawn.
    fn begin(&mut self, at: usize, records: &mut Records) -> Checked {
        let app = &mut self.apps[at];
        if !self.claims.claim(app.slot, app.stream.id()) {
            records.note("withdrawn requests passed");
            self.apps.swap_remove(at);
            return Ok(());
        }
        app.is_begun = true;
        self.is_unannounced = true;
        records.begin(app.number, self.id)
    }

    /// Lets one app continue. `is_quick`: towards its end.
    pub(super) fn act(&mut self, scene: &mut Scene) -> Checked {
        if self.apps.is_empty() {
            return Ok(());
        }
        let at = scene.random.below(self.apps.len());
        if !self.apps[at].is_begun {
            return self.begin(at, &mut scene.records);
        }
        let App { number, stream, is_running: true, .. } = &self.apps[at] else { return Ok(()) };
        let number = *number;
        if stream.is_gone() && (scene.is_quick || scene.random.one_in(3)) {
            return self.finish(at, &mut scene.records);
        }
        if stream.phase() != Phase::Closed
            && (scene.random.one_in(4) || scene.is_quick && scene.random.one_in(2))
        {
            return self.receive(at, scene);
        }
        match self.apps[at].stream.phase() {
            Phase::Request => match scene.random.below(if scene.is_quick { 4 } else { 64 }) {
                0 if !scene.is_quick && scene.random.one_in(4) => self.finish(at, &mut scene.records),
                4..6 => {
                    self.hint(at, scene);
                    Ok(())
                }
                6 => {
                    if let Some((mut promise, fields)) = begin_promise(b"/pushed") {
                        fields.finish(&mut promise);
                        self.apps[at].stream.promise(&promise, &mut self.outbox);
                    }
                    Ok(())
                }
                7..16 => Ok(()),
                _ => self.send_head(at, number, &mut scene.random),
            },
            Phase::Response => self.send_body(at, scene),
            Phase::Trailers => {
                let mut block = Vec::new();
                let mut fields = ResponseHeadWriter::begin(&mut block, 0);
                fields.field(&mut block, b"end", number.to_string().as_bytes());
                fields.finish(&mut block);
                self.apps[at].stream.trailers(block, &mut self.outbox);
                scene.records.get(number)?.is_sent_over = true;
                Ok(())
            }
            Phase::Closed => self.finish(at, &mut scene.records),
        }
    }

    fn receive(&mut self, at: usize, scene: &mut Scene) -> Checked {
        let App { number, stream, .. } = &mut self.apps[at];
        let number = *number;
        let record = scene.records.get(number)?;
        let max = if scene.random.one_in(2) { MESSAGE_MAX } else { scene.random.between(1, 3000) };
        match stream.next(max, &mut self.outbox) {
            Next::Wait => Ok(()),
            Next::Disconnect => {
                let is_gone = stream.is_gone() || stream.phase() == Phase::Closed;
                record.has_seen_close = true;
                rule(is_gone || record.half_closed_at.is_some(), || {
                    format!(
                        "the app is notified that the client of request {number} is gone, which it is not"
                    )
                })
            }
            Next::Body { piece, more } => {
                let offset = record.received;
                record.received += piece.len();
                rule(
                    !record.has_received_all
                        && piece == scene.material.pattern.piece(number, offset, piece.len()),
                    || format!("the app gets other bytes than the client of request {number} has sent"),
                )?;
                record.has_received_all = !more;
                let is_whole = record.is_upload_over && record.received == record.uploaded;
                rule(record.received <= record.uploaded && (more || is_whole), || {
                    format!("the body of request {number} ends for the app after {} bytes", record.received)
                })
            }
        }
    }

    fn hint(&mut self, at: usize, scene: &mut Scene) {
        let mut head = Vec::new();
        let mut fields = ResponseHeadWriter::begin(&mut head, 103);
        fields.field(&mut head, b"link", &vec![b'x'; scene.random.below(3000)]);
        fields.finish(&mut head);
        let before = self.outbox.len();
        self.apps[at].stream.interim(&head, &mut self.outbox);
        if self.outbox.len() > before
            && let Ok(record) = scene.records.get(self.apps[at].number)
        {
            record.interims += 1;
        }
    }

    fn send_head(&mut self, at: usize, number: usize, random: &mut Random) -> Checked {
        let app = &mut self.apps[at];
        if app.stream.is_gone() {
            app.stream.start_nowhere();
            return Ok(());
        }
        let mark = self
            .outbox
            .push_head(HeadKind::Response, app.stream.id(), 200, |head, bytes| {
                head.field(bytes, b"number", number.to_string().as_bytes());
                Ok::<_, HeadTooLongError>(())
            })
            .map_err(|error| Broken(error.to_string()))?;
        app.stream.start(mark, None);
        if random.one_in(6) {
            app.stream.announce_trailers();
            app.has_trailers = true;
        }
        Ok(())
    }

    fn send_body(&mut self, at: usize, scene: &mut Scene) -> Checked {
        let App { number, stream, has_trailers, is_thorough, .. } = &mut self.apps[at];
        let (number, has_trailers, is_thorough) = (*number, *has_trailers, *is_thorough);
        let is_held_up =
            !stream.is_flushed() && (scene.is_quick || stream.has_file() || !scene.random.one_in(6));
        if is_held_up || !scene.is_quick && scene.random.one_in(8) {
            return Ok(());
        }
        if !scene.is_quick && scene.random.one_in(50) {
            return self.finish(at, &mut scene.records);
        }
        let record = scene.records.get(number)?;
        let offset = record.sent;
        let len = if scene.is_quick && scene.random.one_in(2) { 0 } else { scene.random.length(self.sizes) }
            .min(PIECE_MAX);
        let has_heard = record.has_received_all && (record.half_closed_at.is_none() || record.has_seen_close);
        let may_end = !is_thorough || has_heard || stream.is_gone();
        let end = may_end && scene.random.one_in(if scene.is_quick { 2 } else { 10 });
        record.sent += len;
        record.is_sent_over |= end && !has_trailers;
        let stalled = if len > 0 && scene.random.one_in(16) && stream.takes_files() {
            let descriptor = scene.material.file.try_clone().map_err(|error| Broken(error.to_string()))?;
            let file = FileOut { descriptor, offset: Pattern::place(number, offset) as u64, len: len as u64 };
            stream.file(file, end, &mut self.outbox)
        } else {
            stream.body(scene.material.pattern.piece(number, offset, len).to_vec(), end, &mut self.outbox)
        };
        match stalled {
            Stalled::No => {}
            Stalled::Window => scene.records.note("bodies stopped by the window"),
            Stalled::Outbox => {
                scene.records.note("bodies stopped by the outbox");
                self.queue(at);
            }
        }
        Ok(())
    }

    fn queue(&mut self, at: usize) {
        let app = &mut self.apps[at];
        if !std::mem::replace(&mut app.is_queued, true) {
            self.full.push_back(app.stream.id());
        }
    }

    /// Ends the app's task.
    fn finish(&mut self, at: usize, records: &mut Records) -> Checked {
        let app = &mut self.apps[at];
        if planted::is(Planted::DoneLost) && app.stream.is_gone() {
            self.apps.swap_remove(at);
            return Ok(());
        }
        app.is_running = false;
        if app.stream.finish(&mut self.outbox) {
            records.get(app.number)?.has_failed = true;
        }
        if app.stream.is_flushed() {
            self.apps.swap_remove(at);
        }
        Ok(())
    }

    /// Sends one frame of a response's body. Returns false once it has to wait or is complete.
    fn pump(&mut self, at: usize) -> bool {
        let app = &mut self.apps[at];
        let stalled = app.stream.pump(&mut self.outbox);
        let is_flushed = app.stream.is_flushed();
        if stalled == Stalled::Outbox {
            self.queue(at);
        }
        if is_flushed && !self.apps[at].is_running {
            self.apps.swap_remove(at);
        }
        !is_flushed && stalled == Stalled::No
    }

    /// Writes at most `max` bytes, refilling the outbox from waiting bodies, each in its turn.
    pub(super) fn write(&mut self, up: &mut Pipe, max: usize) -> Checked {
        self.announce();
        if self.is_drained && self.apps.is_empty() && !std::mem::replace(&mut self.has_finished, true) {
            self.outbox.push(&FromWorker::Finished { all: true });
        }
        let mut left = max;
        loop {
            while !self.outbox.is_empty() {
                if up.is_deaf {
                    self.end();
                    return Ok(());
                }
                let pending = self.outbox.pending();
                let len = pending.bytes.len().min(left);
                let file = if len > 0 && up.room() > 0 {
                    let cloned = pending.descriptor.map(|file| file.try_clone_to_owned()).transpose();
                    cloned.map_err(|error| Broken(error.to_string()))?
                } else {
                    None
                };
                let len = up.write(&pending.bytes[..len], file);
                self.outbox.wrote(len);
                left -= len;
                if len == 0 {
                    self.outbox.compact();
                    return Ok(());
                }
            }
            while !self.outbox.is_full() {
                let Some(stream) = self.full.pop_front() else { break };
                let Some(at) = self.app(stream) else { continue };
                self.apps[at].is_queued = false;
                if self.pump(at) {
                    self.queue(at);
                }
            }
            if self.outbox.is_empty() {
                if self.has_finished {
                    self.end();
                }
                return Ok(());
            }
        }
    }

    /// Ends the process.
    pub(super) fn end(&mut self) {
        self.is_dead = true;
        self.apps.clear();
        self.outbox.close();
    }
}

fn number_of(path: &[u8]) -> Checked<usize> {
    let digits = path.get(1..).and_then(|digits| std::str::from_utf8(digits).ok());
    let number = digits.and_then(|digits| digits.parse().ok());
    number.ok_or_else(|| Broken("a request's head has another path".to_owned()))
}
