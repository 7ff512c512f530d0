//! A model of a client that knows the rules judges what leaves.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use hcrs_http::{RequestHead, ResponseHead};
use proptest::prelude::*;

use super::acts::{Act, BLOCKS, Does, PRIORITIES, any_act, honest};
use super::*;
use crate::frame::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PUSH_PROMISE, RST_STREAM,
    WINDOW_UPDATE,
};

/// A stream, as a client knows it.
#[derive(Debug, Default, Clone)]
struct StreamModel {
    /// Bytes that the server may send.
    window: i64,
    has_head: bool,
    has_ended: bool,
}

/// A client that knows the rules, and its app on the other side.
struct Model {
    protocol: Protocol,
    room: Rc<BodyRoom>,
    now: Instant,
    next_id: u32,
    window: i64,
    initial_window: i64,
    takes_pushes: bool,
    streams: HashMap<u32, StreamModel>,
    /// Streams that the app has, oldest first.
    of_app: Vec<StreamKey>,
    heads: HashMap<u64, RequestHead>,
    error: Option<Error>,
}

impl Model {
    fn new() -> Self {
        let room = BodyRoom::new(settings().thread_room);
        let mut model = Self {
            protocol: protocol(&room),
            room,
            now: Instant::now(),
            next_id: 1,
            window: i64::from(FIRST_WINDOW),
            initial_window: i64::from(FIRST_WINDOW),
            takes_pushes: true,
            streams: HashMap::new(),
            of_app: Vec::new(),
            heads: HashMap::new(),
            error: None,
        };
        model.send(&frame(SETTINGS, 0, 0, &[]));
        model
    }

    fn send(&mut self, bytes: &[u8]) {
        if self.error.is_none() {
            self.error = self.protocol.receive(bytes, self.now).err();
            if let Some(error) = self.error {
                self.protocol.leave_now(match error {
                    Error::Protocol(code) => code,
                    Error::Fault(_) => ErrorCode::ENHANCE_YOUR_CALM,
                });
            }
        }
    }

    /// Returns one of the last streams that the client has begun; `None` before the first.
    fn begun(&self, stream: u32) -> Option<u32> {
        begun(self.next_id, stream)
    }

    fn act(&mut self, act: &Act) {
        // Frames that have left before are legal by what the client had sent before.
        let bytes = written(&mut self.protocol);
        self.check_frames(&bytes);
        if self.error.is_some() && !matches!(act, Act::App { .. } | Act::Wait(_)) {
            return;
        }
        match act {
            Act::Request { body, block } => {
                let id = self.next_id;
                self.next_id += 2;
                let window = self.initial_window;
                self.streams.insert(id, StreamModel { window, ..StreamModel::default() });
                let flags = if *body { END_HEADERS } else { END_HEADERS | END_STREAM };
                self.send(&frame(HEADERS, flags, id, BLOCKS[*block]));
            }
            Act::Data { stream, len, end } => {
                let Some(id) = self.begun(*stream) else { return };
                self.send(&frame(DATA, u8::from(*end), id, &vec![7; *len]));
            }
            Act::Trailers { stream } => {
                let Some(id) = self.begun(*stream) else { return };
                self.send(&frame(HEADERS, END_HEADERS | END_STREAM, id, b"\x00\x01a\x01b"));
            }
            Act::Reset { stream } => {
                let Some(id) = self.begun(*stream) else { return };
                self.send(&frame(RST_STREAM, 0, id, &[0, 0, 0, 8]));
            }
            Act::Update { stream: 0, by } => {
                self.window += i64::from(*by);
                self.send(&frame(WINDOW_UPDATE, 0, 0, &by.to_be_bytes()));
            }
            Act::Update { stream, by } => {
                let Some(id) = self.begun(*stream) else { return };
                self.streams.entry(id).or_default().window += i64::from(*by);
                self.send(&frame(WINDOW_UPDATE, 0, id, &by.to_be_bytes()));
            }
            Act::Prioritize { stream, priority } => {
                // Streams that have not begun are among them, but not those beyond the limit.
                let idle = self.next_id + 2 * (stream / 2 % 3);
                let id = if stream % 4 == 1 { idle } else { self.begun(*stream).unwrap_or(idle) };
                self.send(&priority_update(id, PRIORITIES[*priority]));
            }
            Act::Window(size) => {
                let change = i64::from(*size) - self.initial_window;
                self.initial_window = i64::from(*size);
                self.streams.values_mut().for_each(|stream| stream.window += change);
                self.set(setting::INITIAL_WINDOW_SIZE, *size);
            }
            Act::Push(takes) => {
                self.takes_pushes = *takes;
                self.set(setting::ENABLE_PUSH, u32::from(*takes));
            }
            Act::TableSize(size) => self.set(setting::HEADER_TABLE_SIZE, *size),
            Act::Ping => self.send(&frame(PING, 0, 0, &[0; 8])),
            Act::AckSettings => self.send(&frame(SETTINGS, ACK, 0, &[])),
            Act::Any { kind, flags, stream, payload } => {
                self.send(&frame(*kind, *flags, *stream, payload));
            }
            Act::App { which, does } => self.app(*which, does),
            Act::Wait(millis) => self.now += Duration::from_millis(*millis),
        }
        // An act of chance may have changed what this client knows of the windows.
        if let Act::Any { kind: SETTINGS | WINDOW_UPDATE | HEADERS | CONTINUATION | RST_STREAM, .. } = act {
            self.window = i64::MAX / 2;
            self.streams.values_mut().for_each(|stream| stream.window = i64::MAX / 2);
            self.initial_window = i64::MAX / 2;
            self.takes_pushes = true;
        }
    }

    fn set(&mut self, name: u16, value: u32) {
        self.send(&frame(SETTINGS, 0, 0, &[&name.to_be_bytes()[..], &value.to_be_bytes()].concat()));
    }

    fn app(&mut self, which: usize, does: &Does) {
        let Some(&key) = self.of_app.get(which % self.of_app.len().max(1)) else { return };
        let head = |status| ResponseHead::new(status, [(&b"x-a"[..], &b"1"[..])]);
        let (protocol, now) = (&mut self.protocol, self.now);
        let over = match does {
            Does::Head { end } => protocol.send_head(key, &head(200), *end).unwrap_or(false),
            Does::Data { len, end } => {
                protocol.send_data(now, key, Bytes::from(vec![1; *len]), *end).is_ok_and(|sent| sent.done)
            }
            Does::Trailers => protocol.send_trailers(now, key, &head(0)).unwrap_or(false),
            Does::Interim => {
                let _refused = protocol.send_interim(key, &head(103));
                false
            }
            Does::Fail => {
                protocol.fail(key, Fault::AppFailed, None);
                true
            }
            Does::Release(len) => {
                protocol.release(key, *len);
                false
            }
            Does::Push => {
                if let Some(head) = self.heads.get(&key.id) {
                    let _declined = protocol.push(key, head.promised(b"/p", [].into_iter()));
                }
                false
            }
        };
        if over {
            self.of_app.retain(|&there| there != key);
        }
    }

    /// Ends a turn: takes the events and what was written.
    fn turn(&mut self) {
        self.protocol.advance(self.now);
        while let Some(event) = self.protocol.next_event() {
            match event {
                Event::Request { key, head } | Event::Pushed { key, head } => {
                    self.heads.insert(key.id, head);
                    self.of_app.push(key);
                }
                Event::Data { key, data, .. } => {
                    assert!(self.of_app.contains(&key) && !data.is_empty());
                }
                Event::Trailers { key, .. } | Event::End { key } => assert!(self.of_app.contains(&key)),
                Event::Sent { key, done, .. } => {
                    assert!(self.of_app.contains(&key));
                    self.of_app.retain(|&there| !done || there != key);
                }
                Event::Reset { key } => {
                    // The app may have used it since, which has no effect.
                    assert!(self.heads.contains_key(&key.id), "the app knows of the stream");
                    self.of_app.retain(|&there| there != key);
                }
                Event::Refused { .. } => {}
            }
        }
        self.protocol.end_turn();
        self.check_limits();
        let bytes = written(&mut self.protocol);
        self.check_frames(&bytes);
    }

    fn check_limits(&self) {
        let protocol = &self.protocol;
        assert_eq!(protocol.open, protocol.streams.iter().filter(|(_, stream)| stream.is_counted).count());
        assert_eq!(protocol.pushed, protocol.streams.iter().filter(|(_, stream)| stream.is_pushed).count());
        assert!(protocol.open <= MAX_STREAMS as usize && protocol.pushed <= 32);
        let held: usize = protocol.streams.iter().map(|(_, stream)| stream.receiving.held).sum();
        assert_eq!(self.room.taken(), held);
        assert!(held <= MAX_STREAMS as usize * 70_000 + self.of_app.len() * 70_000);
        assert!(protocol.reset.len() <= REMEMBERED && protocol.credited.len() <= protocol.streams.len());
        for (of, stream) in protocol.streams.iter() {
            let waits = stream.waiting_since.is_some();
            let times = protocol.schedule.iter().filter(|key| *key == of).count();
            assert_eq!(usize::from(waits), times, "{stream:?}");
            assert!(waits || stream.pending.is_empty(), "{stream:?}");
        }
        let waiting = protocol.streams.iter().filter(|(_, stream)| stream.waiting_since.is_some()).count();
        assert_eq!(protocol.schedule.iter().count(), waiting);
        assert!(protocol.announced.len() <= MAX_STREAMS as usize);
    }

    /// Checks that a client that knows the rules would accept the frames.
    fn check_frames(&mut self, bytes: &[u8]) {
        let mut block_of = None;
        for (header, payload) in frames(bytes) {
            let id = header.stream_id;
            assert_eq!(block_of.is_some(), header.kind == CONTINUATION);
            assert!(header.len <= 16_384, "a frame is no longer than every client accepts");
            match header.kind {
                HEADERS | PUSH_PROMISE | CONTINUATION => {
                    block_of = (header.flags & END_HEADERS == 0).then_some(id);
                    if header.kind == PUSH_PROMISE {
                        assert!(self.takes_pushes);
                        let promised = u32::from_be_bytes(payload[..4].try_into().unwrap());
                        let window = self.initial_window;
                        let pushed = StreamModel { window, ..StreamModel::default() };
                        assert!(self.streams.insert(promised, pushed).is_none(), "a new number");
                    }
                    let stream = self.streams.get_mut(&id).expect("a stream that began");
                    assert!(!stream.has_ended, "{header:?}");
                    if header.kind == HEADERS {
                        stream.has_head = true;
                        stream.has_ended = header.flags & END_STREAM != 0;
                    }
                }
                DATA => {
                    let stream = self.streams.get_mut(&id).expect("a stream that began");
                    assert!(stream.has_head && !stream.has_ended, "{header:?}");
                    stream.window -= i64::from(header.len as u32);
                    self.window -= i64::from(header.len as u32);
                    assert!(header.len == 0 || stream.window >= 0 && self.window >= 0, "{header:?}");
                    stream.has_ended = header.flags & END_STREAM != 0;
                }
                RST_STREAM => {
                    assert!(id != 0 && payload.len() == 4);
                    if let Some(stream) = self.streams.get_mut(&id) {
                        stream.has_ended = true;
                    }
                }
                WINDOW_UPDATE => {
                    let by = u32::from_be_bytes(payload.try_into().unwrap());
                    assert!(by > 0 && by <= MAX_31);
                }
                SETTINGS | PING | GOAWAY => assert_eq!(id, 0),
                kind => panic!("a frame of kind {kind}"),
            }
        }
        assert!(block_of.is_none());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn what_leaves_is_legal_and_limits_hold(
        acts in prop_oneof![
            proptest::collection::vec(honest(), 1..150),
            proptest::collection::vec(any_act(), 1..100),
        ],
        turns in 1usize..5,
    ) {
        let mut model = Model::new();
        for (n, act) in acts.iter().enumerate() {
            model.act(act);
            if n % turns == 0 {
                model.turn();
            }
        }
        model.turn();
        // At the end of all streams nothing is left.
        for key in std::mem::take(&mut model.of_app) {
            model.protocol.fail(key, Fault::AppFailed, None);
        }
        model.now += Duration::from_secs(60);
        model.protocol.advance(model.now);
        model.now += Duration::from_secs(60);
        model.protocol.advance(model.now);
        if model.error.is_none() {
            // Promises that were made just now have not been announced.
            model.turn();
            for key in std::mem::take(&mut model.of_app) {
                model.protocol.fail(key, Fault::AppFailed, None);
            }
            prop_assert_eq!(model.protocol.open, 0);
            prop_assert!(model.protocol.streams.is_empty());
        }
        drop(model.protocol);
        prop_assert_eq!(model.room.taken(), 0);
    }
}
