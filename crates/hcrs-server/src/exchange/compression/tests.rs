use std::cell::Cell;
use std::fs::File;
use std::io::Write as _;

use hcrs_coding::{Encoders, Settings};
use hcrs_http::{Endpoints, RequestLine, Scheme, Version};
use hcrs_link::{FilePart, MessageKind, RESPONSE_WINDOW, StreamId, piece_cost};
use hcrs_metrics::{Stall, WorkerName};

use super::*;
use crate::clock;
use crate::exchange::file_body::FileBody;
use crate::exchange::{BodyPiece, Origin, Parts, PiecedResponse, SentTo};

/// An origin that adds up the credit that it is sent.
#[derive(Debug, Default)]
struct Crediting {
    credit: Cell<u32>,
}

impl Origin for Crediting {
    fn has_room(&self, _: StreamId) -> bool {
        true
    }
    fn note_stall(&self, _: Stall) {}
    fn send_data(&self, _: StreamId, _: &[u8], _: bool) {}
    fn send_credit(&self, _: StreamId, amount: u32) {
        self.credit.set(self.credit.get() + amount);
    }
    fn send_message(&self, _: StreamId, _: MessageKind, _: &[u8], _: bool) {}
    fn send_close(&self, _: StreamId, _: u16, _: &str) {}
    fn send_half_close(&self, _: StreamId) {}
    fn abandon(&self, _: StreamId) {}
    fn give_up(&self, _: StreamId) -> bool {
        false
    }
}

/// An exchange that a worker has begun to answer, and what it uses.
struct Begun {
    exchange: Rc<Exchange>,
    origin: Rc<Crediting>,
    encoders: Rc<Encoders>,
}

fn begun(coding: Coding, method: &[u8]) -> Begun {
    let line = RequestLine { version: Version::Http2, scheme: Scheme::Http, method, path: b"/", query: b"" };
    let mut head = RequestHead::new(Vec::new(), line, &Endpoints::default());
    head.push_field(b"accept-encoding", coding.name().as_bytes());
    head.push_field(b"te", b"trailers");
    let rules = Arc::new(Rules {
        compression: Settings { codings: Some(vec![coding]), ..Settings::default() },
        ..Rules::default()
    });
    let thread = Rc::<Encoders>::default();
    let encoders = Rc::new(ConnectionEncoders::new(Rc::clone(&thread)));
    let compression = Some(Compression { rules, encoders });
    let exchange = Exchange::new(Parts { compression, ..Parts::new(0, Rc::default(), head, clock::now()) });
    let origin = Rc::new(Crediting::default());
    let to = SentTo { worker: WorkerName { slot: 0, pid: 1 }, at: clock::now() };
    exchange.sent(Rc::<Crediting>::clone(&origin), StreamId::new(1).unwrap(), to);
    exchange.begun();
    Begun { exchange, origin, encoders: thread }
}

fn head(more: &[(&str, &str)]) -> ResponseHead {
    let fields = [("content-type", "text/plain")].into_iter().chain(more.iter().copied());
    ResponseHead::new(200, fields.map(|(name, value)| (name.as_bytes(), value.as_bytes())))
}

fn text(len: usize) -> Bytes {
    b"some text that is repeated, ".iter().copied().cycle().take(len).collect()
}

impl Begun {
    fn push(&self, data: Bytes, end: bool) {
        assert!(self.exchange.push_data(data, end));
    }

    /// Takes the head. Returns its coding, and whether the body's length is known.
    fn head(&self) -> (Option<String>, bool) {
        let Some(Output::Head { head, body, .. }) = self.exchange.next_output() else { panic!("no head") };
        let coding = head.fields().first(b"content-encoding");
        (coding.map(|coding| String::from_utf8(coding.into()).unwrap()), body.is_some())
    }

    fn data(&self) -> (Bytes, bool) {
        match self.exchange.next_output() {
            Some(Output::Data { data, end }) => (data, end),
            other => panic!("no data: {other:?}"),
        }
    }
}

const CODINGS: [Coding; 3] = Coding::ALL;

#[test]
fn each_piece_leaves_at_once_and_pieces_that_wait_leave_together() {
    for coding in CODINGS {
        let begun = begun(coding, b"GET");
        assert!(begun.exchange.push_head(head(&[]), false));
        assert_eq!(begun.head(), (Some(coding.name().to_owned()), false));
        for n in 0..3 {
            assert!(!begun.exchange.has_output() && begun.exchange.next_output().is_none());
            begun.push(Bytes::from(format!("data: {n}")), false);
            let (data, end) = begun.data();
            assert!(!data.is_empty() && !end, "{coding:?}");
            // The client has not taken it, so that what follows waits.
            begun.push(text(100), false);
            begun.push(text(100), false);
            assert!(!begun.exchange.has_output() && begun.exchange.next_output().is_none());
            begun.exchange.client_took(data.len());
            assert!(begun.exchange.has_output());
            let (data, _) = begun.data();
            begun.exchange.client_took(data.len());
        }
        begun.push(Bytes::new(), true);
        let (data, end) = begun.data();
        assert!(end && begun.encoders.streams() == 0);
        begun.exchange.client_took(data.len());
        assert!(!begun.exchange.has_output() && begun.exchange.next_output().is_none());
    }
}

#[test]
fn credit_returns_when_the_client_has_taken_what_became_of_the_bytes() {
    let begun = begun(Coding::Gzip, b"GET");
    assert!(begun.exchange.push_head(head(&[]), false));
    begun.head();
    for _ in 0..3 {
        begun.push(text(20_000), false);
    }
    let (data, _) = begun.data();
    assert_eq!(begun.origin.credit.get(), 0);
    begun.exchange.client_took(data.len() - 1);
    assert_eq!(begun.origin.credit.get(), 0, "a part of it does not count");
    begun.exchange.client_took(1);
    assert!(begun.origin.credit.get() as usize >= 3 * piece_cost(20_000));
    // The whole window comes back, again and again.
    for _ in 0..20 {
        begun.push(text(60_000), false);
        begun.encoders.begin_turn();
        let (data, _) = begun.data();
        begun.exchange.client_took(data.len());
    }
}

#[test]
fn a_whole_body_has_a_length_and_one_that_gains_nothing_its_own() {
    for coding in CODINGS {
        let begun = begun(coding, b"GET");
        assert!(begun.exchange.push_head(head(&[("content-length", "4000")]), false));
        begun.push(text(2000), false);
        begun.push(text(2000), true);
        assert_eq!(begun.head(), (Some(coding.name().to_owned()), true));
        let (data, end) = begun.data();
        assert!(end && data.len() < 200);
        assert_eq!(begun.encoders.streams(), 0);
    }
    let begun = begun(Coding::Zstd, b"GET");
    assert!(begun.exchange.push_head(head(&[]), false));
    let mut state = 1u64;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    let noise: Bytes = std::iter::repeat_with(next).take(2000).collect();
    begun.push(noise.clone(), true);
    assert_eq!(begun.head(), (None, true));
    assert_eq!(begun.data(), (noise, true));
}

#[test]
fn a_head_request_has_no_encoder() {
    let begun = begun(Coding::Gzip, b"HEAD");
    assert!(begun.exchange.push_head(head(&[("content-length", "4000")]), true));
    assert_eq!(begun.head().0.as_deref(), Some("gzip"));
    assert_eq!(begun.encoders.streams(), 0);
    assert!(begun.exchange.next_output().is_none());
}

#[test]
fn a_body_that_breaks_its_length_fails() {
    for (length, end) in [("10001", true), ("9999", false)] {
        let begun = begun(Coding::Zstd, b"GET");
        assert!(begun.exchange.push_head(head(&[("content-length", length)]), false));
        begun.head();
        begun.push(text(10_000), end);
        assert!(matches!(begun.exchange.next_output(), Some(Output::Fault(Fault::AppFailed))));
        begun.exchange.abandon();
        assert_eq!(begun.encoders.streams(), 0);
    }
    let begun = begun(Coding::Zstd, b"GET");
    assert!(begun.exchange.push_head(head(&[("content-length", "9999")]), false));
    begun.push(text(10_000), true);
    // A whole one is left to the connection, which refuses it.
    assert_eq!((begun.head(), begun.data()), ((None, true), (text(10_000), true)));
}

#[test]
fn trailers_follow_the_end_of_the_encoded_body() {
    let begun = begun(Coding::Brotli, b"GET");
    assert!(begun.exchange.push_head(head(&[]), false));
    begun.head();
    begun.push(text(100), false);
    let (data, _) = begun.data();
    begun.exchange.client_took(data.len());
    assert!(begun.exchange.push_trailers(ResponseHead::new(0, [(&b"x-sum"[..], &b"1"[..])])));
    let (data, end) = begun.data();
    assert!(!end && !begun.exchange.has_output());
    begun.exchange.client_took(data.len());
    assert!(matches!(begun.exchange.next_output(), Some(Output::Trailers(_))));
}

#[test]
fn a_failure_follows_what_came_before_it() {
    let begun = begun(Coding::Gzip, b"GET");
    assert!(begun.exchange.push_head(head(&[]), false));
    begun.head();
    begun.push(text(100), false);
    begun.exchange.fail(Fault::AppFailed);
    let (data, end) = begun.data();
    assert!(!end);
    begun.exchange.client_took(data.len());
    assert!(matches!(begun.exchange.next_output(), Some(Output::Fault(Fault::AppFailed))));
}

#[test]
fn an_exchange_yields_when_the_share_of_the_turn_is_used_up() {
    let (streamed, whole) = (begun(Coding::Zstd, b"GET"), begun(Coding::Zstd, b"GET"));
    assert!(streamed.exchange.push_head(head(&[]), false));
    streamed.head();
    assert!(whole.exchange.push_head(head(&[]), false));
    whole.push(text(2000), true);
    for begun in [&streamed, &whole] {
        // Other connections have used it up.
        begun.encoders.encode_whole(Coding::Zstd, &text(STEP_MAX));
    }
    streamed.push(text(2000), false);
    for begun in [&streamed, &whole] {
        assert!(begun.exchange.has_output());
        assert!(begun.exchange.next_output().is_none() && begun.exchange.has_yielded());
        assert!(!begun.exchange.has_output(), "not in this turn");
        begun.encoders.begin_turn();
        begun.exchange.resume();
        assert!(begun.exchange.has_output() && !begun.exchange.has_yielded());
    }
    assert!(!streamed.data().0.is_empty());
    assert_eq!(whole.head().0.as_deref(), Some("zstd"));
}

#[test]
fn a_body_longer_than_a_step_is_encoded_in_several() {
    let begun = begun(Coding::Zstd, b"GET");
    let length = (3 * STEP_MAX).to_string();
    let response = PiecedResponse {
        head: head(&[("content-length", &length)]),
        body: vec![BodyPiece::bytes(text(3 * STEP_MAX))],
    };
    begun.exchange.answer_in_pieces(response);
    assert_eq!(begun.head(), (Some("zstd".to_owned()), false));
    for step in 1..=3 {
        begun.encoders.begin_turn();
        let (data, end) = begun.data();
        assert_eq!(end, step == 3);
        begun.exchange.client_took(data.len());
    }
}

/// Returns a response with a file of these contents, of which it announces a length.
fn file_of(contents: &[u8], len: u64) -> PiecedResponse {
    let memory = rustix::fs::memfd_create("file", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    let mut file = File::from(memory);
    file.write_all(contents).unwrap();
    PiecedResponse {
        head: head(&[("content-length", &len.to_string())]),
        body: vec![BodyPiece::file(FileBody::new(file.into(), FilePart { offset: 0, len }))],
    }
}

#[test]
fn a_short_file_is_encoded_as_a_whole() {
    let whole = begun(Coding::Gzip, b"GET");
    whole.exchange.answer_in_pieces(file_of(&text(10_000), 10_000));
    assert_eq!(whole.head(), (Some("gzip".to_owned()), true));
    assert!(whole.data().1);
    // One that has become shorter is cut off.
    let shrunk = begun(Coding::Gzip, b"GET");
    shrunk.exchange.answer_in_pieces(file_of(&text(9_000), 10_000));
    shrunk.head();
    let (data, end) = shrunk.data();
    assert!(!end);
    shrunk.exchange.client_took(data.len());
    assert!(matches!(shrunk.exchange.next_output(), Some(Output::Fault(Fault::AppFailed))));
    let empty = begun(Coding::Gzip, b"GET");
    empty.exchange.answer_in_pieces(file_of(b"", 10_000));
    assert!(matches!(empty.exchange.next_output(), Some(Output::Fault(Fault::AppFailed))));
}

#[tokio::test(flavor = "current_thread")]
async fn a_short_file_that_has_to_be_read_from_the_disk_holds_its_head() {
    // Beside the tests, because a temporary folder may be in memory.
    let folder = std::env::current_exe().unwrap();
    let mut file = tempfile::tempfile_in(folder.parent().unwrap()).unwrap();
    file.write_all(&text(10_000)).unwrap();
    file.sync_all().unwrap();
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    let begun = begun(Coding::Gzip, b"GET");
    let body = FileBody::new(file.into(), FilePart { offset: 0, len: 10_000 });
    let head = head(&[("content-length", "10000")]);
    begun.exchange.answer_in_pieces(PiecedResponse { head, body: vec![BodyPiece::file(body)] });
    let local = tokio::task::LocalSet::new();
    local
        .run_until(async {
            assert!(begun.exchange.has_output());
            assert!(begun.exchange.next_output().is_none(), "it is not in the page cache");
            while !begun.exchange.has_output() {
                tokio::task::yield_now().await;
            }
        })
        .await;
    assert_eq!(begun.head(), (Some("gzip".to_owned()), true));
    assert!(begun.data().1);
}

#[test]
fn a_file_is_read_and_encoded_and_never_sent_directly() {
    let begun = begun(Coding::Gzip, b"GET");
    begun.exchange.answer_in_pieces(file_of(&text(200_000), 200_000));
    assert_eq!(begun.head(), (Some("gzip".to_owned()), false));
    assert!(!begun.exchange.may_send_file(u64::MAX));
    let (mut len, mut steps) = (0, 0);
    loop {
        begun.encoders.begin_turn();
        let (data, end) = begun.data();
        begun.exchange.client_took(data.len());
        (len, steps) = (len + data.len(), steps + 1);
        if end {
            break;
        }
    }
    assert!(len < 5000 && steps == 4, "{len} bytes in {steps} steps");
    assert_eq!(begun.encoders.streams(), 0);
}

#[test]
fn the_window_of_a_stream_covers_what_waits_to_be_encoded() {
    let begun = begun(Coding::Gzip, b"GET");
    assert!(begun.exchange.push_head(head(&[]), false));
    begun.head();
    begun.push(text(RESPONSE_WINDOW as usize - PIECE_COST), false);
    let (data, _) = begun.data();
    assert!(!begun.exchange.push_data(text(1), false), "no credit before the client has taken it");
    begun.exchange.client_took(data.len());
}
