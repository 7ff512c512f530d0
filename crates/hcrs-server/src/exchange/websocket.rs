//! A WebSocket between its client's bytes and its worker's messages. The drivers move the bytes as they move
//! bodies; frames, pings, compression and the closing handshake end here.
//!
//! ```text
//! client's bytes ─► input ─► messages ─► to_app ══ link
//!                               │ pongs, Close
//! client's bytes ◄─ response body ◄──────────────── link
//! ```
//!
//! While messages wait for the worker's window no more are read, but pings among the bytes that have arrived are
//! answered. Inflating has a share of each turn of the thread: bytes beyond it wait in the input until the
//! connection's task runs again.

mod deadlines;
mod from_client;
mod terms;
#[cfg(test)]
mod tests;
mod to_app;
mod to_client;

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Instant;

use bytes::BytesMut;
use hcrs_http::{Fault, RequestHead, ResponseHead, Version};
use hcrs_link::{REQUEST_WINDOW, Window};
use hcrs_ws::{Handshake, HeldBytes, MessageRoom, Opening};

pub(crate) use terms::Terms;
pub(crate) use to_app::Next;
use to_app::ToApp;
use to_client::OnWire;

/// One WebSocket, beginning with the request that asks for it.
#[derive(Debug)]
pub(crate) struct WebSocket {
    terms: Rc<Terms>,
    room: Rc<MessageRoom>,
    handshake: Handshake,
    /// The protocol's state, once the app has accepted.
    connection: Option<hcrs_ws::Connection>,
    /// Bytes of the client that were not parsed yet.
    input: BytesMut,
    to_app: VecDeque<ToApp>,
    /// Counts the message in `to_app` against the shared room.
    waiting: HeldBytes,
    window: Window,
    /// The cost of what was sent to the worker and not credited.
    in_app: usize,
    /// Whether the app was notified of the end.
    is_end_sent: bool,
    /// Whether the app has closed: the client's messages are ignored until its Close frame arrives.
    app_left: bool,
    /// When the client broke the protocol. The app may still answer earlier messages, so the Close frame is
    /// sent only once the app has taken the end or the close timeout has passed.
    failing_since: Option<Instant>,
    /// Whether inflating was interrupted and continues in the next turn.
    yielded: bool,
    /// The length of the message being read at the last check, and since when it has not changed.
    unfinished: Option<(u64, Instant)>,
    /// Whether a message was sent since the last check of the deadlines.
    has_sent: bool,
    /// When the last message was sent; `None` once the compression context was released.
    quiet_since: Option<Instant>,
    /// The sizes of what waits for the client, in order.
    unsent: VecDeque<OnWire>,
    backlog: usize,
    closing_since: Option<Instant>,
}

/// The outcome of a step of a WebSocket.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// The number of the client's bytes that were consumed.
    pub(crate) consumed: usize,
    /// Bytes for the client.
    pub(crate) out: Vec<u8>,
    /// Whether nothing more will be read or sent.
    pub(crate) is_closed: bool,
}

impl WebSocket {
    /// Returns the WebSocket that a request asks for, if it does; the error is the response that refuses it.
    /// It shares `room` with the others of its connection.
    pub(crate) fn asked_for(
        head: &RequestHead,
        terms: &Rc<Terms>,
        room: impl FnOnce() -> Rc<MessageRoom>,
    ) -> Result<Option<Self>, ResponseHead> {
        let view = head.view();
        let opening = match view.version {
            Version::Http2 | Version::Http3 if head.is_websocket() => Opening::ExtendedConnect,
            Version::Http11 if !view.has_body && hcrs_ws::asks_for_websocket(view.method, view.fields()) => {
                Opening::Upgrade
            }
            Version::Http10 | Version::Http11 | Version::Http2 | Version::Http3 => return Ok(None),
        };
        let handshake = Handshake::read(opening, view.fields()).map_err(|refusal| {
            let fields =
                refusal.fields(opening).iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
            ResponseHead::new(refusal.status(), fields)
        })?;
        let room = room();
        Ok(Some(Self {
            terms: Rc::clone(terms),
            waiting: HeldBytes::new(&room),
            room,
            handshake,
            connection: None,
            input: BytesMut::new(),
            to_app: VecDeque::new(),
            window: Window::new(REQUEST_WINDOW),
            in_app: 0,
            is_end_sent: false,
            app_left: false,
            failing_since: None,
            yielded: false,
            unfinished: None,
            has_sent: false,
            quiet_since: None,
            unsent: VecDeque::new(),
            backlog: 0,
            closing_since: None,
        }))
    }

    /// Opens the WebSocket with the fields of the app's head, whose status is 101. Returns the response's
    /// head.
    pub(crate) fn accept(&mut self, head: &ResponseHead) -> Result<ResponseHead, Fault> {
        let mut subprotocol = None;
        for (name, value) in head.fields() {
            if name.eq_ignore_ascii_case(b"sec-websocket-protocol") {
                subprotocol = Some(std::str::from_utf8(value).map_err(|_| Fault::AppFailed)?);
            }
        }
        let accepted = self
            .handshake
            .accept(subprotocol, self.terms.settings.compression.as_ref())
            .map_err(|_| Fault::AppFailed)?;
        let Terms { settings, pool, .. } = &*self.terms;
        self.connection = Some(hcrs_ws::Connection::new(settings, accepted.deflate, pool, &self.room));
        let ours = accepted.fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        let apps = head.fields().filter(|(name, _)| !is_of_handshake(name));
        Ok(ResponseHead::new(accepted.status, ours.chain(apps)))
    }

    /// Whether the app has accepted.
    pub(crate) fn is_open(&self) -> bool {
        self.connection.is_some()
    }
}

/// Whether the handshake itself sets the field.
fn is_of_handshake(name: &[u8]) -> bool {
    const PREFIX: &[u8] = b"sec-websocket-";
    name.get(..PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
        || name.eq_ignore_ascii_case(b"upgrade")
        || name.eq_ignore_ascii_case(b"connection")
}
