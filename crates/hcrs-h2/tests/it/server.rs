//! The server's part: polls a connection as the edge does, and notes what it saw.

use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hcrs_h2::{BodyRoom, Connection, Ended, Event, Sent, ServerFields, Settings, StreamKey, Turn};
use hcrs_http::{Endpoints, Fault, ResponseHead, ResponseHeadWriter, Scheme};

use crate::pipe::End;

/// More polls in a row than any test needs: a connection that wakes itself indefinitely fails, and does not hang.
const MANY_POLLS: usize = 10_000;

/// An [`Event`] that can be compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    /// A request: the stream's number on the wire, method and target, and whether a body follows.
    Request(u32, String, bool),
    /// A request that was promised: number, method and target.
    Pushed(u32, String),
    Data(u32, usize),
    Trailers(u32, String),
    End(u32),
    Sent(u32, usize, bool),
    Reset(u32),
    /// The stream's number on the wire, method and path.
    Refused(u32, String),
}

/// Returns the number of a stream as frames have it.
fn id_of(key: &StreamKey) -> u32 {
    u32::try_from(key.id).expect("31 bits")
}

/// A counter of a task's wake-ups.
#[derive(Debug, Default)]
pub(crate) struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Wakes {
    pub(crate) fn take(&self) -> usize {
        self.0.swap(0, Ordering::SeqCst)
    }
}

/// The reaction of an app to an event.
pub(crate) type App = Box<dyn FnMut(&mut Hands<'_, '_>, &Event)>;

/// A connection, its app, and what has happened.
pub(crate) struct Server {
    pub(crate) connection: Connection<End>,
    pub(crate) now: Instant,
    pub(crate) seen: Vec<Seen>,
    pub(crate) ended: Option<Ended>,
    pub(crate) polls: usize,
    woken: Arc<Wakes>,
    app: App,
    /// The keys of all streams that began.
    keys: Vec<StreamKey>,
    /// The app reads a stream of which no byte is there.
    pub(crate) is_hungry: bool,
    /// Whether the last turn found the socket full.
    pub(crate) is_blocked: bool,
    closing: bool,
}

/// The connection as the app uses it.
pub(crate) struct Hands<'a, 'c> {
    pub(crate) connection: &'a mut Turn<'c, End>,
    pub(crate) now: Instant,
}

impl Server {
    /// Exchanges prefaces with a client that has already sent its own.
    pub(crate) fn new(io: End, settings: &Settings, app: App) -> Self {
        Self::beside(&BodyRoom::new(settings.thread_room), io, settings, app)
    }

    /// Exchanges prefaces, with other connections in the room.
    pub(crate) fn beside(room: &Rc<BodyRoom>, io: End, settings: &Settings, app: App) -> Self {
        let counted = Arc::new(Wakes::default());
        let waker = Waker::from(Arc::clone(&counted));
        let handshake = hcrs_h2::handshake(io, settings, Scheme::Https, Rc::new(Endpoints::default()), room);
        let Poll::Ready(outcome) = pin!(handshake).poll(&mut Context::from_waker(&waker)) else {
            panic!("the client's preface is there");
        };
        let mut server = Self {
            connection: outcome.expect("a good preface"),
            now: Instant::now(),
            seen: Vec::new(),
            ended: None,
            polls: 0,
            woken: counted,
            app,
            keys: Vec::new(),
            is_hungry: true,
            is_blocked: false,
            closing: false,
        };
        server.turn(|_| {});
        server
    }

    /// Polls the connection once, beginning with what the app sends.
    pub(crate) fn turn(&mut self, act: impl FnOnce(&mut Hands<'_, '_>)) {
        if self.ended.is_some() {
            return;
        }
        self.polls += 1;
        self.woken.take();
        let waker = self.waker();
        let mut cx = Context::from_waker(&waker);
        if self.closing {
            return self.close(&mut cx);
        }
        let mut turn = self.connection.begin_turn(&ServerFields::default());
        act(&mut Hands { connection: &mut turn, now: self.now });
        while let Poll::Ready(outcome) = turn.poll_event(&mut cx, self.now) {
            match outcome {
                Ok(event) => {
                    self.seen.push(note(&event, &mut self.keys));
                    let mut hands = Hands { connection: &mut turn, now: self.now };
                    (self.app)(&mut hands, &event);
                }
                Err(Ended::Fault(fault)) => {
                    self.closing = true;
                    turn.abrupt_shutdown(fault);
                    drop(turn);
                    self.close(&mut cx);
                    if self.ended.is_some() {
                        self.ended = Some(Ended::Fault(fault));
                    }
                    return;
                }
                Err(ended) => {
                    self.ended = Some(ended);
                    return;
                }
            }
        }
        let is_hungry = self.is_hungry;
        turn.open_window(|| is_hungry);
        let written = turn.end(&mut cx);
        self.is_blocked = written.is_pending();
        if let Poll::Ready(Err(error)) = written {
            self.ended = Some(Ended::Io(error));
        }
    }

    fn close(&mut self, cx: &mut Context<'_>) {
        if self.connection.poll_close(cx, self.now).is_ready() {
            self.ended = Some(Ended::Closed);
        }
    }

    /// Polls the connection as long as it is woken. Returns the number of polls.
    pub(crate) fn settle(&mut self) -> usize {
        let mut polls = 0;
        while self.ended.is_none() && self.is_woken() {
            self.turn(|_| {});
            polls += 1;
            assert!(polls < MANY_POLLS, "the connection wakes itself for ever");
        }
        polls
    }

    /// Returns the waker of the connection's task.
    pub(crate) fn waker(&self) -> Waker {
        Waker::from(Arc::clone(&self.woken))
    }

    /// Whether the connection was woken.
    pub(crate) fn is_woken(&self) -> bool {
        self.woken.0.load(Ordering::SeqCst) > 0
    }

    /// Replaces the app.
    pub(crate) fn set_app(&mut self, app: App) {
        self.app = app;
    }

    /// Lets time pass.
    pub(crate) fn wait(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    /// Returns the key of the stream with a number.
    pub(crate) fn key(&self, id: u32) -> StreamKey {
        *self.keys.iter().find(|key| id_of(key) == id).expect("a stream that began")
    }

    /// Sends a whole response.
    pub(crate) fn answer(&mut self, id: u32, status: u16, body: &'static [u8]) {
        let key = self.key(id);
        self.turn(|hands| {
            answer(hands, key, &head(status, &[]), Bytes::from_static(body));
        });
        self.settle();
    }

    /// Returns the events since the last call.
    pub(crate) fn take_seen(&mut self) -> Vec<Seen> {
        std::mem::take(&mut self.seen)
    }

    /// Returns the number of streams that have begun and are not over.
    pub(crate) fn open_streams(&mut self) -> usize {
        assert!(self.ended.is_none(), "the connection is over");
        let (keys, mut open) = (self.keys.clone(), 0);
        self.turn(|hands| {
            let over = Ok(Sent { len: 0, done: true });
            let mut is_open = |key| hands.connection.send_data(hands.now, key, Bytes::new(), false) != over;
            open = keys.into_iter().filter(|&key| is_open(key)).count();
        });
        open
    }
}

/// Returns the event in a form that can be compared, and notes the key of a stream that begins.
fn note(event: &Event, keys: &mut Vec<StreamKey>) -> Seen {
    match event {
        Event::Request { key, head } | Event::Pushed { key, head } => {
            keys.push(*key);
            let view = head.view();
            let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
            let mut line = format!("{} {}", text(view.method), text(view.path));
            if !view.query.is_empty() {
                line.extend(["?", &text(view.query)]);
            }
            match event {
                Event::Pushed { .. } => Seen::Pushed(id_of(key), line),
                _ => Seen::Request(id_of(key), line, head.has_body()),
            }
        }
        Event::Data { key, data, .. } => Seen::Data(id_of(key), data.len()),
        Event::Trailers { key, trailers } => {
            let fields = trailers.fields().map(|(name, value)| [name, b"=", value].concat());
            let fields: Vec<_> = fields.map(|field| String::from_utf8_lossy(&field).into_owned()).collect();
            Seen::Trailers(id_of(key), fields.join(" "))
        }
        Event::End { key } => Seen::End(id_of(key)),
        Event::Sent { key, len, done } => Seen::Sent(id_of(key), *len, *done),
        Event::Reset { key } => Seen::Reset(id_of(key)),
        Event::Refused { stream_id, head, .. } => {
            let view = head.view();
            let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
            Seen::Refused(
                u32::try_from(*stream_id).expect("31 bits"),
                format!("{} {}", text(view.method), text(view.path)),
            )
        }
    }
}

/// Returns an app that does nothing.
pub(crate) fn silent() -> App {
    Box::new(|_, _| {})
}

/// Returns an app that answers each request at once, and takes each body.
pub(crate) fn page(body: impl Into<Bytes>) -> App {
    let (head, body) = (head(200, &[]), body.into());
    Box::new(move |hands, event| match event {
        Event::Request { key, .. } | Event::Pushed { key, .. } => answer(hands, *key, &head, body.clone()),
        Event::Data { key, data, .. } => hands.connection.release(*key, data.len()),
        Event::Trailers { .. }
        | Event::End { .. }
        | Event::Sent { .. }
        | Event::Reset { .. }
        | Event::Refused { .. } => {}
    })
}

/// Sends a whole response.
pub(crate) fn answer(hands: &mut Hands<'_, '_>, key: StreamKey, head: &ResponseHead, body: Bytes) {
    let over = hands.connection.send_head(key, head, false).expect("a good head");
    assert!(!over);
    hands.connection.send_data(hands.now, key, body, true).expect("a good body");
}

/// Returns a response's head.
pub(crate) fn head(status: u16, fields: &[(&str, &str)]) -> ResponseHead {
    let mut block = Vec::new();
    let mut writer = ResponseHeadWriter::begin(&mut block, status);
    for (name, value) in fields {
        writer.field(&mut block, name.as_bytes(), value.as_bytes());
    }
    writer.finish(&mut block);
    ResponseHead::parse(block.into()).expect("well-formed")
}

/// Returns the end of a connection in a form that can be compared.
pub(crate) fn ended_calm(server: &Server) -> Option<Fault> {
    match server.ended {
        Some(Ended::Fault(fault)) => Some(fault),
        _ => None,
    }
}
