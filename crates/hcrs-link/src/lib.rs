#![doc = include_str!("../README.md")]

mod block;
mod claim;
mod credit;
mod file;
mod fork;
mod frame;
mod from_edge;
mod from_worker;
mod inbox;
#[cfg(test)]
mod interleavings;
mod outbox;
mod promise;
mod pulse;
mod stream;
mod stream_id;
mod tls;
mod word;

pub use block::{BLOCK_MIN, BLOCKS, Block, BlockArea};
pub use claim::{ClaimTable, LINK_VERSION, SLOTS};
pub use credit::{
    FILE_COST, Owed, PIECE_COST, REQUEST_WINDOW, RESPONSE_WINDOW, RESPONSE_WINDOW_GROWTH,
    WINDOW_LEFT_BY_HINTS, Window, piece_cost,
};
pub use file::FilePart;
pub use fork::leave_shared_memory;
pub use frame::{DATA_MAX, FrameHeader, HEAD_MAX, HEADER_LEN, LinkError, PAYLOAD_MAX};
pub use from_edge::{FromEdge, Request};
pub use from_worker::{FromWorker, HINT_LEN_MAX, HeadKind, INTERIM_MAX, PUSH_MAX};
pub use inbox::Inbox;
pub use outbox::{FileOut, HeadMark, HeadTooLongError, Outbox, Pending};
pub use promise::{begin_promise, split_promise};
pub use pulse::{Answer, Asked, Layer, PULSE_MAX, STACKS_MAX};
pub use stream::{MESSAGE_MAX, Next, Phase, Stalled, Stream};
pub use stream_id::{StreamId, StreamIds, StreamMap};
pub use tls::TlsInfo;

/// The kind of a WebSocket's message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageKind {
    /// A message that is UTF-8 as a whole.
    Text,
    /// A message of any bytes.
    Binary,
}
