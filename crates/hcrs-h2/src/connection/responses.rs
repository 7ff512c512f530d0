//! The response: its head, its body as far as the client's window goes, its trailers, or what a fault is owed.

use std::task::Context;
use std::time::Instant;

use bytes::Bytes;
use h2::Reason;
use h2::server::SendResponse;
use hcrs_http::{Fault, ResponseHead};
use tokio::io::{AsyncRead, AsyncWrite};

use super::Connection;
use crate::event::{Event, StreamKey};
use crate::head::{self, Extra};
use crate::stream::{Outcome, Pumped, Respond, Stream};

/// A final piece of body that is given to `h2` whatever the client's window, in bytes: it spares small responses
/// two locks, and bounds what a client that reads nothing can hold to this times its streams.
const DIRECT: usize = 16 << 10;

/// Bytes of body that `h2` may hold because the socket is full: what else the client's windows would take stays with
/// its stream, where it counts against the window of the one who sends it.
const HANDED_MAX: usize = 256 << 10;

/// `WINDOW_UPDATE` frames that one piece of sent body may cause before they count as frames without progress.
pub(super) const UPDATES_PER_SEND: u32 = 10;

impl<T: AsyncRead + AsyncWrite + Unpin> Connection<T> {
    /// Sends an interim response's head, before the final one.
    ///
    /// An error is the app's fault and leaves the stream as it was.
    pub fn send_interim(&mut self, key: StreamKey, interim: &ResponseHead) -> Result<(), Fault> {
        let head = head::interim(interim)?;
        let Some(stream) = self.streams.get_mut(key) else { return Ok(()) };
        let Some(respond) = &mut stream.respond else { return Err(Fault::AppFailed) };
        // Only a stream that the client has reset can refuse it now, and that is told elsewhere.
        let _gone = respond.send_informational(head);
        Ok(())
    }

    /// Sends a response's head; `end` if no body follows. Done if the stream is over.
    ///
    /// An error is the app's fault and leaves the stream as it was.
    pub fn send_head(&mut self, key: StreamKey, response: &ResponseHead, end: bool) -> Result<bool, Fault> {
        let (head, length) = head::response(response, &self.extra)?;
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
            // The client goes without what it has not asked for.
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

    /// Sends body bytes; `end` if they are the last. Gives the bytes that were taken at once and whether the stream
    /// is over; the rest follows as [`Event::Sent`].
    ///
    /// An error means that the app sent no head, or broke its own content-length; the stream has to be failed.
    pub fn send_data(
        &mut self,
        _: &mut Context<'_>,
        now: Instant,
        key: StreamKey,
        (data, end): (Bytes, bool),
    ) -> Result<(usize, bool), Fault> {
        let Some(stream) = self.streams.get_mut(key) else { return Ok((data.len(), true)) };
        let len = data.len();
        if stream.bodiless {
            if end {
                self.complete(key);
            }
            return Ok((len, end));
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
                return Ok((len, self.reset_event(key)));
            }
            self.complete(key);
            return Ok((len, true));
        }
        if len > 0 {
            stream.pending.push_back(data);
        }
        stream.pending_end = end;
        let pumped = self.pump_or_block(key, now);
        Ok((pumped.taken, pumped.outcome == Outcome::Done))
    }

    /// Ends a response with trailers, once its body is sent. Done if the stream is over; otherwise [`Event::Sent`]
    /// says so later.
    ///
    /// An error means that the app sent no head, broke its own content-length, or that a field cannot be sent
    /// there; the stream has to be failed.
    pub fn send_trailers(
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

    /// Answers with the status that the fault is owed, if no head was sent; resets the stream otherwise. It is over.
    pub fn fail(&mut self, key: StreamKey, fault: Fault) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        match stream.respond.take() {
            Some(Respond::Requested(respond)) => refuse(respond, fault, &self.extra),
            Some(Respond::Pushed(mut respond)) => {
                respond.send_reset(Reason::from(fault.answer().h2_code));
            }
            None => {
                if let Some(send) = &mut stream.send {
                    send.send_reset(Reason::from(fault.answer().h2_code));
                }
                self.drop_promises(key);
            }
        }
        self.close(key);
    }

    /// The stream's response was given to `h2` whole.
    fn complete(&mut self, key: StreamKey) {
        self.answered = self.answered.saturating_add(1);
        self.close(key);
    }

    /// The streams whose response has waited for the client's window since before `instant`.
    pub fn stalled_since(&self, instant: Instant) -> Vec<StreamKey> {
        let stalled = |stream: &Stream| stream.waiting_since.is_some_and(|since| since <= instant);
        self.blocked.iter().copied().filter(|&key| self.streams.get(key).is_some_and(stalled)).collect()
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
                    // The next turn begins with those that got nothing in this one.
                    self.blocked.rotate_left(at);
                    return;
                }
            } else if self.blocked.get(at) == Some(&key) {
                self.blocked.swap_remove(at);
            }
        }
    }

    /// Gives `h2` what it takes now; the rest waits to be looked at again.
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

/// Answers with what a fault is owed.
pub(super) fn refuse(mut respond: SendResponse<Bytes>, fault: Fault, extra: &Extra) {
    // An error says that the client has reset the stream: nobody waits for the answer.
    let _gone = respond.send_response(head::fault(fault, extra), true);
}
