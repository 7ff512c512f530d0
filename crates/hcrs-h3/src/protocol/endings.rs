//! The ends of streams: by the client, by the server, and of bodies that are not wanted.

use std::time::Instant;

use hcrs_mux::{Event, Owned as _, Owner, StreamKey, Unwanted};

use super::shutdown::Leaving;
use super::{Command, Error, Protocol};
use crate::error::ErrorCode;
use crate::stream::{Phase, Sending, Stream};

impl Protocol {
    /// Turns away the bodies that have arrived for long enough.
    pub(super) fn check_unwanted(&mut self, now: Instant) {
        let mut at = 0;
        while let Some(&key) = self.unwanted.get(at) {
            let Some(stream) = self.streams.get_mut(key).filter(|stream| stream.receiving.is_open()) else {
                self.unwanted.swap_remove(at);
                continue;
            };
            let is_over = match &mut stream.owner {
                Owner::Connection(unwanted) => unwanted.is_over(now, false),
                Owner::App => false,
            };
            if is_over {
                self.unwanted.swap_remove(at);
                self.turn_away(key);
            } else {
                at += 1;
            }
        }
    }

    /// Stops a client whose body is not wanted (RFC 9114 §4.1).
    pub(super) fn turn_away(&mut self, key: StreamKey) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        if stream.receiving.is_open() {
            stream.receiving.phase = Phase::Closed;
            self.decoder.cancel(key.id);
            self.commands.push(Command::StopSending(key.id, ErrorCode::NO_ERROR));
        }
        self.settle(key);
    }

    /// Ends the app's part of a stream whose response has ended. A body that still arrives is dropped.
    pub(super) fn retire(&mut self, key: StreamKey) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        stream.owner = Owner::Connection(Unwanted::default());
        let held = std::mem::take(&mut stream.receiving.held);
        let is_open = stream.receiving.is_open();
        self.room.release(held);
        if !is_open {
            self.settle(key);
        } else if self.leaving == Leaving::No {
            self.unwanted.push(key);
            self.resume(key);
        } else {
            self.turn_away(key);
        }
    }

    /// Forgets a stream that is over on both sides and for the app.
    pub(super) fn settle(&mut self, key: StreamKey) {
        let is_over = self.streams.get(key).is_some_and(|stream| {
            !stream.is_of_app() && !stream.receiving.is_open() && stream.sending == Sending::Ended
        });
        if is_over {
            self.remove(key);
        }
    }

    /// Forgets a stream.
    pub(super) fn remove(&mut self, key: StreamKey) {
        if let Some(stream) = self.streams.remove(key) {
            self.room.release(stream.receiving.held);
            self.waiting -= stream.receiving.waiting;
        }
    }

    /// Ends both sides of a stream with a code.
    pub(super) fn abandon(&mut self, key: StreamKey, code: ErrorCode) {
        let Some(stream) = self.streams.get(key) else { return };
        if stream.receiving.is_open() {
            self.decoder.cancel(key.id);
            self.commands.push(Command::StopSending(key.id, code));
        }
        if stream.sending != Sending::Ended {
            self.commands.push(Command::Reset(key.id, code));
        }
    }

    /// Ends a stream that the client has reset, or that was reset because of the client. The app is told if
    /// it knows of the stream.
    pub(super) fn cut(&mut self, key: StreamKey) {
        let Some(stream) = self.streams.get(key) else { return };
        if stream.is_of_app() && stream.is_announced {
            self.events.push_back(Event::Reset { key });
        }
        self.remove(key);
    }

    /// Resets a stream because of what the client sent on it.
    pub(super) fn reset_for(&mut self, key: StreamKey, code: ErrorCode, now: Instant) -> Result<(), Error> {
        self.abandon(key, code);
        self.cut(key);
        self.spend_reset(now)
    }

    /// Takes note of a client that no longer wants the answer on a stream.
    pub(super) fn stopped_by_client(&mut self, id: u64, now: Instant) -> Result<(), Error> {
        if self.is_of_server(id) {
            return Err(ErrorCode::CLOSED_CRITICAL_STREAM.into());
        }
        if self.finishing.contains(&id) {
            self.finished(id);
            self.commands.push(Command::Reset(id, ErrorCode::REQUEST_CANCELLED));
            return Ok(());
        }
        match self.streams.find(id) {
            Some(key) => self.reset_for(key, ErrorCode::REQUEST_CANCELLED, now),
            None => Ok(()),
        }
    }

    /// Returns the instant at which the first bytes of the oldest head came that is not complete.
    pub(crate) fn oldest_head(&self) -> Option<Instant> {
        self.streams
            .iter()
            .filter(|(_, stream)| is_in_head(stream))
            .filter_map(|(_, s)| s.receiving.since)
            .min()
    }

    /// Resets the streams whose head began at the instant or before and is not complete.
    pub(crate) fn refuse_heads(&mut self, since: Instant) {
        let is_slow =
            |stream: &Stream| is_in_head(stream) && stream.receiving.since.is_some_and(|at| at <= since);
        let slow: Vec<_> =
            self.streams.iter().filter(|(_, stream)| is_slow(stream)).map(|(key, _)| key).collect();
        for key in slow {
            self.rejected += 1;
            self.abandon(key, ErrorCode::REQUEST_INCOMPLETE);
            self.remove(key);
        }
    }
}

fn is_in_head(stream: &Stream) -> bool {
    stream.receiving.phase == Phase::Head
}
