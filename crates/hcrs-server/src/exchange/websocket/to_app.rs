//! The messages that wait for the app, and the worker's window for them.

use bytes::Bytes;
use hcrs_link::{DATA_MAX, MessageKind, piece_cost};
use hcrs_ws::close_code;

use super::{Progress, WebSocket};

/// An item that waits for the worker.
#[derive(Debug)]
pub(super) enum ToApp {
    /// A message, or the rest of one.
    Message(MessageKind, Bytes),
    /// The end, with code and reason.
    Close(u16, String),
}

/// An item that is sent to the worker next.
#[derive(Debug)]
pub(crate) enum Next {
    /// A piece of a message; the flag marks the last one.
    Piece(MessageKind, Bytes, bool),
    /// The end, with code and reason.
    Close(u16, String),
}

impl WebSocket {
    /// Whether the next message may be read, because none waits for the worker.
    pub(crate) fn is_free(&self) -> bool {
        self.to_app.is_empty()
    }

    /// Whether [`WebSocket::next_for_app`] has an item.
    pub(crate) fn has_for_app(&mut self) -> bool {
        if self.is_end_sent {
            self.to_app.clear();
            self.waiting.hold(0);
        } else if self.app_left {
            self.to_app.retain(|waiting| matches!(waiting, ToApp::Close(..)));
            self.waiting.hold(0);
        }
        match self.to_app.front() {
            Some(ToApp::Message(_, data)) => self.window.takes_piece(data.len().min(1)),
            Some(ToApp::Close(..)) => true,
            None => false,
        }
    }

    /// Returns the part of the next message that fits in the worker's window, or the end.
    pub(crate) fn next_for_app(&mut self) -> Option<Next> {
        if !self.has_for_app() {
            return None;
        }
        match self.to_app.front_mut()? {
            ToApp::Message(kind, data) => {
                let len = data.len().min(self.window.room()).min(DATA_MAX);
                let (kind, piece, end) = (*kind, data.split_to(len), data.is_empty());
                let cost = piece_cost(len);
                let has_spent = self.window.spend(cost);
                debug_assert!(has_spent, "invariant: a piece is cut to the window");
                self.in_app += cost;
                if end {
                    self.to_app.pop_front();
                    self.waiting.hold(0);
                }
                Some(Next::Piece(kind, piece, end))
            }
            ToApp::Close(..) => {
                let Some(ToApp::Close(code, reason)) = self.to_app.pop_front() else { return None };
                self.is_end_sent = true;
                Some(Next::Close(code, reason))
            }
        }
    }

    /// Notes that the app took pieces of messages.
    pub(crate) fn app_took(&mut self, credit: usize) {
        // A worker cannot credit more than was sent to it.
        let credit = credit.min(self.in_app);
        self.in_app -= credit;
        self.window.add(credit as u32);
    }

    /// Notes that the app has taken the end, and so has sent all its answers.
    pub(crate) fn app_took_end(&mut self) -> Progress {
        let mut progress = Progress::default();
        if self.failing_since.take().is_some()
            && let Some(connection) = &mut self.connection
        {
            connection.write_replies(&mut progress.out);
        }
        self.finish_step(progress)
    }

    /// Notifies the app that the client is gone without a Close frame.
    pub(crate) fn disconnect(&mut self) {
        self.to_app.push_back(ToApp::Close(close_code::ABNORMAL, String::new()));
    }
}
