#![doc = include_str!("../README.md")]

mod block;
mod claim;
mod credit;
mod file;
mod fork;
mod frame;
mod promise;
mod pulse;
mod tls;

pub use block::{BLOCK_MIN, BLOCKS, Block, BlockArea};
pub use claim::{ClaimTable, SLOTS};
pub use credit::{Owed, REQUEST_WINDOW, RESPONSE_WINDOW, RESPONSE_WINDOW_GROWTH, Window};
pub use file::FilePart;
pub use fork::leave_shared_memory;
pub use frame::{
    DATA_MAX, END, EXPECT, FILE_COST, FrameHeader, HALF, HEADER_LEN, INTERIM_LEN_MAX, INTERIM_MAX, Kind,
    LinkError, PAYLOAD_MAX, PUSH_MAX, begin_frame, finish_frame, push_frame,
};
pub use promise::{begin_promise, split_promise};
pub use pulse::{Answer, Asked, Layer, PULSE_MAX, STACKS_MAX};
pub use tls::TlsFacts;
