//! The response: its parts go to the exchange as it has room for them.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use hcrs_h1::{BadResponse, ClientConnection, OutgoingRequest, RequestBody, ResponseEvent};
use hcrs_http::Fault;
use tokio::io::{AsyncRead, AsyncWriteExt as _};
use tokio_util::io::poll_read_buf;

use super::{Active, Outcome, State, limits};
use crate::origin::upstream::job::{Job, pushed};
use crate::origin::upstream::retry::Ended;
use crate::origin::upstream::transport::Transport;
use crate::origin::upstream::tunnel::switch_head;

/// The most bytes of one read, and the size of a buffer.
const READ: usize = 64 << 10;
/// The least room for a read, in bytes.
const READ_MIN: usize = 16 << 10;

thread_local! {
    /// The buffer for the next read, shared by the thread so that a connection at rest holds none.
    static BUFFER: RefCell<BytesMut> = RefCell::default();
}

/// The reason why a response does not go on.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    Bad(#[from] BadResponse),
    #[error("{0}")]
    Socket(io::Error),
}

impl State {
    /// Reads bytes of the upstream, or its end.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        poll_read(&mut self.io, &mut self.protocol, cx)
    }

    /// Passes on what has arrived of the response, and reads more as the exchange has room.
    pub(super) fn poll_response(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<Outcome> {
        let polled = self.poll_parts(cx, now);
        return_buffer(&mut self.protocol);
        polled
    }

    fn poll_parts(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<Outcome> {
        loop {
            let Some(active) = &mut self.active else { return Poll::Pending };
            let room = active.job.exchange.response_room();
            match self.protocol.poll_event(room) {
                Ok(Some(event)) => match active.take(event, now) {
                    Ok(None) => continue,
                    Ok(Some(outcome)) => return Poll::Ready(outcome),
                    Err(fault) => return Poll::Ready(Outcome::Failed(fault)),
                },
                Ok(None) => {}
                Err(bad) => return Poll::Ready(self.lost(&Broken::Bad(bad))),
            }
            if active.is_answered && room == 0 {
                active.owes_since = None;
                return Poll::Pending;
            }
            active.owes_since.get_or_insert(now);
            match self.poll_read(cx) {
                Poll::Ready(Ok(0)) => self.protocol.end_input(),
                Poll::Ready(Ok(_)) => {
                    if let Some(active) = &mut self.active {
                        active.owes_since = None;
                    }
                }
                Poll::Ready(Err(error)) => return Poll::Ready(self.lost(&Broken::Socket(error))),
                Poll::Pending if self.out.is_aborted() => {
                    return Poll::Ready(Outcome::Failed(Fault::ClientGone));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Returns the outcome of a request whose response does not go on.
    fn lost(&self, broken: &Broken) -> Outcome {
        let Some(active) = &self.active else { return Outcome::Abandoned };
        if active.is_answered {
            Job::blame(active.busy.server(), broken);
            return Outcome::Failed(Fault::UpstreamFailed);
        }
        let is_silent = self.protocol.is_unanswered();
        let ended = if self.out.is_unsent() {
            Ended::Unsent
        } else if is_silent && active.is_reused {
            Ended::LostWithReused
        } else {
            Ended::Lost
        };
        if ended == Ended::Lost {
            Job::blame(active.busy.server(), broken);
        }
        Outcome::Unanswered(ended, Fault::UpstreamFailed)
    }
}

impl Active {
    /// Passes a part of the response on. Returns how the request has ended, if it has.
    fn take(&mut self, event: ResponseEvent, now: Instant) -> Result<Option<Outcome>, Fault> {
        let exchange = &self.job.exchange;
        match event {
            ResponseEvent::Interim(head) => {
                let len = head.fields().map(|(name, value)| name.len() + value.len()).sum();
                // One that does not fit is left out.
                let _is_sent = exchange.push_interim(head, len);
                Ok(None)
            }
            ResponseEvent::Head { head, is_whole } => {
                self.busy.server().succeed();
                self.is_answered = true;
                self.job.push_head(head, is_whole)?;
                Ok(is_whole.then_some(Outcome::Answered))
            }
            ResponseEvent::Switched(head) => {
                self.busy.server().succeed();
                let head = switch_head(&head, self.job.arrival.is_extended_connect);
                pushed(exchange.open_tunnel(head))?;
                Ok(Some(Outcome::Switched))
            }
            ResponseEvent::Data { data, end } => {
                self.owes_since = Some(now);
                pushed(exchange.push_data(data, end))?;
                Ok(end.then_some(Outcome::Answered))
            }
            ResponseEvent::Trailers(trailers) => {
                pushed(exchange.push_trailers(trailers))?;
                Ok(Some(Outcome::Answered))
            }
            ResponseEvent::End => {
                pushed(exchange.push_data(Bytes::new(), true))?;
                Ok(Some(Outcome::Answered))
            }
        }
    }
}

fn poll_read<T: AsyncRead + Unpin>(
    io: &mut T,
    protocol: &mut ClientConnection,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    protocol.lend_buffer(|| {
        let buffer = BUFFER.take();
        if buffer.capacity() == 0 { BytesMut::with_capacity(READ) } else { buffer }
    });
    let read = poll_read_buf(Pin::new(io), cx, &mut protocol.input_mut(READ_MIN));
    if read.is_pending() {
        return_buffer(protocol);
    }
    read
}

/// Leaves the buffer of a connection to others if nothing is in it.
fn return_buffer(protocol: &mut ClientConnection) {
    if let Some(buffer) = protocol.return_buffer() {
        BUFFER.replace(buffer);
    }
}

/// Sends a request without a body for the path, over a connection of its own. Returns the status of the response.
pub(in crate::origin::upstream) async fn ask(
    mut io: Transport,
    path: &str,
    fields: &[(&str, &str)],
) -> Result<u16, String> {
    let mut protocol = ClientConnection::new(&limits());
    let mut out = Vec::new();
    let request = OutgoingRequest {
        method: b"GET",
        target: &[path.as_bytes()],
        body: RequestBody::None,
        asks_for_websocket: false,
        accepts_trailers: false,
    };
    let push = |written: &mut hcrs_h1::RequestFields<'_>| {
        for (name, value) in fields {
            written.push(name.as_bytes(), &[value.as_bytes()]);
        }
    };
    protocol.write_request(&request, push, &mut out).map_err(|error| error.to_string())?;
    io.write_all(&out).await.map_err(|error| error.to_string())?;
    io.flush().await.map_err(|error| error.to_string())?;
    loop {
        match protocol.poll_event(0).map_err(|error| error.to_string())? {
            Some(ResponseEvent::Head { head, .. }) => return Ok(head.status()),
            Some(_) => continue,
            None => {}
        }
        let read =
            poll_fn(|cx| poll_read(&mut io, &mut protocol, cx)).await.map_err(|error| error.to_string())?;
        if read == 0 {
            protocol.end_input();
        }
    }
}
