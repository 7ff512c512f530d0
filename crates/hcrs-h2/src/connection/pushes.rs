//! Server push: requests that are promised to the client and made for it (RFC 9113 §8.4).
//!
//! `h2` panics if the client resets a promised stream before its `PUSH_PROMISE` has left `h2`, ends the
//! connection if the client does so while the head of the response waits in `h2`, and buffers without limit
//! for a stream that the client does not let open. So nothing is read from the client while a promise, or the
//! head of a pushed response, waits in `h2`; a promise becomes a request, and the body follows a head, once
//! the meter has seen its frame leave.

use std::task::{Context, Poll};

use bytes::Bytes;
use h2::server::SendPushedResponse;
use http::{HeaderName, HeaderValue, Method, Request, Uri};
use tokio::io::{AsyncRead, AsyncWrite};

use hcrs_http::{RequestHead, is_promise_name};

use super::Connection;
use crate::event::{Ended, Event, StreamKey};
use crate::meter::PushStep;
use crate::stream::Stream;

/// Most pushed streams of a connection at a time, from the promise to the end of the response. Further
/// promises are dropped.
pub(super) const PUSHES_MAX: usize = 32;

/// A pushed stream that has not ended on the wire.
#[derive(Debug)]
pub(super) struct Push {
    id: u32,
    stage: Stage,
}

/// The progress of a pushed stream.
#[derive(Debug)]
enum Stage {
    /// The promise, made on this stream, waits in `h2`.
    Promising(StreamKey, Box<(SendPushedResponse<Bytes>, RequestHead)>),
    /// The promise has left `h2`.
    Promised,
    /// The head of the response waits in `h2`.
    Opening,
    /// The head of the response has left `h2`.
    Open,
}

impl Push {
    fn is_leaving(&self) -> bool {
        matches!(self.stage, Stage::Promising(..) | Stage::Opening)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Connection<T> {
    pub(super) fn push(&mut self, parent: StreamKey, head: RequestHead) -> Result<(), RequestHead> {
        let max = self.h2.max_concurrent_send_streams().min(PUSHES_MAX);
        if !self.takes_pushes() || self.pushes.len() >= max || self.transport.is_full() {
            return Err(head);
        }
        let Some(stream) = self.streams.get_mut(parent) else { return Err(head) };
        if stream.is_reset() {
            return Err(head);
        }
        let Some(respond) = stream.promiser() else { return Err(head) };
        let Some(promise) = request(&head) else { return Err(head) };
        let Ok(promised) = respond.push_request(promise) else { return Err(head) };
        let id = promised.stream_id().as_u32();
        self.pushes.push(Push { id, stage: Stage::Promising(parent, Box::new((promised, head))) });
        self.write_ahead();
        Ok(())
    }

    /// Whether the client accepts pushes at all.
    pub(super) fn takes_pushes(&self) -> bool {
        self.transport.with_meter(|meter| meter.takes_pushes())
    }

    /// Whether the client allows one more pushed response.
    pub(super) fn can_open_pushed(&self) -> bool {
        let is_open = |push: &&Push| matches!(push.stage, Stage::Opening | Stage::Open);
        // Asking h2 takes a lock.
        self.pushes.is_empty()
            || self.pushes.iter().filter(is_open).count() < self.h2.max_concurrent_send_streams()
    }

    /// Notes that the head of a pushed response was passed to `h2`.
    pub(super) fn open_pushed(&mut self, id: u32) {
        if let Some(push) = self.pushes.iter_mut().find(|push| push.id == id) {
            push.stage = Stage::Opening;
        }
        self.write_ahead();
    }

    /// Updates pushed streams by the frames that have left. Returns whether reads were resumed.
    pub(super) fn poll_pushes(&mut self) -> bool {
        if self.pushes.is_empty() {
            return false;
        }
        let was_paused = self.pushes.iter().any(Push::is_leaving);
        for step in self.transport.with_meter(|meter| std::mem::take(&mut meter.push_steps)) {
            match step {
                PushStep::Promised(id) => self.begin_pushed(id),
                PushStep::Opened(id) => {
                    if let Some(push) = self.pushes.iter_mut().find(|push| push.id == id) {
                        push.stage = Stage::Open;
                    }
                    if let Some((_, stream)) = self.streams.find(id) {
                        stream.is_open = true;
                    }
                }
                PushStep::Over(id) => self.forget_pushed(id),
            }
        }
        was_paused && !self.pause_reads()
    }

    /// Pauses reads while a promise or a head has to leave first, and resumes them otherwise. Returns whether
    /// they are paused.
    fn pause_reads(&self) -> bool {
        let is_paused = self.pushes.iter().any(Push::is_leaving);
        self.transport.pause_reads(is_paused);
        is_paused
    }

    fn begin_pushed(&mut self, id: u32) {
        let Some(push) = self.pushes.iter_mut().find(|push| push.id == id) else { return };
        if let Stage::Promising(_, promise) = std::mem::replace(&mut push.stage, Stage::Promised) {
            let (respond, head) = *promise;
            let key = self.streams.insert(Stream::pushed(respond));
            self.events.push_back(Event::Pushed { key, head });
        }
    }

    /// Forgets a pushed stream that is over.
    pub(super) fn forget_pushed(&mut self, id: u32) {
        self.pushes.retain(|push| push.id != id);
    }

    /// Drops the promises of a stream that is failed, if they have not left. Returns whether there were any.
    pub(super) fn drop_promises(&mut self, parent: StreamKey) -> bool {
        let before = self.pushes.len();
        self.pushes.retain(|push| !matches!(push.stage, Stage::Promising(on, _) if on == parent));
        let any = self.pushes.len() < before;
        if any {
            self.pause_reads();
        }
        any
    }

    /// Makes `h2` write its frames before it reads. Frames that do not leave now keep reads paused.
    fn write_ahead(&mut self) {
        self.transport.pause_reads(true);
        match self.h2.poll_accept(&mut Context::from_waker(&self.turn_waker)) {
            Poll::Ready(Some(Ok((request, respond)))) => self.begin_stream(request, respond),
            Poll::Ready(Some(Err(error))) => self.ended_early = Some(error.into()),
            Poll::Ready(None) => self.ended_early = Some(Ended::Closed),
            Poll::Pending => {}
        }
        // The caller polls for events after it has passed anything to h2, and that reads.
        let _is_read_later = self.poll_pushes();
    }
}

/// Returns the promised request for `h2`; `None` if it has a field that a promised request may not have.
fn request(head: &RequestHead) -> Option<Request<()>> {
    let view = head.view();
    let mut target = view.path.to_vec();
    if !view.query.is_empty() {
        target.extend_from_slice(b"?");
        target.extend_from_slice(view.query);
    }
    let mut request = Request::new(());
    *request.method_mut() = Method::GET;
    *request.uri_mut() = Uri::builder()
        .scheme(view.scheme.as_str())
        .authority(view.fields().first(b"host")?)
        .path_and_query(target)
        .build()
        .ok()?;
    for (name, value) in view.fields().filter(|(name, _)| *name != b"host") {
        if !is_promise_name(name) {
            return None;
        }
        let name = HeaderName::from_bytes(name).ok()?;
        request.headers_mut().try_append(name, HeaderValue::from_bytes(value).ok()?).ok()?;
    }
    Some(request)
}
