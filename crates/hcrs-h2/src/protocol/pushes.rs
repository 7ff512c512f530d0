//! Server push: requests that are promised to the client and made for it (RFC 9113 §8.4).

use hcrs_http::RequestHead;
use hcrs_mux::{Event, StreamKey};

use super::Protocol;
use super::responses::{block_of, write_block};
use crate::flow::FlowWindow;
use crate::frame::{END_HEADERS, MAX_31, PUSH_PROMISE};
use crate::head;
use crate::stream::{Sending, Stream};

/// Most pushed streams of a connection at a time, from the promise to the end of the response. Further
/// promises are dropped.
const PUSHES_MAX: usize = 32;

impl Protocol {
    /// Promises a request to the client of a stream on which no body was sent yet. The error has the head of
    /// a request that cannot be promised.
    pub(crate) fn push(&mut self, parent: StreamKey, head: RequestHead) -> Result<(), RequestHead> {
        let max = (self.peer.max_concurrent_streams as usize).min(PUSHES_MAX);
        let parent_stream = self
            .streams
            .of_app(parent)
            .filter(|stream| !stream.is_pushed && matches!(stream.sending, Sending::Head | Sending::Opened));
        let Some(priority) = parent_stream.map(|stream| stream.priority) else { return Err(head) };
        if !self.takes_pushes() || self.pushed >= max || self.next_pushed > MAX_31 {
            return Err(head);
        }
        let id = self.next_pushed;
        let Self { output, encoder, peer, .. } = self;
        let start = output.frames().len();
        let is_written =
            write_block(output, block_of(PUSH_PROMISE, END_HEADERS, parent), peer.max_frame_size, |out| {
                out.extend_from_slice(&id.to_be_bytes());
                head::promise(&head, encoder, out)
            });
        if !is_written {
            output.frames().truncate(start);
            return Err(head);
        }
        self.next_pushed += 2;
        self.pushed += 1;
        let window = FlowWindow::new(self.peer.initial_window);
        let key = self.streams.insert(id.into(), Stream::pushed(priority, window));
        self.events.push_back(Event::Pushed { key, head });
        Ok(())
    }

    /// Whether the client accepts pushes at all.
    pub(super) fn takes_pushes(&self) -> bool {
        self.peer.are_there && self.peer.takes_pushes && !self.peer_leaves
    }

    /// Whether the client allows one more pushed response.
    pub(super) fn can_open_pushed(&self) -> bool {
        let is_open = |stream: &Stream| stream.is_pushed && stream.sending != Sending::Head;
        self.pushed == 0
            || self.streams.iter().filter(|(_, stream)| is_open(stream)).count()
                < self.peer.max_concurrent_streams as usize
    }
}
