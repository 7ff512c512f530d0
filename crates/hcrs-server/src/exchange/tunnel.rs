//! A WebSocket whose bytes an origin passes on as they are, in place of its messages.

use hcrs_http::ResponseHead;

use super::Exchange;

/// The state of a WebSocket whose bytes are passed on as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tunnel {
    /// The request asks for none, or the origin has declined.
    None,
    /// The origin has not answered.
    Asked,
    /// The bodies of both directions carry its bytes.
    Open,
    /// The origin closes it, because the server stops.
    Closing,
}

impl Tunnel {
    /// Whether the origin has opened it.
    pub(super) fn is_open(self) -> bool {
        matches!(self, Self::Open | Self::Closing)
    }
}

impl Exchange {
    /// Opens the WebSocket for an origin that passes on its bytes. Returns false if it may not now.
    #[must_use]
    pub(crate) fn open_tunnel(&self, head: ResponseHead) -> bool {
        let mut state = self.state.borrow_mut();
        if state.tunnel != Tunnel::Asked || std::mem::replace(&mut state.response.has_head, true) {
            return false;
        }
        state.tunnel = Tunnel::Open;
        state.response.head = Some(head);
        drop(state);
        self.announce();
        true
    }
}
