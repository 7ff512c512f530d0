//! The request: its head and its body, as the upstream takes them.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::{Buf as _, Bytes};
use hcrs_h1::{ClientConnection, OutgoingRequest, RequestBody};
use hcrs_http::{Fault, RequestView, request_content_length};
use tokio::io::AsyncWrite as _;

use super::State;
use crate::origin::upstream::job::Job;
use crate::origin::upstream::request_head::{self, Context as HeadContext};
use crate::origin::upstream::server::Server;
use crate::origin::upstream::target::Target;
use crate::origin::upstream::transport::Transport;

/// The number of bytes of a request that are gathered for one write.
const GATHERED: usize = 16 << 10;

/// The bytes that wait for the socket.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    framed: Vec<u8>,
    written: usize,
    /// A piece of the body behind them, which needs no framing.
    plain: Bytes,
    /// Since when the socket takes nothing.
    blocked_since: Option<Instant>,
    /// Whether bytes were written that the transport has not sent.
    is_unflushed: bool,
    /// Whether a byte of the request was written.
    has_sent: bool,
    /// Why the request cannot be written any further.
    failure: Option<Failure>,
}

/// The reason why a request cannot be written any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    /// The connection has failed.
    Socket,
    /// The body is not what its head has announced.
    Aborted,
}

impl From<io::Error> for Failure {
    fn from(_: io::Error) -> Self {
        // Reading finds out more.
        Self::Socket
    }
}

impl Outgoing {
    /// Whether nothing waits.
    pub(super) fn is_written(&self) -> bool {
        self.written == self.framed.len()
            && self.plain.is_empty()
            && !self.is_unflushed
            && self.failure.is_none()
    }

    /// Whether the request cannot be written any further.
    pub(super) fn has_failed(&self) -> bool {
        self.failure.is_some()
    }

    /// Whether the connection has failed before a byte of the request was written.
    pub(super) fn is_unsent(&self) -> bool {
        self.failure == Some(Failure::Socket) && !self.has_sent
    }

    /// Whether the request has to be broken off.
    pub(super) fn is_aborted(&self) -> bool {
        self.failure == Some(Failure::Aborted)
    }

    /// Returns since when the socket has not taken bytes that wait.
    pub(super) fn blocked_since(&self) -> Option<Instant> {
        self.blocked_since
    }

    fn next(&self) -> &[u8] {
        if self.written < self.framed.len() { &self.framed[self.written..] } else { &self.plain }
    }

    fn advance(&mut self, len: usize) {
        if self.written < self.framed.len() {
            self.written += len;
            if self.written == self.framed.len() {
                self.written = 0;
                self.framed.clear();
                self.framed.shrink_to(GATHERED);
            }
        } else {
            self.plain.advance(len);
        }
    }
}

impl State {
    /// Puts the head of a request in front of what is written next.
    pub(super) fn write_head(&mut self, job: &Job, server: &Server) -> Result<(), Fault> {
        let is_tunnel = job.arrival.is_tunnel;
        self.out.has_sent = false;
        self.out.blocked_since = None;
        let out = &mut self.out.framed;
        let protocol = &mut self.protocol;
        job.with_head(|head| write_head(head, job.context(server), is_tunnel, protocol, out))?
            // Its host or target has bytes that no request can have.
            .map_err(|_| Fault::BadRequest("request that cannot be passed on"))
    }

    /// Writes what the socket takes. A failure is noted, because there may be a response nevertheless.
    pub(super) fn poll_request(&mut self, cx: &mut Context<'_>, now: Instant) {
        if self.out.failure.is_none() {
            self.out.failure = self.poll_write(cx, now).err();
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, now: Instant) -> Result<(), Failure> {
        loop {
            self.gather(cx)?;
            let next = self.out.next();
            if next.is_empty() {
                break;
            }
            let Poll::Ready(written) = Pin::new(&mut self.io).poll_write(cx, next) else {
                self.out.blocked_since.get_or_insert(now);
                return Ok(());
            };
            let len = written?;
            if len == 0 {
                return Err(Failure::Socket);
            }
            self.out.advance(len);
            self.out.has_sent = true;
            self.out.blocked_since = None;
            self.out.is_unflushed = matches!(self.io, Transport::Tls(_));
            if let Some(active) = &mut self.active {
                active.sent_at = now;
            }
        }
        if self.out.is_unflushed {
            let Poll::Ready(flushed) = Pin::new(&mut self.io).poll_flush(cx) else {
                self.out.blocked_since.get_or_insert(now);
                return Ok(());
            };
            flushed?;
            self.out.is_unflushed = false;
        }
        self.out.blocked_since = None;
        Ok(())
    }

    /// Takes what has arrived of the body, as much as one write takes.
    fn gather(&mut self, cx: &mut Context<'_>) -> Result<(), Failure> {
        let Some(active) = &self.active else { return Ok(()) };
        if self.protocol.request_ended() || active.job.arrival.is_tunnel {
            return Ok(());
        }
        let (body, exchange) = (&active.job.body, &active.job.exchange);
        if body.begin() {
            exchange.app_awaits_body();
        }
        let out = &mut self.out;
        while out.framed.len() - out.written < GATHERED && out.plain.is_empty() {
            if body.is_aborted() {
                return Err(Failure::Aborted);
            }
            let Some(piece) = body.pop() else {
                if body.has_ended() {
                    let ended = match body.take_trailers() {
                        Some(trailers) => self.protocol.write_trailers(&trailers, &mut out.framed),
                        None => self.protocol.write_end(&mut out.framed),
                    };
                    ended.map_err(|_| Failure::Aborted)?;
                } else {
                    body.listen(cx.waker());
                }
                return Ok(());
            };
            exchange.app_took(piece.len() as u32);
            let has_plain_room = self.protocol.plain_room().is_some_and(|room| room >= piece.len() as u64);
            if piece.len() >= GATHERED && has_plain_room {
                self.protocol.wrote_plain(piece.len() as u64);
                out.plain = piece;
            } else {
                self.protocol.write_data(&piece, &mut out.framed).map_err(|_| Failure::Aborted)?;
            }
        }
        Ok(())
    }
}

fn write_head(
    head: &RequestView<'_>,
    context: HeadContext<'_>,
    is_tunnel: bool,
    protocol: &mut ClientConnection,
    out: &mut Vec<u8>,
) -> Result<(), hcrs_h1::Unsendable> {
    let target = Target::new(head, &context.url.base, context.sender.stripped);
    let body = if !head.has_body {
        RequestBody::None
    } else if head.fields().first(b"trailer").is_some() {
        // Only a body in chunks has a place for them.
        RequestBody::Chunked
    } else {
        let length = head.fields().first(b"content-length").and_then(request_content_length);
        length.map_or(RequestBody::Chunked, RequestBody::Known)
    };
    let request = OutgoingRequest {
        method: head.method,
        target: &target.pieces(),
        body,
        asks_for_websocket: is_tunnel,
        accepts_trailers: head.accepts_trailers(),
    };
    let fields = |fields: &mut hcrs_h1::RequestFields<'_>| {
        fields.push(b"host", &[context.host_for(head)]);
        request_head::push_fields(head, context, |name, value| {
            // The length is that of the framing.
            if name != b"content-length" {
                fields.push(name, value);
            }
        });
    };
    protocol.write_request(&request, fields, out)
}
