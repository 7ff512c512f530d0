//! Responses: the head, the body as far as the client's window allows, the trailers, and the answer to a
//! fault.

use std::time::Instant;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use hcrs_http::{Fault, Field, ResponseHead};
use tokio::io::{AsyncRead, AsyncWrite};

use super::Connection;
use crate::event::{Event, Sent, StreamKey};
use crate::head::{self, ConvertedHead, ServerFields};
use crate::stream::{Outcome, Pumped, Respond, Stream};

/// Length up to which the last piece of a body is passed to `h2` whatever the client's window, in bytes. It
/// saves small responses two locks, and a client that does not read makes `h2` hold at most this for each
/// stream.
const DIRECT: usize = 16 << 10;

/// Most bytes of bodies that `h2` may hold while the socket is full. Further bytes that the client's windows
/// allow stay with their stream, where they count against the worker's window.
const HANDED_MAX: usize = 256 << 10;

/// Number of `WINDOW_UPDATE` frames that a client may send for one piece of body before they count as frames
/// without progress.
pub(super) const UPDATES_PER_SEND: u32 = 10;

/// A stream that was failed after its head, and is reset once the frames before have left `h2`. It counts as
/// open until then, so that the client's limit of streams bounds their number.
#[derive(Debug)]
pub(super) struct Failed {
    send: SendStream<Bytes>,
    reason: Reason,
}

impl Failed {
    fn reset(&mut self) {
        self.send.send_reset(self.reason);
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Connection<T> {
    pub(super) fn send_interim(&mut self, key: StreamKey, interim: &ResponseHead) -> Result<(), Fault> {
        let head = head::interim(interim)?;
        let Some(stream) = self.streams.get_mut(key) else { return Ok(()) };
        let Some(respond) = &mut stream.respond else { return Err(Fault::AppFailed) };
        // Only a stream that the client has reset can refuse it now, and Event::Reset reports that.
        let _gone = respond.send_informational(head);
        Ok(())
    }

    pub(super) fn send_head(
        &mut self,
        key: StreamKey,
        ConvertedHead { response: head, length }: ConvertedHead,
        end: bool,
    ) -> Result<bool, Fault> {
        let can_open_pushed = self.can_open_pushed();
        let Some(stream) = self.streams.get_mut(key) else { return Ok(true) };
        let Some(mut respond) = stream.respond.take() else { return Err(Fault::AppFailed) };
        let (id, is_pushed) = (stream.id, respond.is_pushed());
        stream.bodiless = stream.is_head || matches!(head.status().as_u16(), 204 | 304);
        if end && !stream.bodiless && length.is_some_and(|length| length > 0) {
            stream.respond = Some(respond);
            return Err(Fault::AppFailed);
        }
        stream.length_left = length;
        let last = end || stream.bodiless;
        if is_pushed && !can_open_pushed {
            // The client did not ask for the response, so it can do without.
            respond.send_reset(Reason::CANCEL);
            return Ok(self.reset_event(key));
        }
        match respond.send_response(head, last) {
            Ok(send) => stream.send = Some(send),
            // Only a stream that the client has reset can refuse a response now.
            Err(_) => return Ok(self.reset_event(key)),
        }
        if !last {
            stream.keep_promiser(respond);
        }
        if is_pushed {
            self.open_pushed(id);
        }
        if end {
            self.complete(key);
        }
        Ok(end)
    }

    pub(super) fn send_data(
        &mut self,
        now: Instant,
        key: StreamKey,
        data: Bytes,
        end: bool,
    ) -> Result<Sent, Fault> {
        let len = data.len();
        let Some(stream) = self.streams.get_mut(key) else { return Ok(Sent { len, done: true }) };
        if stream.bodiless {
            if end {
                self.complete(key);
            }
            return Ok(Sent { len, done: end });
        }
        if stream.send.is_none() {
            return Err(Fault::AppFailed);
        }
        stream.spend_length(len, end)?;
        if end
            && len <= DIRECT
            && stream.is_open
            && stream.pending.is_empty()
            && let Some(send) = &mut stream.send
        {
            self.updates_allowed = self.updates_allowed.saturating_add(UPDATES_PER_SEND);
            if send.send_data(data, true).is_err() {
                return Ok(Sent { len, done: self.reset_event(key) });
            }
            self.complete(key);
            return Ok(Sent { len, done: true });
        }
        if len > 0 {
            stream.pending.push_back(data);
        }
        stream.pending_end = end;
        let pumped = self.pump_or_block(key, now);
        Ok(Sent { len: pumped.taken, done: pumped.outcome == Outcome::Done })
    }

    pub(super) fn send_trailers(
        &mut self,
        now: Instant,
        key: StreamKey,
        trailers: &ResponseHead,
    ) -> Result<bool, Fault> {
        let Some(stream) = self.streams.get_mut(key) else { return Ok(true) };
        if stream.bodiless {
            self.complete(key);
            return Ok(true);
        }
        if stream.send.is_none() {
            return Err(Fault::AppFailed);
        }
        stream.spend_length(0, true)?;
        let trailers = head::trailers(trailers)?;
        stream.trailers = (!trailers.is_empty()).then_some(trailers);
        stream.pending_end = true;
        Ok(self.pump_or_block(key, now).outcome == Outcome::Done)
    }

    /// Ends a stream with a fault: sends a response with the fault's status if no head was sent, and resets
    /// the stream otherwise, after the bytes that were taken before. Between turns this wakes the task, whose
    /// next turn writes the frames.
    pub fn fail(&mut self, key: StreamKey, fault: Fault) {
        self.fail_with(key, fault, None);
    }

    /// Like [`Connection::fail`]; the response has the field `own` too.
    pub fn fail_with(&mut self, key: StreamKey, fault: Fault, own: Option<Field<'_>>) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        match stream.respond.take() {
            Some(Respond::Requested(respond)) => refuse(respond, fault, own, &self.server_fields),
            Some(Respond::Pushed(mut respond)) => {
                respond.send_reset(reason(fault));
            }
            None => {
                if let Some(send) = stream.send.take() {
                    let mut failed = Failed { send, reason: reason(fault) };
                    if self.drop_promises(key) {
                        // The promises in h2 may not leave any more.
                        failed.reset();
                    } else {
                        self.failed.push(failed);
                        self.turn_waker.wake_by_ref();
                    }
                }
            }
        }
        self.close(key);
    }

    /// Resets the streams that were failed. Returns whether there were any. To be called when `h2` has written
    /// what it had: a reset drops the frames of its stream that still wait in `h2`.
    pub(super) fn reset_failed(&mut self) -> bool {
        let any = !self.failed.is_empty();
        self.failed.drain(..).for_each(|mut failed| failed.reset());
        any
    }

    /// Closes a stream whose response was passed to `h2` completely.
    fn complete(&mut self, key: StreamKey) {
        self.answered = self.answered.saturating_add(1);
        self.close(key);
    }

    /// Returns the streams whose response has waited for the client's window since `instant` or longer.
    pub fn stalled_since(&self, instant: Instant) -> Vec<StreamKey> {
        let stalled = |stream: &Stream| stream.waiting_since.is_some_and(|since| since <= instant);
        self.blocked.iter().copied().filter(|&key| self.streams.get(key).is_some_and(stalled)).collect()
    }

    /// Takes the number of times that a response began to wait for the client's window.
    pub fn take_stalls(&mut self) -> u64 {
        std::mem::take(&mut self.stalls)
    }

    pub(super) fn poll_blocked(&mut self, now: Instant) {
        let mut at = 0;
        while let Some(&key) = self.blocked.get(at) {
            let Pumped { taken: len, outcome, .. } = self.pump(key, now);
            let done = outcome == Outcome::Done;
            if done || len > 0 && outcome == Outcome::Open {
                self.events.push_back(Event::Sent { key, len, done });
            }
            if self.is_waiting(key) {
                at += 1;
                if self.handed >= HANDED_MAX {
                    // The next turn begins with the streams that had no share of this one.
                    self.blocked.rotate_left(at);
                    return;
                }
            } else if self.blocked.get(at) == Some(&key) {
                self.blocked.swap_remove(at);
            }
        }
    }

    /// Passes to `h2` the bytes that it takes now. The rest waits in the stream, which is polled in each
    /// turn.
    fn pump_or_block(&mut self, key: StreamKey, now: Instant) -> Pumped {
        let pumped = self.pump(key, now);
        if self.is_waiting(key) && !self.blocked.contains(&key) {
            self.blocked.push(key);
        }
        pumped
    }

    fn pump(&mut self, key: StreamKey, now: Instant) -> Pumped {
        let Some(stream) = self.streams.get_mut(key) else { return Pumped::default() };
        let pumped = stream.pump(now, HANDED_MAX.saturating_sub(self.handed));
        self.handed += pumped.taken;
        self.stalls += u64::from(pumped.stalls);
        let updates = pumped.pieces.saturating_mul(UPDATES_PER_SEND);
        self.updates_allowed = self.updates_allowed.saturating_add(updates);
        match pumped.outcome {
            Outcome::Open => {}
            Outcome::Done => self.complete(key),
            Outcome::Reset => {
                self.reset_event(key);
            }
        }
        pumped
    }

    fn is_waiting(&self, key: StreamKey) -> bool {
        self.streams.get(key).is_some_and(|stream| stream.waiting_since.is_some())
    }
}

/// Answers a request with the response to a fault.
pub(super) fn refuse(
    mut respond: SendResponse<Bytes>,
    fault: Fault,
    own: Option<Field<'_>>,
    server_fields: &ServerFields,
) {
    // An error means that the client has reset the stream and does not wait for the answer.
    let _gone = respond.send_response(head::fault(fault, own, server_fields), true);
}

/// Returns the fault's error code, as `h2` has it.
pub(super) fn reason(fault: Fault) -> Reason {
    Reason::from(fault.h2_code() as u32)
}
