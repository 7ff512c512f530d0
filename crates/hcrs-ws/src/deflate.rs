//! permessage-deflate (RFC 7692 §7): messages compressed and inflated, and the memory that both take.

mod pack;
mod pool;
mod unpack;

pub(crate) use pack::Packer;
pub use pool::DeflatePool;
pub(crate) use pool::WINDOW_BITS;
pub(crate) use unpack::Unpacker;

/// What a flush ends with and a message leaves out (RFC 7692 §7.2.1): the length of an empty stored block.
pub(crate) const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];
