//! The app's messages and the server's replies on their way to the client.

use std::time::Instant;

use hcrs_link::{MessageKind, piece_cost};
use hcrs_ws::close_code;

use super::{Progress, WebSocket};

/// The number of bytes waiting for the client above which pongs wait, too; then only the latest ping is
/// answered.
pub(super) const REPLY_BACKLOG: usize = 64 << 10;

/// Bytes that wait for the client.
#[derive(Debug)]
pub(super) struct OnWire {
    len: usize,
    /// The share of the worker's window that these bytes carry.
    carried: usize,
}

impl WebSocket {
    /// Sends a piece of a message from the app. `None` if a worker may not send it.
    pub(crate) fn send(&mut self, kind: MessageKind, data: &[u8], end: bool) -> Option<Progress> {
        let mut progress = Progress::default();
        let kind = match kind {
            MessageKind::Text => hcrs_ws::MessageKind::Text,
            MessageKind::Binary => hcrs_ws::MessageKind::Binary,
        };
        match self.connection.as_mut()?.write_fragment(kind, data, end, &mut progress.out) {
            // Data after the end is dropped.
            Ok(()) | Err(hcrs_ws::SendError::Closed) => {}
            Err(_) => return None,
        }
        self.has_sent = true;
        self.queue(progress.out.len(), piece_cost(data.len()));
        Some(progress)
    }

    /// Closes the WebSocket for the app, which gets no further messages; messages that wait for it no longer
    /// delay the client's Close frame.
    pub(crate) fn close_by_app(&mut self, code: u16, reason: &str, now: Instant) -> Progress {
        self.app_left = true;
        self.close(code, reason, now)
    }

    /// Closes the WebSocket for the app or the server.
    pub(crate) fn close(&mut self, code: u16, reason: &str, now: Instant) -> Progress {
        let mut progress = Progress::default();
        if let Some(connection) = &mut self.connection {
            if connection.write_close(code, reason, &mut progress.out)
                == Err(hcrs_ws::SendError::InvalidCloseCode(code))
            {
                let code = close_code::INTERNAL_ERROR;
                let _closed = connection.write_close(code, "", &mut progress.out);
            }
            self.closing_since.get_or_insert(now);
        }
        self.finish_step(progress)
    }

    /// Writes pending replies to the client, unless too much waits for it or the app may still answer.
    pub(super) fn reply(&mut self, progress: &mut Progress) {
        if self.backlog + progress.out.len() < REPLY_BACKLOG
            && self.failing_since.is_none()
            && let Some(connection) = &mut self.connection
        {
            connection.write_replies(&mut progress.out);
        }
    }

    /// Notes that the client took bytes. Returns the share of the worker's window among them.
    pub(crate) fn client_took(&mut self, mut len: usize) -> (usize, Progress) {
        self.backlog -= len.min(self.backlog);
        let mut payload = 0;
        while let Some(first) = self.unsent.front_mut() {
            if first.len > len {
                first.len -= len;
                break;
            }
            len -= first.len;
            payload += first.carried;
            self.unsent.pop_front();
        }
        let mut progress = Progress::default();
        self.reply(&mut progress);
        (payload, self.finish_step(progress))
    }

    pub(super) fn finish_step(&mut self, mut progress: Progress) -> Progress {
        if !progress.out.is_empty() {
            self.queue(progress.out.len(), 0);
        }
        progress.is_closed |= self.connection.as_ref().is_some_and(hcrs_ws::Connection::is_closed);
        progress
    }

    fn queue(&mut self, len: usize, carried: usize) {
        self.unsent.push_back(OnWire { len, carried });
        self.backlog += len;
    }
}
