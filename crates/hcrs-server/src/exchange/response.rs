//! The response on its way from the origin to the connection.

use std::collections::VecDeque;
use std::rc::Rc;

use bytes::Bytes;
use hcrs_http::{Fault, RequestHead, ResponseHead};
use hcrs_link::{Owed, RESPONSE_WINDOW, RESPONSE_WINDOW_GROWTH, Window};

use super::compression::Coder;
use super::file_body::FileBody;
use super::internal_files::Replacement;
use super::response_room::{ResponseRoom, TakenRoom};
use super::{Place, State};

/// An interim head or a promise that the worker has sent besides the response, and its cost in the window.
#[derive(Debug)]
pub(super) struct Hint<T> {
    pub(super) content: T,
    pub(super) cost: usize,
}

/// A response as far as it is here, and its window.
#[derive(Debug)]
pub(super) struct Response {
    /// Interim heads that wait, and the number that there were.
    pub(super) interim: VecDeque<Hint<ResponseHead>>,
    pub(super) interims: u8,
    /// Requests to promise that wait, and the number that there were.
    pub(super) pushes: VecDeque<Hint<RequestHead>>,
    pub(super) pushed: u8,
    pub(super) has_head: bool,
    pub(super) head: Option<ResponseHead>,
    /// The response in place of the app's, until the app has ended its own.
    pub(super) replacement: Option<Box<Replacement>>,
    pub(super) body: VecDeque<Piece>,
    /// The number of the body's bytes that the connection has and the client has not taken.
    pub(super) unsent: usize,
    /// The source of the unsent bytes.
    pub(super) unsent_of: Source,
    /// The encoding of the body, if it is encoded.
    pub(super) coder: Option<Box<Coder>>,
    /// Whether encoding waits for the next turn.
    pub(super) has_yielded: bool,
    pub(super) trailers: Option<ResponseHead>,
    pub(super) ended: bool,
    pub(super) fault: Option<Fault>,
    /// The fault whose response this is.
    pub(super) answered_fault: Option<Fault>,
    pub(super) wants_continue: bool,
    /// The window of the worker: how much it may still send.
    pub(super) window: Window,
    pub(super) has_grown: bool,
    /// Room for a response that is taken ahead of its client, until the worker has begun.
    pub(super) room: Option<Rc<ResponseRoom>>,
    /// The room that the response has taken.
    pub(super) taken_room: Option<TakenRoom>,
}

/// A piece of a response's body.
#[derive(Debug)]
pub(super) enum Piece {
    Bytes(Bytes),
    File(Box<FileBody>),
}

/// The source of bytes of a response's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Worker,
    /// Bytes of a file; with `last`, the file has no more.
    File {
        last: bool,
    },
    /// Bytes that were encoded.
    Encoder,
}

impl Piece {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Bytes(data) => data.len(),
            Self::File(file) => usize::try_from(file.left()).unwrap_or(usize::MAX),
        }
    }
}

impl Response {
    /// Returns the response of a request that has arrived. One with room may be taken ahead of its client.
    pub(super) fn new(room: Option<Rc<ResponseRoom>>) -> Self {
        Self {
            interim: VecDeque::new(),
            interims: 0,
            pushes: VecDeque::new(),
            pushed: 0,
            has_head: false,
            head: None,
            replacement: None,
            body: VecDeque::new(),
            unsent: 0,
            unsent_of: Source::Worker,
            coder: None,
            has_yielded: false,
            trailers: None,
            ended: false,
            fault: None,
            answered_fault: None,
            wants_continue: false,
            window: Window::new(RESPONSE_WINDOW),
            has_grown: false,
            room,
            taken_room: None,
        }
    }

    /// Whether the next part of the response can be had now. A file is sent one piece at a time and by
    /// itself, so that its bytes are distinguished from those that the worker sent.
    pub(super) fn may_go_on(&self) -> bool {
        match self.body.front() {
            Some(Piece::File(file)) => self.unsent == 0 && !file.is_away(),
            _ => self.unsent == 0 || self.unsent_of == Source::Worker,
        }
    }

    /// Whether the connection can have what follows the head now.
    pub(super) fn has_next(&self) -> bool {
        match &self.coder {
            Some(coder) => self.may_encode(coder),
            None => {
                self.may_go_on() && (!self.body.is_empty() || self.trailers.is_some() || self.fault.is_some())
            }
        }
    }
}

impl State {
    /// Returns credit for `cost` of the response that the client took. The first time the window also grows,
    /// because the client evidently reads.
    pub(super) fn return_credit(&mut self, cost: usize) {
        let Some(mut credit) = self.owed.take(cost) else { return };
        if self.response.ended {
            return;
        }
        if let Place::Begun(origin, stream) | Place::Sent(origin, stream) = &self.place {
            if !std::mem::replace(&mut self.response.has_grown, true) {
                credit += RESPONSE_WINDOW_GROWTH;
                self.owed = Owed::new(RESPONSE_WINDOW + RESPONSE_WINDOW_GROWTH);
            }
            self.response.window.add(credit);
            origin.send_credit(*stream, credit);
        }
    }
}
