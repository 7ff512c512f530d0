//! permessage-deflate (RFC 7692 §7): compressing and inflating messages, and the memory for both.

mod pack;
mod pool;
mod unpack;

pub(crate) use pack::Packer;
pub use pool::DeflatePool;
pub(crate) use pool::WINDOW_BITS;
pub(crate) use unpack::Unpacker;

/// The end of a flush, which a message leaves out (RFC 7692 §7.2.1): the length of an empty stored block.
pub(crate) const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];
