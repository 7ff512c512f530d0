//! The far side of an exchange, as the exchange uses it.

use std::fmt::Debug;

use hcrs_http::ResponseHead;
use hcrs_link::{MessageKind, StreamId};
use hcrs_metrics::Stall;

/// An origin that answers exchanges piece by piece, such as the link to a worker. An origin that has its
/// whole answer at once, such as the welcome page, pushes it into the exchange and implements nothing.
///
/// `stream` is the number under which the origin knows the exchange.
pub(crate) trait Origin: Debug {
    /// Whether body bytes and messages are taken now. If not,
    /// [`Exchange::resume_body`](super::Exchange::resume_body) is called once they are.
    fn has_room(&self, stream: StreamId) -> bool;

    /// Counts that bytes of the request or the response begin to wait for credit.
    fn note_stall(&self, stall: Stall);

    /// Sends bytes of the request's body, for which the stream's window and the origin have room; the last
    /// ones if `end`.
    fn send_data(&self, stream: StreamId, bytes: &[u8], end: bool);

    /// Sends the request's trailers, a head without a status; the end of the body follows. An origin that has no place
    /// for them drops them.
    fn send_trailers(&self, _stream: StreamId, _trailers: ResponseHead) {}

    /// Opens the response's window by `amount`.
    fn send_credit(&self, stream: StreamId, amount: u32);

    /// Sends a piece of a WebSocket's message, for which the stream's window and the origin have room; the
    /// message's last if `end`.
    fn send_message(&self, stream: StreamId, kind: MessageKind, bytes: &[u8], end: bool);

    /// Reports the end of a WebSocket, with the close code and reason that the app sees.
    fn send_close(&self, stream: StreamId, code: u16, reason: &str);

    /// Reports that the client has closed its side and still waits for the response.
    fn send_half_close(&self, stream: StreamId);

    /// Ends the edge's interest in the stream: its client is gone, or was answered otherwise.
    fn abandon(&self, stream: StreamId);

    /// Like [`Origin::abandon`], and has the app's task cancelled: its time is up.
    fn cancel(&self, stream: StreamId) {
        self.abandon(stream);
    }

    /// Takes the request back for good. Returns false if it was begun.
    #[must_use]
    fn give_up(&self, stream: StreamId) -> bool;
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::rc::Rc;

    use bytes::Bytes;
    use hcrs_http::{Endpoints, Fault, RequestHead, RequestLine, Scheme, Version};

    use hcrs_link::{PIECE_COST, REQUEST_WINDOW, RESPONSE_WINDOW};
    use hcrs_metrics::{Stalls, WorkerName};

    use super::*;
    use crate::exchange::mailbox::Mailbox;
    use crate::exchange::websocket::{Terms, WebSocket};
    use crate::exchange::{
        BodyPiece, Exchange, InternalFiles, Output, Parts, PiecedResponse, Replaced, SentTo,
    };
    use crate::{ConnectionSettings, clock};

    /// An origin that records what it is sent.
    #[derive(Debug, Default)]
    struct Recorder {
        body: RefCell<Vec<u8>>,
        credit: Cell<u32>,
        is_abandoned: Cell<bool>,
        stalls: Stalls,
    }

    impl Origin for Recorder {
        fn has_room(&self, _: StreamId) -> bool {
            true
        }
        fn note_stall(&self, stall: Stall) {
            self.stalls.of(stall).increment();
        }
        fn send_data(&self, _: StreamId, bytes: &[u8], _: bool) {
            self.body.borrow_mut().extend_from_slice(bytes);
        }
        fn send_credit(&self, _: StreamId, amount: u32) {
            self.credit.set(self.credit.get() + amount);
        }
        fn send_message(&self, _: StreamId, _: MessageKind, _: &[u8], _: bool) {}
        fn send_close(&self, _: StreamId, _: u16, _: &str) {}
        fn send_half_close(&self, _: StreamId) {}
        fn abandon(&self, _: StreamId) {
            self.is_abandoned.set(true);
        }
        fn give_up(&self, _: StreamId) -> bool {
            false
        }
    }

    /// A request over HTTP/2 without fields.
    fn head(method: &[u8]) -> RequestHead {
        let (path, query): (&[u8], &[u8]) = (b"/", b"");
        let line = RequestLine { version: Version::Http2, scheme: Scheme::Http, method, path, query };
        RequestHead::new(Vec::new(), line, &Endpoints::default())
    }

    /// An upload that has begun at an origin.
    fn begun() -> (Rc<Exchange>, Rc<Recorder>) {
        let mut head = head(b"POST");
        head.set_has_body();
        begun_of(Parts::new(0, Rc::default(), head, clock::now()))
    }

    /// An exchange that has begun at an origin.
    fn begun_of(parts: Parts) -> (Rc<Exchange>, Rc<Recorder>) {
        let exchange = Exchange::new(parts);
        let origin = Rc::new(Recorder::default());
        let stream = StreamId::new(1).expect("a number");
        exchange.sent(
            Rc::<Recorder>::clone(&origin),
            stream,
            SentTo { worker: WorkerName { slot: 0, pid: 1 }, at: clock::now() },
        );
        exchange.begun();
        (exchange, origin)
    }

    #[test]
    fn a_body_goes_to_the_origin_and_its_answer_to_the_client() {
        let (exchange, origin) = begun();
        exchange.push_body(Bytes::from_static(b"question"), true);
        assert_eq!(*origin.body.borrow(), b"question");
        assert!(exchange.push_head(ResponseHead::new(200, []), false));
        assert!(exchange.push_data(Bytes::from_static(b"answer"), true));
        assert!(matches!(exchange.next_output(), Some(Output::Head { end: false, body: Some(6), .. })));
        let Some(Output::Data { data, end: true }) = exchange.next_output() else { panic!("no body") };
        assert_eq!(data, "answer");
    }

    #[test]
    fn credit_returns_as_the_client_takes_and_an_origin_is_notified_of_the_end() {
        let (exchange, origin) = begun();
        assert!(exchange.push_head(ResponseHead::new(200, []), false));
        let piece = Bytes::from_static(&[0; 16 << 10]);
        for _ in 0..3 {
            assert!(exchange.push_data(piece.clone(), false));
        }
        assert_eq!(origin.credit.get(), 0, "the client has taken nothing");
        while let Some(output) = exchange.next_output() {
            if let Output::Data { data, .. } = output {
                exchange.client_took(data.len());
            }
        }
        assert!(origin.credit.get() >= 3 << 14);
        exchange.abandon();
        assert!(origin.is_abandoned.get());
    }

    /// Replaces every response that has `x-sendfile` by `file`.
    #[derive(Debug)]
    struct OneFile;

    impl InternalFiles for OneFile {
        fn replace(&self, _: &RequestHead, head: ResponseHead) -> Replaced {
            match head.fields().first(b"x-sendfile") {
                Some(_) => Replaced::By(PiecedResponse {
                    head: ResponseHead::new(200, []),
                    body: vec![BodyPiece::bytes(&b"file"[..])],
                }),
                None => Replaced::No(head),
            }
        }
    }

    /// An exchange whose app has named a file in its head.
    fn replaced() -> (Rc<Exchange>, Rc<Recorder>) {
        let internal_files: Option<Rc<dyn InternalFiles>> = Some(Rc::new(OneFile));
        let (exchange, origin) =
            begun_of(Parts { internal_files, ..Parts::new(0, Rc::default(), head(b"GET"), clock::now()) });
        assert!(exchange.push_head(ResponseHead::new(403, [(&b"x-sendfile"[..], &b"/a"[..])]), false));
        (exchange, origin)
    }

    fn assert_file_is_sent(exchange: &Rc<Exchange>) {
        let Some(Output::Head { head, end: false, body: Some(4) }) = exchange.next_output() else {
            panic!("no head")
        };
        assert_eq!(head.status(), 200);
        let Some(Output::Data { data, end: true }) = exchange.next_output() else { panic!("no body") };
        assert_eq!(data, "file");
    }

    #[test]
    fn a_body_in_whose_place_a_file_is_sent_is_read_to_its_end() {
        let (exchange, origin) = replaced();
        for _ in 0..10 {
            assert!(exchange.push_data(Bytes::from(vec![0; 16 << 10]), false));
            assert!(exchange.next_output().is_none(), "the app has not ended its response");
        }
        assert!(origin.credit.get() >= 9 << 14);
        assert!(exchange.push_data(Bytes::from_static(b"end"), true));
        exchange.finished();
        assert_file_is_sent(&exchange);
        assert!(!origin.is_abandoned.get() && exchange.next_output().is_none());
    }

    #[test]
    fn a_longer_body_in_whose_place_a_file_is_sent_is_abandoned() {
        let (exchange, origin) = replaced();
        let pieces = (0..100).take_while(|_| {
            assert!(exchange.push_data(Bytes::from(vec![0; 16 << 10]), false));
            !origin.is_abandoned.get()
        });
        assert_eq!(pieces.count(), 64, "one MiB");
        assert_file_is_sent(&exchange);
    }

    #[test]
    fn trailers_and_failures_end_a_response_in_whose_place_a_file_is_sent() {
        let (exchange, _origin) = replaced();
        assert!(exchange.push_trailers(ResponseHead::new(200, [])));
        exchange.finished();
        assert_file_is_sent(&exchange);
        let (exchange, _origin) = replaced();
        exchange.finished();
        assert!(matches!(exchange.next_output(), Some(Output::Fault(Fault::AppFailed))));
        let (exchange, _origin) = replaced();
        exchange.fail(Fault::WorkerLost);
        assert!(matches!(exchange.next_output(), Some(Output::Fault(Fault::WorkerLost))));
    }

    #[test]
    fn a_body_that_begins_to_wait_for_a_window_is_counted_once() {
        let (exchange, origin) = begun();
        let stalls = |stall| origin.stalls.of(stall).get();
        exchange.push_body(Bytes::from(vec![0; REQUEST_WINDOW as usize]), false);
        assert_eq!(stalls(Stall::RequestWindow), 0, "it fits");
        for _ in 0..3 {
            exchange.push_body(Bytes::from_static(b"more"), false);
        }
        assert_eq!(stalls(Stall::RequestWindow), 1);
        exchange.app_took(4);
        assert_eq!(stalls(Stall::RequestWindow), 2, "it has gone on, and waits again");
        exchange.app_took(8);
        assert_eq!(stalls(Stall::RequestWindow), 2);
        assert!(exchange.push_head(ResponseHead::new(200, []), false));
        let half = RESPONSE_WINDOW as usize / 2 - PIECE_COST;
        assert!(exchange.push_data(Bytes::from(vec![0; half]), false));
        assert_eq!(stalls(Stall::ResponseWindow), 0);
        assert!(exchange.push_data(Bytes::from(vec![0; half]), false));
        assert_eq!(stalls(Stall::ResponseWindow), 1);
    }

    #[test]
    fn messages_that_begin_to_wait_for_a_window_are_counted() {
        let mut head = head(b"CONNECT");
        head.push_field(b"sec-websocket-version", b"13");
        head.set_websocket();
        let terms = Terms::new(&ConnectionSettings::default());
        let websocket =
            WebSocket::asked_for(&head, &terms, || terms.room_of_connection()).expect("its fields");
        let (exchange, origin) =
            begun_of(Parts { websocket, ..Parts::new(0, Rc::default(), head, clock::now()) });
        assert!(exchange.accept_websocket(&ResponseHead::new(101, []), clock::now()));
        let stalls = |stall| origin.stalls.of(stall).get();
        // A message in one frame, whose mask changes nothing.
        let len = 2 * REQUEST_WINDOW as usize;
        let frame = [&[0x82, 0xff][..], &(len as u64).to_be_bytes(), &[0; 4], &vec![0; len]].concat();
        exchange.push_body(Bytes::from(frame), false);
        assert_eq!(stalls(Stall::RequestWindow), 1);
        exchange.app_took(1 << 10);
        assert_eq!(stalls(Stall::RequestWindow), 2, "it has gone on, and waits again");
        let half = vec![0; RESPONSE_WINDOW as usize / 2 - PIECE_COST];
        assert!(exchange.push_message(MessageKind::Binary, &half, true));
        assert_eq!(stalls(Stall::ResponseWindow), 0);
        assert!(exchange.push_message(MessageKind::Binary, &half, true));
        assert_eq!(stalls(Stall::ResponseWindow), 1);
    }

    #[test]
    fn a_mailbox_is_notified_once_that_an_exchange_has_output() {
        let mailbox = Rc::new(Mailbox::default());
        let line = RequestLine {
            version: Version::Http11,
            scheme: Scheme::Http,
            method: b"GET",
            path: b"/",
            query: b"",
        };
        let head = RequestHead::new(Vec::new(), line, &Endpoints::default());
        let exchange = Exchange::new(Parts::new(7, Rc::clone(&mailbox), head, clock::now()));
        assert!(exchange.push_head(ResponseHead::new(200, []), false));
        assert!(exchange.push_data(Bytes::from_static(b"a"), true));
        let mut keys = Vec::new();
        mailbox.take(&mut keys);
        assert_eq!(keys, [7]);
    }
}
