//! Drives an HTTP/2 connection.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hcrs_h2::{Connection, Event, Sent, StreamKey, Turn};
use hcrs_http::{Endpoints, Fault, Field, RequestHead, ResponseHead};
use tokio::io::{AsyncRead, AsyncWrite};

use super::multiplexed::{self, Controls, Driver, Ended, note};
use crate::client::Client;
use crate::clock;
use crate::state::{Phase, ServerFields};

/// How long, and how many bytes, are read and dropped after the last response of a connection that was closed
/// in order. A drain waits less for clients that do not close.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_IN_DRAIN: Duration = Duration::from_millis(500);
const LINGER_MAX: usize = 1 << 20;

/// The transport of a connection.
trait Io: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Io for T {}

/// Serves the connection until it ends.
pub(crate) async fn drive<T: AsyncRead + AsyncWrite + Unpin>(client: Client, io: T) {
    let settings = client.admitted.shared.kept_settings();
    let settings = &settings.connection;
    let bodies = Rc::clone(&client.admitted.shared.bodies);
    let handshake =
        hcrs_h2::handshake(io, &settings.h2, client.scheme, Rc::clone(&client.endpoints), &bodies);
    let handshake = tokio::time::timeout(settings.head_timeout, handshake);
    let mut connection = match client.admitted.until_drained(handshake).await {
        Some(Ok(Ok(connection))) => connection,
        Some(Ok(Err(ended))) => return note(&client, &ended.into()),
        Some(Err(_)) => return client.note_fault(Fault::HeadTimeout),
        None => return,
    };
    let mut driver = Driver::new(client, settings);
    let ended = driver.run(&mut connection).await;
    if matches!(ended, Ended::Closed) && driver.is_shut_down() {
        let is_serving = driver.phase() == Phase::Serving;
        let since_last = driver.idle_for(clock::now());
        let limit = if is_serving { LINGER } else { LINGER_IN_DRAIN }.saturating_sub(since_last);
        // The last bytes may still be in transit to a client that is sending: closing with unread bytes would
        // reset the connection.
        let _closed = tokio::time::timeout(limit, connection.linger(LINGER_MAX)).await;
    }
}

impl<T: Io> multiplexed::Connection for Connection<T> {
    type Controls = Self;
    type Turn<'a>
        = Turn<'a, T>
    where
        Self: 'a;

    fn receive(&mut self, _: Instant) -> Option<Rc<Endpoints>> {
        None
    }

    fn begin_turn<'a>(&'a mut self, fields: &ServerFields) -> Turn<'a, T> {
        self.begin_turn(&fields.streams)
    }

    fn poll_flush(&mut self, _: &mut Context<'_>, _: Instant) -> Poll<io::Result<()>> {
        // Each turn writes its own.
        Poll::Ready(Ok(()))
    }

    fn take_progress(&mut self) -> bool {
        Connection::take_progress(self)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<()> {
        self.poll_close(cx, now)
    }

    fn controls(&mut self) -> &mut Self {
        self
    }

    fn look_after(&mut self, _: bool, _: Instant) {
        // TCP keeps a connection that is silent, and each turn has opened the window.
    }
}

impl<T: Io> Controls for Connection<T> {
    fn fail(&mut self, key: StreamKey, fault: Fault, own: Option<Field<'_>>) {
        self.fail_with(key, fault, own);
    }

    fn graceful_shutdown(&mut self) {
        self.graceful_shutdown();
    }

    fn final_shutdown(&mut self) {
        self.final_shutdown();
    }

    fn abrupt_shutdown(&mut self, fault: Fault) {
        self.abrupt_shutdown(fault);
    }

    fn stalled_since(&self, instant: Instant) -> Vec<StreamKey> {
        self.stalled_since(instant)
    }

    fn due_at(&self, now: Instant) -> Option<Instant> {
        self.unwanted_until(now)
    }

    fn awaits_head(&self) -> bool {
        self.awaits_head()
    }

    fn oldest_head(&self) -> Option<Instant> {
        // A header block stops all streams (RFC 9113 §4.3).
        None
    }

    fn refuse_heads(&mut self, _: Instant) {}
}

impl<T: Io> multiplexed::Turn for Turn<'_, T> {
    type Controls = Connection<T>;

    fn controls(&mut self) -> &mut Connection<T> {
        self
    }

    #[inline]
    fn poll_event(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<Result<Event, Ended>> {
        self.poll_event(cx, now).map(|event| event.map_err(Ended::from))
    }

    fn send_interim(&mut self, key: StreamKey, head: &ResponseHead) -> Result<(), Fault> {
        self.send_interim(key, head)
    }

    fn send_head(&mut self, key: StreamKey, head: &ResponseHead, end: bool) -> Result<bool, Fault> {
        self.send_head(key, head, end)
    }

    fn send_data(&mut self, now: Instant, key: StreamKey, data: Bytes, end: bool) -> Result<Sent, Fault> {
        self.send_data(now, key, data, end)
    }

    fn send_trailers(
        &mut self,
        now: Instant,
        key: StreamKey,
        trailers: &ResponseHead,
    ) -> Result<bool, Fault> {
        self.send_trailers(now, key, trailers)
    }

    fn push(&mut self, parent: StreamKey, head: RequestHead) -> Result<(), RequestHead> {
        self.push(parent, head)
    }

    fn release(&mut self, key: StreamKey, len: usize) {
        self.release(key, len);
    }

    fn open_window(&mut self, is_hungry: impl FnOnce() -> bool) {
        self.open_window(is_hungry);
    }

    fn take_stalls(&mut self) -> u64 {
        Connection::take_stalls(self)
    }

    fn end(self, cx: &mut Context<'_>, _: Instant) -> Poll<io::Result<()>> {
        self.end(cx)
    }
}

impl From<hcrs_h2::Ended> for Ended {
    fn from(ended: hcrs_h2::Ended) -> Self {
        match ended {
            hcrs_h2::Ended::Closed => Self::Closed,
            hcrs_h2::Ended::Protocol(code) => Self::Protocol(format!("HTTP/2 protocol error {code:?}")),
            hcrs_h2::Ended::Fault(fault) => Self::Fault(fault),
            hcrs_h2::Ended::Io(error) => Self::Io(error),
        }
    }
}
