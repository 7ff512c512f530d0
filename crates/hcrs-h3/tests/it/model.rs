//! Whatever a client sends and an app does: nothing panics, limits hold, and what leaves is legal. The transport
//! judges each call, and the model each frame.

use std::collections::HashMap;

use bytes::Bytes;
use hcrs_h3::{Settings, StreamKey, Turn};
use hcrs_http::{Fault, ResponseHead};
use proptest::prelude::*;

use crate::frames::{
    DATA, Frame, PRIORITY_UPDATE, control, data, frame, headers, read_frames, request, varint,
};
use crate::server::{CONTROL, Seen, Server, head, silent, status};

const MAX_STREAMS: u64 = 4;
const STREAM_WINDOW: usize = 20_000;
const ROOM: usize = 40_000;
/// Most bytes that are taken of one body although there is no room, because its app has read all before.
const STEP: usize = 16 << 10;

fn settings() -> Settings {
    Settings {
        max_concurrent_streams: MAX_STREAMS as u32,
        stream_window: STREAM_WINDOW,
        connection_room: ROOM,
        max_header_list_size: 2000,
        reset_burst: 20,
        reset_refill: 1,
        frame_burst: 60,
        frame_refill: 1,
        ..Settings::default()
    }
}

/// An act of a client, or of the app.
#[derive(Debug, Clone)]
enum Act {
    /// The next request: one of these heads, cut in two.
    Request {
        head: usize,
        cut: usize,
    },
    Data {
        stream: u64,
        len: usize,
    },
    /// Bytes of a frame whose end does not come.
    Torso {
        stream: u64,
    },
    Trailers {
        stream: u64,
    },
    Finish {
        stream: u64,
    },
    Reset {
        stream: u64,
    },
    Stop {
        stream: u64,
    },
    Widen {
        stream: u64,
        by: usize,
    },
    Priority {
        stream: u64,
    },
    Any {
        stream: u64,
        bytes: Vec<u8>,
    },
    App {
        which: usize,
        does: Does,
    },
    Wait(u64),
    Leave,
}

/// An act of an app.
#[derive(Debug, Clone)]
enum Does {
    Head { status: u16, end: bool },
    Data { len: usize, end: bool },
    Trailers,
    Interim,
    Fail,
    Release(usize),
}

/// Heads that are good, that are refused, malformed, and one that ends the connection.
fn heads() -> [Vec<u8>; 6] {
    [
        request("POST", "/", &[]),
        request("HEAD", "/", &[]),
        request("POST", "/", &[("content-length", "5000")]),
        request("GET", "/a#b", &[]),
        headers(&[(":method", "GET")]),
        frame(0x1, &[1, 0]),
    ]
}

fn does() -> impl Strategy<Value = Does> {
    prop_oneof![
        3 => (prop_oneof![Just(200u16), Just(204)], any::<bool>()).prop_map(|(status, end)| Does::Head { status, end }),
        5 => (0usize..60_000, any::<bool>()).prop_map(|(len, end)| Does::Data { len, end }),
        1 => Just(Does::Trailers),
        1 => Just(Does::Interim),
        1 => Just(Does::Fail),
        3 => (0usize..20_000).prop_map(Does::Release),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    let stream = || (0u64..8).prop_map(|n| n * 4);
    let bytes = || proptest::collection::vec(any::<u8>(), 0..30);
    prop_oneof![
        60 => (prop_oneof![20 => 0usize..3, 1 => 3usize..6], 0usize..60).prop_map(|(head, cut)| Act::Request { head, cut }),
        50 => (stream(), 0usize..9000).prop_map(|(stream, len)| Act::Data { stream, len }),
        2 => stream().prop_map(|stream| Act::Torso { stream }),
        8 => stream().prop_map(|stream| Act::Trailers { stream }),
        30 => stream().prop_map(|stream| Act::Finish { stream }),
        6 => stream().prop_map(|stream| Act::Reset { stream }),
        6 => stream().prop_map(|stream| Act::Stop { stream }),
        30 => (stream(), 1usize..80_000).prop_map(|(stream, by)| Act::Widen { stream, by }),
        4 => stream().prop_map(|stream| Act::Priority { stream }),
        1 => (0u64..30, bytes()).prop_map(|(stream, bytes)| Act::Any { stream, bytes }),
        120 => (0usize..6, does()).prop_map(|(which, does)| Act::App { which, does }),
        10 => (0u64..3000).prop_map(Act::Wait),
        1 => Just(Act::Leave),
    ]
}

/// A stream, as a client and its app know it.
#[derive(Debug, Default)]
struct StreamModel {
    is_finished: bool,
    is_reset: bool,
    /// Bytes that came and are no whole frame.
    rest: Vec<u8>,
    has_head: bool,
    has_trailers: bool,
    /// What the app sends as a body is dropped.
    is_bodiless: bool,
    /// Bytes of bodies that came, and that the app was told of.
    body: usize,
    sent: usize,
    /// Bytes that the app has not released.
    held: usize,
    key: Option<StreamKey>,
    is_over: bool,
}

struct Model {
    server: Server,
    next_id: u64,
    streams: HashMap<u64, StreamModel>,
}

impl Model {
    fn new() -> Self {
        let mut server = Server::silent_client(&settings(), silent());
        server.wire.window = 10_000;
        server.send(CONTROL, &control(&[]));
        Self { server, next_id: 0, streams: HashMap::new() }
    }

    fn stream(&mut self, id: u64) -> &mut StreamModel {
        self.streams.get_mut(&id).expect("a stream that the client has begun")
    }

    /// Returns a stream of the last few that the client has begun and can still use.
    fn open(&mut self, stream: u64) -> Option<u64> {
        let id = self.next_id.checked_sub(4 + stream)?;
        let model = self.streams.get(&id)?;
        (!model.is_finished && !model.is_reset).then_some(id)
    }

    fn do_act(&mut self, act: Act) {
        match act {
            Act::Request { head, cut } => {
                let bytes = &heads()[head];
                let id = self.next_id;
                let is_free =
                    self.streams.values().filter(|stream| !stream.is_over).count() < MAX_STREAMS as usize;
                if is_free {
                    self.next_id += 4;
                    self.streams.insert(id, StreamModel::default());
                    self.server.send(id, &bytes[..cut.min(bytes.len())]);
                    self.server.send(id, &bytes[cut.min(bytes.len())..]);
                }
            }
            Act::Data { stream, len } => self.send(stream, &data(&vec![7; len])),
            Act::Torso { stream } => self.send(stream, &[varint(DATA), varint(5), vec![7]].concat()),
            Act::Trailers { stream } => self.send(stream, &headers(&[("checksum", "1")])),
            Act::Finish { stream } => {
                if let Some(id) = self.open(stream) {
                    self.stream(id).is_finished = true;
                    self.server.wire.finish_request(id);
                }
            }
            Act::Reset { stream } => {
                if let Some(id) = self.open(stream) {
                    self.stream(id).is_reset = true;
                    self.server.wire.reset_request(id);
                }
            }
            Act::Stop { stream } => {
                if let Some(id) = self.next_id.checked_sub(4 + stream) {
                    self.server.wire.stop_response(id);
                }
            }
            Act::Widen { stream, by } => {
                if let Some(id) = self.next_id.checked_sub(4 + stream) {
                    self.server.wire.widen(id, by);
                }
            }
            Act::Priority { stream } => {
                let payload = [&varint(stream)[..], b"u=1, i"].concat();
                self.server.wire.send(CONTROL, &frame(PRIORITY_UPDATE, &payload));
            }
            Act::Any { stream, bytes } => {
                // A control stream, a request's, or a new one of an unknown type.
                let id = if stream & 1 == 0 { CONTROL } else { 6 };
                self.server.wire.send(id, &bytes);
            }
            Act::App { which, does } => self.app(which, &does),
            Act::Wait(millis) => self.server.wait(millis),
            Act::Leave => self.server.connection.graceful_shutdown(),
        }
    }

    fn send(&mut self, stream: u64, bytes: &[u8]) {
        if let Some(id) = self.open(stream) {
            self.server.wire.send(id, bytes);
        }
    }

    fn app(&mut self, which: usize, does: &Does) {
        let mut of_app: Vec<_> =
            self.streams.iter().filter(|(_, stream)| !stream.is_over && stream.key.is_some()).collect();
        of_app.sort_by_key(|(id, _)| **id);
        let Some(&(&id, stream)) = of_app.get(which) else { return };
        let Some(key) = stream.key else { return };
        let mut outcome = (0, false);
        let held = stream.held;
        self.server.turn(|turn, now| outcome = act_of_app(turn, now, key, does, held));
        let stream = self.stream(id);
        stream.sent += outcome.0;
        stream.is_over |= outcome.1;
        if let Does::Release(len) = does {
            stream.held -= (*len).min(held);
        }
    }

    /// Judges what has happened.
    fn check(&mut self) {
        if self.server.ended.is_some() {
            return;
        }
        self.server.settle();
        for seen in self.server.take_seen() {
            let (id, is_over) = match seen {
                Seen::Request(id, line, _) => {
                    let key = self.server.key(id);
                    let stream = self.stream(id);
                    assert!(stream.key.replace(key).is_none(), "a request begins once");
                    stream.is_bodiless = line.starts_with("HEAD");
                    continue;
                }
                Seen::Refused(id, _) => {
                    let stream = self.stream(id);
                    assert!(stream.key.is_none());
                    stream.is_over = true;
                    continue;
                }
                Seen::Data(id, bytes) => {
                    self.stream(id).held += bytes.len();
                    (id, false)
                }
                Seen::Trailers(id, _) | Seen::End(id) => (id, false),
                Seen::Sent(id, len, done) => {
                    self.stream(id).sent += len;
                    (id, done)
                }
                Seen::Reset(id) => (id, true),
            };
            let stream = self.stream(id);
            assert!(stream.key.is_some() && !stream.is_over, "an event of a stream that the app has");
            stream.is_over = is_over;
        }
        let ids: Vec<_> = self.streams.keys().copied().collect();
        for id in ids {
            self.check_response(id);
        }
        let held: usize =
            self.streams.values().filter(|stream| !stream.is_over).map(|stream| stream.held).sum();
        if self.server.ended.is_none() {
            assert_eq!(self.server.room.taken(), held, "the room is what the apps hold");
        }
        assert!(held <= ROOM + STREAM_WINDOW + MAX_STREAMS as usize * STEP, "{held} bytes are held");
    }

    fn check_response(&mut self, id: u64) {
        let bytes = self.server.wire.take(id);
        let (is_finished, is_reset) =
            (self.server.wire.is_finished(id), self.server.wire.reset_with(id).is_some());
        let stream = self.stream(id);
        stream.rest.extend(bytes);
        let (frames, rest) = read_frames(&stream.rest);
        stream.rest = rest;
        for frame in frames {
            match frame {
                Frame::Headers(fields) if !stream.has_head => {
                    let status = status(&fields);
                    stream.has_head = status >= 200;
                    stream.is_bodiless |= status == 204;
                }
                Frame::Headers(fields) => {
                    assert!(!std::mem::replace(&mut stream.has_trailers, true), "one trailer section");
                    assert!(!fields[0].0.starts_with(':'));
                }
                Frame::Data(data) => {
                    assert!(stream.has_head && !stream.has_trailers, "a body is between head and trailers");
                    stream.body += data.len();
                }
                other => panic!("{other:?} on a request stream"),
            }
        }
        assert!(!(is_finished && is_reset) || stream.is_over, "a stream ends once");
        if is_finished && !is_reset {
            assert!(stream.rest.is_empty() && stream.has_head, "a response is whole: {stream:?}");
            let expected = if stream.is_bodiless { 0 } else { stream.sent };
            assert_eq!(stream.body, expected, "the app knows what was taken");
        }
        if is_reset && stream.key.is_none() {
            stream.is_over = true;
        }
    }
}

fn act_of_app(
    turn: &mut Turn<'_>,
    now: std::time::Instant,
    key: StreamKey,
    does: &Does,
    held: usize,
) -> (usize, bool) {
    let response = |status| -> ResponseHead { head(status, &[("x-a", "1")]) };
    match does {
        Does::Head { status, end } => (0, turn.send_head(key, &response(*status), *end).unwrap_or(false)),
        Does::Data { len, end } => match turn.send_data(now, key, Bytes::from(vec![7; *len]), *end) {
            Ok(sent) => (sent.len, sent.done),
            Err(_) => (0, false),
        },
        Does::Trailers => (0, turn.send_trailers(now, key, &head(0, &[("checksum", "1")])).unwrap_or(false)),
        Does::Interim => {
            // It comes too late behind a head.
            let _sent = turn.send_interim(key, &head(103, &[("link", "</a>")]));
            (0, false)
        }
        Does::Fail => {
            turn.fail(key, Fault::AppFailed);
            (0, true)
        }
        Does::Release(len) => {
            turn.release(key, (*len).min(held));
            (0, false)
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn what_leaves_is_legal_and_limits_hold(acts in proptest::collection::vec(act(), 1..120)) {
        let mut model = Model::new();
        for act in acts {
            model.do_act(act);
            model.check();
        }
        let room = std::rc::Rc::clone(&model.server.room);
        drop(model);
        prop_assert_eq!(room.taken(), 0);
    }

    #[test]
    fn any_cut_of_the_input_has_the_same_outcome(
        first in 0usize..6,
        parts in proptest::collection::vec((0u64..3, proptest::collection::vec(any::<u8>(), 0..40)), 0..6),
        piece in 1usize..30,
        end: bool,
    ) {
        let mut bytes = heads()[first].clone();
        for (kind, payload) in &parts {
            bytes.extend(if *kind == 2 { payload.clone() } else { frame(kind * 0x21, payload) });
        }
        let outcome = |piece| {
            let mut server = Server::with(&settings(), silent());
            server.wire.piece = piece;
            server.wire.send(0, &bytes);
            if end {
                server.wire.finish_request(0);
            }
            server.settle();
            let (mut body, mut others) = (Vec::new(), Vec::new());
            for seen in server.take_seen() {
                match seen {
                    Seen::Data(0, data) => body.extend(data),
                    other => others.push(other),
                }
            }
            if server.ended.is_some() {
                // What the app has heard before depends on the cut.
                (body, others) = Default::default();
            }
            (body, others, server.closed_with(), server.wire.reset_with(0), server.wire.take(0))
        };
        let whole = outcome(usize::MAX);
        prop_assert_eq!(&outcome(piece), &whole);
        prop_assert_eq!(&outcome(1), &whole);
    }

    #[test]
    fn no_bytes_make_a_connection_panic(
        streams in proptest::collection::vec((0u64..5, proptest::collection::vec(any::<u8>(), 0..60)), 0..10),
    ) {
        let mut server = Server::silent_client(&settings(), silent());
        for (stream, bytes) in streams {
            if server.ended.is_none() {
                server.send([0, 4, 2, 6, 10][stream as usize], &bytes);
            }
        }
    }
}
