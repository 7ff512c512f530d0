//! Handles the frames of a worker. Each is checked: a worker that breaks the rules loses its link.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use hcrs_http::{Fault, ResponseHead, is_field_name, is_field_value, is_promise_name};
use hcrs_link::{FromWorker, HINT_LEN_MAX, LinkError, StreamId, split_promise};

use super::streams::Begun;
use super::{Life, Link, LinkEvent, WorkerEvent};
use crate::exchange::Exchange;
use crate::exchange::file_body::FileBody;

impl Link {
    /// Handles a frame. `files` holds the descriptors that arrived with what was read.
    pub(crate) fn handle(
        &self,
        frame: &FromWorker<'_>,
        files: &mut VecDeque<OwnedFd>,
        now: Instant,
        on_event: &mut impl FnMut(LinkEvent),
    ) -> Result<(), LinkError> {
        self.note_progress(now);
        let malformed = LinkError::Unexpected(frame.name());
        let rule = |is_kept: bool| if is_kept { Ok(()) } else { Err(malformed) };
        match *frame {
            FromWorker::Ready => {
                if self.life.get() == Life::Starting {
                    self.life.set(Life::Ready);
                }
                on_event(LinkEvent::Worker(WorkerEvent::Ready));
                Ok(())
            }
            FromWorker::Failed { why } => {
                on_event(LinkEvent::Worker(WorkerEvent::Failed(String::from_utf8_lossy(why).into_owned())));
                Ok(())
            }
            FromWorker::Begun => Ok(()),
            FromWorker::Finished { all } => {
                let left = self.left_over(now).filter(|_| all);
                if let Some(left) = &left {
                    tracing::warn!("accounting: worker {} has finished, and {left} are left", self.pid());
                }
                debug_assert!(left.is_none(), "a worker that has finished has ended every stream");
                on_event(LinkEvent::Worker(WorkerEvent::Finished));
                Ok(())
            }
            FromWorker::Interim { stream, head } => {
                let len = head.len();
                let head = head_of(head).filter(|_| len <= HINT_LEN_MAX).ok_or(malformed)?;
                rule(self.exchange(stream).is_none_or(|exchange| exchange.push_interim(head, len)))
            }
            FromWorker::Push { stream, promise } => {
                let (target, fields) = promise_of(promise).ok_or(malformed)?;
                let len = promise.len();
                rule(self.exchange(stream).is_none_or(|exchange| exchange.push_promise(target, &fields, len)))
            }
            FromWorker::Response { stream, head, end } => {
                let head = head_of(head).ok_or(malformed)?;
                rule(self.exchange(stream).is_none_or(|exchange| exchange.push_head(head, end)))?;
                self.end_stream_if(end, stream);
                Ok(())
            }
            FromWorker::Accept { stream, head } => {
                let head = head_of(head).ok_or(malformed)?;
                rule(self.exchange(stream).is_none_or(|exchange| exchange.accept_websocket(&head, now)))
            }
            FromWorker::Data { stream, bytes, end } => {
                // Copied, so that a piece that waits for a slow client does not keep the whole read buffer
                // alive.
                self.take_data(stream, Bytes::copy_from_slice(bytes), end, malformed)
            }
            FromWorker::Block { stream, block, len, end } => {
                let bytes = self.block(usize::from(block), len).ok_or(malformed)?;
                self.take_data(stream, bytes, end, malformed)
            }
            FromWorker::File { stream, part, end } => {
                let file = FileBody::new(files.pop_front().ok_or(malformed)?, part);
                rule(self.exchange(stream).is_none_or(|exchange| exchange.push_file(file, end)))?;
                self.end_stream_if(end, stream);
                Ok(())
            }
            FromWorker::Trailers { stream, fields } => {
                let trailers = head_of(fields).ok_or(malformed)?;
                rule(self.exchange(stream).is_none_or(|exchange| exchange.push_trailers(trailers)))?;
                self.end_stream_if(true, stream);
                Ok(())
            }
            FromWorker::Message { stream, kind, bytes, end } => {
                rule(self.exchange(stream).is_none_or(|exchange| exchange.push_message(kind, bytes, end)))
            }
            FromWorker::Close { stream, code, reason } => {
                rule(self.exchange(stream).is_none_or(|exchange| exchange.push_close(code, reason, now)))
            }
            FromWorker::Credit { stream, amount } => {
                if let Some(exchange) = self.exchange(stream) {
                    exchange.app_took(amount);
                }
                Ok(())
            }
            FromWorker::AwaitsBody { stream } => {
                if let Some(exchange) = self.exchange(stream) {
                    exchange.app_awaits_body();
                }
                Ok(())
            }
            FromWorker::HeardClose { stream } => {
                if let Some(exchange) = self.exchange(stream) {
                    exchange.app_took_close();
                }
                Ok(())
            }
            FromWorker::AppFailed { stream } => {
                // Before the end of the stream, which without a fault could mean that its client has left.
                if let Some(exchange) = self.exchange(stream) {
                    exchange.fail(Fault::AppFailed);
                }
                self.end_stream_if(true, stream);
                Ok(())
            }
            FromWorker::Done { stream } => {
                self.end_stream_if(true, stream);
                Ok(())
            }
        }
    }

    fn take_data(
        &self,
        stream: StreamId,
        bytes: Bytes,
        end: bool,
        malformed: LinkError,
    ) -> Result<(), LinkError> {
        if let Some(exchange) = self.exchange(stream)
            && !exchange.push_data(bytes, end)
        {
            return Err(malformed);
        }
        self.end_stream_if(end, stream);
        Ok(())
    }

    /// Returns the bytes in a block. The block is free again when they are dropped.
    fn block(&self, block: usize, len: usize) -> Option<Bytes> {
        Some(Bytes::from_owner(self.blocks.as_ref()?.lend(block, len)?))
    }

    /// Returns the memory of free blocks to the system.
    pub(crate) fn release_memory(&self) {
        if let Some(blocks) = &self.blocks {
            blocks.empty();
        }
    }

    /// Returns the exchange that a frame is about. A frame about a request implies that it was begun.
    fn exchange(&self, stream: StreamId) -> Option<Rc<Exchange>> {
        let Begun { exchange, is_new } = self.streams.borrow_mut().note_begun(&self.claims, stream)?;
        if is_new && let Some(exchange) = &exchange {
            exchange.begun();
        }
        exchange
    }

    fn end_stream_if(&self, end: bool, stream: StreamId) {
        if !end {
            return;
        }
        let entry = self.streams.borrow_mut().end(&self.claims, stream);
        if let Some(exchange) = entry.and_then(|entry| entry.exchange) {
            exchange.finished();
        }
    }
}

fn head_of(payload: &[u8]) -> Option<ResponseHead> {
    ResponseHead::parse(Bytes::copy_from_slice(payload)).ok()
}

/// Parses the target and the fields of a promised request; `None` if they are malformed or cannot be
/// promised.
fn promise_of(payload: &[u8]) -> Option<(&[u8], ResponseHead)> {
    if payload.len() > HINT_LEN_MAX {
        return None;
    }
    let (target, at) = split_promise(payload)?;
    let fields = head_of(&payload[at..])?;
    let can_stand = |(name, value)| is_field_name(name) && is_promise_name(name) && is_field_value(value);
    fields.fields().all(can_stand).then_some((target, fields))
}
