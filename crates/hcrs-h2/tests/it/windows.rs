//! The window of the connection: it follows the bodies that are held, within the room for them.

use std::rc::Rc;

use bytes::Bytes;
use h2::SendStream;
use hcrs_h2::{BodyRoom, Settings};

use crate::client::{self, Pair};
use crate::server::{Seen, silent};

/// Most bytes by which a window exceeds the bodies that are held.
const AHEAD: usize = (512 << 10) * 5 / 4;

const MIB: usize = 1 << 20;

/// Requests whose bodies the client sends as far as it may, and that no app reads.
struct Uploads {
    pair: Pair,
    bodies: Vec<SendStream<Bytes>>,
}

impl Uploads {
    fn begin(room: &Rc<BodyRoom>, settings: &Settings, count: usize, is_hungry: bool) -> Self {
        let mut pair = Pair::beside(room, settings, &h2::client::Builder::new(), silent());
        pair.server.is_hungry = is_hungry;
        let mut uploads = Self { pair, bodies: Vec::new() };
        for _ in 0..count {
            uploads.begin_one(MIB);
        }
        uploads
    }

    fn begin_one(&mut self, len: usize) {
        let (_response, mut body) = self.pair.begin(client::post("/"), false);
        body.send_data(Bytes::from(vec![0; len]), true).expect("an open stream");
        self.bodies.push(body);
        self.pair.run(std::future::ready(()));
    }

    /// Returns bytes that have come since the last call.
    fn received(&mut self) -> usize {
        let seen = self.pair.server.take_seen();
        seen.iter().map(|seen| if let Seen::Data(_, len) = seen { *len } else { 0 }).sum()
    }

    fn release(&mut self, id: u32, len: usize) {
        let key = self.pair.server.key(id);
        self.pair.server.turn(|hands| hands.connection.release(key, len));
        self.pair.run(std::future::ready(()));
    }
}

#[test]
fn bodies_of_which_none_is_read_have_the_room_of_a_connection() {
    let settings = Settings::default();
    let room = BodyRoom::new(settings.thread_room);
    let mut uploads = Uploads::begin(&room, &settings, 99, false);
    let received = uploads.received();
    assert!((2 * MIB..=2 * MIB + AHEAD).contains(&received), "{received}");
    assert_eq!(room.taken(), received);
    drop(uploads);
    assert_eq!(room.taken(), 0);
}

#[test]
fn a_stream_that_is_read_gets_on_beside_others_that_fill_the_room() {
    let settings = Settings::default();
    let room = BodyRoom::new(settings.thread_room);
    let mut uploads = Uploads::begin(&room, &settings, 40, false);
    uploads.received();
    uploads.pair.server.is_hungry = true;
    uploads.begin_one(10 * MIB);
    let mut of_the_last = 0;
    for _ in 0..10_000 {
        let seen = uploads.pair.server.take_seen();
        let new: usize = seen.iter().map(|seen| if let Seen::Data(81, len) = seen { *len } else { 0 }).sum();
        of_the_last += new;
        if of_the_last == 10 * MIB {
            break;
        }
        uploads.release(81, new);
    }
    assert_eq!(of_the_last, 10 * MIB);
}

#[test]
fn what_was_read_leaves_the_window_no_wider_than_before() {
    let settings = Settings::default();
    let room = BodyRoom::new(settings.thread_room);
    let mut uploads = Uploads::begin(&room, &settings, 10, false);
    for _ in 0..3 {
        uploads.received();
        for id in (1..20).step_by(2) {
            uploads.release(id, settings.stream_window as usize);
        }
    }
    // Now as many streams as there may be want to send at once.
    uploads.received();
    let before = room.taken();
    uploads.pair.server.is_hungry = false;
    for _ in 0..80 {
        uploads.begin_one(MIB);
    }
    let received = uploads.received();
    assert_eq!(room.taken(), before + received);
    assert!(room.taken() <= 2 * MIB + AHEAD, "{before} + {received}");
}

#[test]
fn all_connections_of_a_thread_have_one_room() {
    let settings = Settings { thread_room: 4 * MIB, ..Settings::default() };
    let room = BodyRoom::new(settings.thread_room);
    let all: Vec<_> = (0..6).map(|_| Uploads::begin(&room, &settings, 30, true)).collect();
    assert!((4 * MIB..=4 * MIB + 6 * AHEAD).contains(&room.taken()), "{}", room.taken());
    drop(all);
    assert_eq!(room.taken(), 0);
    // And again, as if nothing had been.
    let mut one = Uploads::begin(&room, &settings, 30, true);
    assert_eq!(one.received(), 30 * settings.stream_window as usize);
}
