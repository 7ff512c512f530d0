//! The far side of an exchange, as the exchange sees it.

use std::fmt::Debug;

use hcrs_link::{MessageKind, StreamId};

/// What answers exchanges piece by piece, such as the link to a worker. An origin that has its whole answer at once, such as the
/// welcome page, pushes it into the exchange and implements nothing.
///
/// `stream` is the number under which the origin knows the exchange.
pub(crate) trait Origin: Debug {
    /// Whether body bytes and messages are taken now. If not, [`Exchange::room_came`](super::Exchange::room_came) is called once they
    /// are.
    fn has_room(&self, stream: StreamId) -> bool;

    /// Sends bytes of the request's body, for which the stream's window and the origin have room; the last ones if `end`.
    fn send_data(&self, stream: StreamId, bytes: &[u8], end: bool);

    /// Opens the response's window by `amount`.
    fn send_credit(&self, stream: StreamId, amount: u32);

    /// Sends a piece of a WebSocket's message, for which the stream's window and the origin have room; the message's last if `end`.
    fn send_message(&self, stream: StreamId, kind: MessageKind, bytes: &[u8], end: bool);

    /// Reports the end of a WebSocket, with the close code and reason that the app sees.
    fn send_close(&self, stream: StreamId, code: u16, reason: &str);

    /// Reports that the client has closed its side and still waits for the response.
    fn send_half_close(&self, stream: StreamId);

    /// Ends the edge's interest in the stream: its client is gone, or was answered otherwise.
    fn abandon(&self, stream: StreamId);

    /// Takes the request back for good. Returns false if it was begun.
    #[must_use]
    fn give_up(&self, stream: StreamId) -> bool;
}
