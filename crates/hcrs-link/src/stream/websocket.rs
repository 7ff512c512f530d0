//! A WebSocket on a stream: messages in both directions, and its end.

use super::{Phase, Stalled, Stream, Unsent};
use crate::MessageKind;
use crate::credit::piece_cost;
use crate::frame::DATA_MAX;
use crate::from_worker::FromWorker;
use crate::outbox::Outbox;

impl<B: AsRef<[u8]>> Stream<B> {
    /// Returns credit to the edge for pieces of messages of this cost, which the app has taken or which wait
    /// for the rest of their message.
    pub fn took_messages(&mut self, cost: usize, out: &mut Outbox) {
        if let Some(amount) = self.owed.take(cost) {
            out.push(&FromWorker::Credit { stream: self.id, amount });
        }
    }

    /// Notifies the edge that the app has received the WebSocket's end, and so has answered the messages
    /// before it. The edge then closes the WebSocket of a client that broke the protocol.
    pub fn heard_end(&mut self, out: &mut Outbox) {
        if !self.gone && !self.ended && self.phase == Phase::Response {
            out.push(&FromWorker::HeardClose { stream: self.id });
        }
    }

    /// Sends a WebSocket's message if it can leave at once. Returns false if [`Stream::message`] has to take
    /// it.
    #[must_use]
    pub fn message_at_once(&mut self, kind: MessageKind, message: &[u8], out: &mut Outbox) -> bool {
        if self.gone {
            return true;
        }
        let is_free = self.is_flushed() && message.len() <= DATA_MAX && !out.is_full();
        let has_left = is_free && self.window.spend(piece_cost(message.len()));
        if has_left {
            out.push(&FromWorker::Message { stream: self.id, kind, bytes: message, end: true });
        }
        has_left
    }

    /// Takes a WebSocket's message.
    pub fn message(&mut self, kind: MessageKind, message: B, out: &mut Outbox) -> Stalled {
        if self.gone {
            return Stalled::No;
        }
        self.unsent.push_back(Unsent::Message(kind, message));
        self.pump_all(out)
    }

    /// Takes the end of a WebSocket. No message may follow.
    pub fn close(&mut self, code: u16, reason: &str, out: &mut Outbox) -> Stalled {
        self.phase = Phase::Closed;
        if self.gone {
            return Stalled::No;
        }
        self.unsent.push_back(Unsent::Close(code, reason.to_owned()));
        self.pump_all(out)
    }

    /// Notes that the app's task for a WebSocket has ended, which is reported once all messages have left.
    pub fn finish_websocket(&mut self, out: &mut Outbox) {
        if !std::mem::replace(&mut self.ended, true) {
            self.unsent.push_back(Unsent::Done);
            self.pump_all(out);
        }
    }
}
