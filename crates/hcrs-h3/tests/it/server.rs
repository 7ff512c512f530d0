//! The server's part: polls a connection as the edge does, and notes what it saw. It judges all that leaves.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hcrs_h3::{BodyRoom, Connection, Ended, Event, ServerFields, Settings, StreamKey, Turn};
use hcrs_http::{Endpoints, ResponseHead, ResponseHeadWriter};

use crate::frames::{self, Frame};
use crate::wire::Wire;

/// The client's control stream.
pub(crate) const CONTROL: u64 = 2;

/// More polls in a row than any test needs.
const MANY_POLLS: usize = 100_000;

/// An [`Event`] that can be compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    /// A request: the stream's number, method and target, and whether a body follows.
    Request(u64, String, bool),
    Data(u64, Vec<u8>),
    Trailers(u64, String),
    End(u64),
    Sent(u64, usize, bool),
    Reset(u64),
    /// The stream's number, and the status.
    Refused(u64, u16),
}

/// A counter of a task's wake-ups.
#[derive(Debug, Default)]
pub(crate) struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// The reaction of an app to an event.
pub(crate) type App = Box<dyn FnMut(&mut Turn<'_>, Instant, &Event)>;

/// A connection, its transport, its app, and what has happened.
pub(crate) struct Server {
    pub(crate) connection: Connection,
    pub(crate) wire: Wire,
    pub(crate) room: Rc<BodyRoom>,
    pub(crate) now: Instant,
    pub(crate) seen: Vec<Seen>,
    pub(crate) ended: Option<Ended>,
    pub(crate) fields: ServerFields,
    woken: Arc<Wakes>,
    app: App,
    keys: Vec<StreamKey>,
}

impl Server {
    /// Returns a connection whose client has sent settings without entries.
    pub(crate) fn new(app: App) -> Self {
        Self::with(&Settings::default(), app)
    }

    pub(crate) fn with(settings: &Settings, app: App) -> Self {
        let mut server = Self::silent_client(settings, app);
        server.wire.send(CONTROL, &frames::control(&[]));
        server.settle();
        server
    }

    /// Returns a connection whose client has sent nothing.
    pub(crate) fn silent_client(settings: &Settings, app: App) -> Self {
        let room = BodyRoom::new(64 << 20);
        Self {
            connection: Connection::new(settings, Rc::new(Endpoints::default()), &room),
            wire: Wire::default(),
            room,
            now: Instant::now(),
            seen: Vec::new(),
            ended: None,
            fields: ServerFields::default(),
            woken: Arc::new(Wakes::default()),
            app,
            keys: Vec::new(),
        }
    }

    /// Polls the connection once, beginning with what the app sends.
    pub(crate) fn turn(&mut self, act: impl FnOnce(&mut Turn<'_>, Instant)) {
        if self.ended.is_some() {
            return;
        }
        self.woken.0.store(0, Ordering::SeqCst);
        self.wire.report(&mut self.connection);
        let waker = Waker::from(Arc::clone(&self.woken));
        let cx = &mut Context::from_waker(&waker);
        let fields = self.fields.clone();
        let mut turn = self.connection.begin_turn(&mut self.wire, &fields);
        act(&mut turn, self.now);
        loop {
            match turn.poll_event(cx, self.now) {
                Poll::Ready(Ok(event)) => {
                    self.seen.push(note(&event, &mut self.keys));
                    (self.app)(&mut turn, self.now, &event);
                }
                Poll::Ready(Err(ended)) => {
                    self.ended = Some(ended);
                    break;
                }
                Poll::Pending => break,
            }
        }
        turn.end(cx, self.now);
    }

    /// Polls the connection as long as it is woken or something happens on the transport.
    pub(crate) fn settle(&mut self) {
        for _ in 0..MANY_POLLS {
            self.turn(|_, _| {});
            let is_woken = self.woken.0.load(Ordering::SeqCst) > 0;
            if self.ended.is_some() || !self.wire.report(&mut self.connection) && !is_woken {
                return;
            }
        }
        panic!("the connection is polled for ever: {:?}", self.seen);
    }

    /// Sends a request and its end, and lets the server run.
    pub(crate) fn request(&mut self, id: u64, bytes: &[u8]) {
        self.wire.send(id, bytes);
        self.wire.finish_request(id);
        self.settle();
    }

    /// Sends bytes, and lets the server run.
    pub(crate) fn send(&mut self, id: u64, bytes: &[u8]) {
        self.wire.send(id, bytes);
        self.settle();
    }

    /// Lets time pass.
    pub(crate) fn wait(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
        self.settle();
    }

    /// Returns the key of the stream with a number.
    pub(crate) fn key(&self, id: u64) -> StreamKey {
        *self.keys.iter().find(|key| key.id == id).expect("a stream that began")
    }

    /// Returns the events since the last call.
    pub(crate) fn take_seen(&mut self) -> Vec<Seen> {
        std::mem::take(&mut self.seen)
    }

    /// Returns the whole frames that came on a stream since the last call.
    pub(crate) fn frames(&mut self, id: u64) -> Vec<Frame> {
        let (frames, rest) = frames::read_frames(&self.wire.take(id));
        assert!(rest.is_empty(), "frames are whole");
        frames
    }

    /// Returns the response that came on a stream, which is complete: its status, and its body.
    pub(crate) fn response(&mut self, id: u64) -> (u16, Vec<u8>) {
        assert!(self.wire.is_finished(id), "the response is complete: {:?}", self.seen);
        let (mut status, mut body) = (0, Vec::new());
        for frame in self.frames(id) {
            match frame {
                Frame::Headers(fields) if status < 200 => status = self::status(&fields),
                Frame::Data(data) => body.extend(data),
                other => panic!("{other:?}"),
            }
        }
        (status, body)
    }

    /// Returns the code that the connection was closed with.
    pub(crate) fn closed_with(&self) -> Option<String> {
        self.wire.closed_with.map(|code| format!("{code:?}"))
    }
}

/// Returns the status of a response's fields, which is their first.
pub(crate) fn status(fields: &[(String, String)]) -> u16 {
    assert_eq!(fields[0].0, ":status");
    fields[0].1.parse().expect("a status")
}

fn note(event: &Event, keys: &mut Vec<StreamKey>) -> Seen {
    match event {
        Event::Pushed { .. } => panic!("HTTP/3 has no pushes here"),
        Event::Request { key, head } => {
            keys.push(*key);
            let view = head.view();
            let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
            let mut line = format!("{} {}", text(view.method), text(view.path));
            if !view.query.is_empty() {
                line.extend(["?", &text(view.query)]);
            }
            Seen::Request(key.id, line, head.has_body())
        }
        Event::Data { key, data, .. } => Seen::Data(key.id, data.to_vec()),
        Event::Trailers { key, trailers } => {
            let fields = trailers.fields().map(|(name, value)| [name, b"=", value].concat());
            let fields: Vec<_> = fields.map(|field| String::from_utf8_lossy(&field).into_owned()).collect();
            Seen::Trailers(key.id, fields.join(" "))
        }
        Event::End { key } => Seen::End(key.id),
        Event::Sent { key, len, done } => Seen::Sent(key.id, *len, *done),
        Event::Reset { key } => Seen::Reset(key.id),
        Event::Refused { stream_id, fault, .. } => Seen::Refused(*stream_id, fault.status()),
    }
}

/// Returns an app that does nothing.
pub(crate) fn silent() -> App {
    Box::new(|_, _, _| {})
}

/// Returns an app that answers each request at once, and takes each body.
pub(crate) fn page(body: impl Into<Bytes>) -> App {
    let (head, body) = (head(200, &[]), body.into());
    Box::new(move |turn, now, event| match event {
        Event::Request { key, .. } => answer(turn, now, *key, &head, body.clone()),
        Event::Data { key, data, .. } => turn.release(*key, data.len()),
        Event::Pushed { .. }
        | Event::Trailers { .. }
        | Event::End { .. }
        | Event::Sent { .. }
        | Event::Reset { .. }
        | Event::Refused { .. } => {}
    })
}

/// Sends a whole response.
pub(crate) fn answer(turn: &mut Turn<'_>, now: Instant, key: StreamKey, head: &ResponseHead, body: Bytes) {
    let over = turn.send_head(key, head, false).expect("a good head");
    assert!(!over);
    turn.send_data(now, key, body, true).expect("a good body");
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
