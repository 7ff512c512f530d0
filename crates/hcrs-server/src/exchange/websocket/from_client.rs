//! The client's bytes: they are parsed into messages for the app and replies to the client.

use std::time::Instant;

use bytes::BytesMut;
use hcrs_link::MessageKind;
use hcrs_ws::{Event, Failure};

use super::to_app::ToApp;
use super::to_client::REPLY_BACKLOG;
use super::{Progress, WebSocket};
use crate::clock;

/// The capacity above which a buffer is not kept for the next bytes.
const KEPT_BUFFER: usize = 32 << 10;

impl WebSocket {
    /// Whether [`WebSocket::read`] has more to do although nothing arrived, and waits for
    /// [`WebSocket::resume`].
    pub(crate) fn has_yielded(&self) -> bool {
        self.yielded
    }

    /// Resumes reading, after other connections have had their turn.
    pub(crate) fn resume(&mut self) {
        self.yielded = false;
    }

    /// Appends bytes of the client, which [`WebSocket::read`] parses.
    pub(crate) fn arrive(&mut self, data: &[u8]) {
        self.input.extend_from_slice(data);
    }

    /// Takes bytes of the client together with the buffer that they arrived in, which is empty afterwards.
    pub(crate) fn arrive_in(&mut self, data: &mut BytesMut) {
        if self.input.is_empty() {
            std::mem::swap(&mut self.input, data);
        } else {
            self.input.extend_from_slice(data);
        }
        data.clear();
    }

    /// Returns the buffer if no bytes wait in it. One that a large message has enlarged is released.
    pub(crate) fn return_buffer(&mut self, data: &mut BytesMut) {
        if self.input.is_empty() {
            let emptied = std::mem::take(&mut self.input);
            if (data.capacity()..=KEPT_BUFFER).contains(&emptied.capacity()) {
                *data = emptied;
            }
        }
    }

    /// Parses the next message from the bytes that have arrived; while a message waits for the worker, only
    /// control frames.
    pub(crate) fn read(&mut self) -> Progress {
        let mut progress = Progress::default();
        if self.yielded {
            return progress;
        }
        let Some(connection) = &mut self.connection else { return progress };
        let before = self.input.len();
        let is_free = self.to_app.is_empty();
        while !is_free || self.to_app.is_empty() {
            let polled = if is_free {
                connection.poll_event(&mut self.input)
            } else {
                connection.poll_control(&mut self.input)
            };
            match polled {
                Ok(Some(Event::Text(text))) => {
                    self.waiting.hold(text.len());
                    self.to_app.push_back(ToApp::Message(MessageKind::Text, text));
                }
                Ok(Some(Event::Binary(data))) => {
                    self.waiting.hold(data.len());
                    self.to_app.push_back(ToApp::Message(MessageKind::Binary, data));
                }
                Ok(Some(Event::Ping(_) | Event::Pong(_))) => {}
                Ok(Some(Event::Close { code, reason, .. })) => {
                    self.to_app.push_back(ToApp::Close(code, reason));
                }
                Ok(Some(Event::Yield)) => {
                    self.yielded = true;
                    break;
                }
                Ok(None) => break,
                Err(failure) => {
                    self.note_failure(failure, clock::now());
                    break;
                }
            }
            if self.backlog + progress.out.len() < REPLY_BACKLOG {
                connection.write_replies(&mut progress.out);
            }
        }
        progress.consumed = before - self.input.len();
        self.reply(&mut progress);
        self.finish_step(progress)
    }

    /// Notes that the protocol was broken: the app gets the end, and may answer the messages before.
    pub(super) fn note_failure(&mut self, failure: Failure, now: Instant) {
        if !self.app_left && (self.in_app > 0 || !self.to_app.is_empty()) {
            self.failing_since = Some(now);
        }
        self.to_app.push_back(ToApp::Close(failure.code, failure.reason.to_owned()));
    }
}
