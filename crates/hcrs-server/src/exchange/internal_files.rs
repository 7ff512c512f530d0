//! Files that the app, or an upstream, leaves to the edge by a field of its response.

use std::fmt::Debug;

use hcrs_http::{RequestHead, ResponseHead};

use super::{PiecedResponse, Place, State};

/// The most bytes of a body that the app sends although a file takes its place. They are read, so that the app can
/// complete its response; one that sends more sees its client leave.
const DROPPED_MAX: usize = 1 << 20;

/// The files that the app may name.
pub(crate) trait InternalFiles: Debug {
    /// Returns what the client gets in place of a head of the app.
    fn replace(&self, request: &RequestHead, head: ResponseHead) -> Replaced;
}

/// The response in place of one of the app.
#[derive(Debug)]
pub(crate) enum Replaced {
    /// The app's response with this head.
    No(ResponseHead),
    /// This response. The app's body is dropped.
    By(PiecedResponse),
}

/// A response that is sent once the app has ended its own.
#[derive(Debug)]
pub(super) struct Replacement {
    response: PiecedResponse,
    /// The number of bytes of the app's body that were dropped.
    dropped: usize,
}

impl Replacement {
    pub(super) fn new(response: PiecedResponse) -> Self {
        Self { response, dropped: 0 }
    }
}

impl State {
    /// Drops a piece of the app's body, of `len` bytes and this cost in the window, because a file takes its place.
    pub(super) fn drop_replaced(&mut self, len: usize, cost: usize, end: bool) {
        let Some(replacement) = &mut self.response.replacement else { return };
        replacement.dropped = replacement.dropped.saturating_add(len);
        if end {
            return self.send_replacement();
        }
        if replacement.dropped <= DROPPED_MAX {
            return self.return_credit(cost);
        }
        tracing::warn!("A response that names a file has a body of more than {DROPPED_MAX} bytes");
        self.send_replacement();
        match std::mem::replace(&mut self.place, Place::Over) {
            Place::Begun(origin, stream) | Place::Sent(origin, stream) => origin.abandon(stream),
            Place::Queued | Place::Over => {}
        }
    }

    /// Makes the response in place of the app's the one that is sent.
    pub(super) fn send_replacement(&mut self) {
        let Some(replacement) = self.response.replacement.take() else { return };
        let PiecedResponse { head, body } = replacement.response;
        self.response.head = Some(head);
        self.response.body.extend(body.into_iter().map(|piece| piece.0));
        self.response.ended = true;
    }
}
