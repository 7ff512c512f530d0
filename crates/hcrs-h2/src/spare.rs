//! Blocks of bytes that heads were built in, kept for the next ones. They are the thread's, so that a connection
//! holds none while it is idle.

use std::cell::RefCell;

/// Blocks that are kept: those of one busy connection.
const MAX_BLOCKS: usize = 64;

/// The largest block that is kept, in bytes: most heads are a tenth of that.
const MAX_BLOCK: usize = 8 << 10;

thread_local! {
    static BLOCKS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// A block, empty or with old contents.
pub(crate) fn take() -> Vec<u8> {
    BLOCKS.with_borrow_mut(Vec::pop).unwrap_or_default()
}

/// Keeps a block, if there is room for it.
pub(crate) fn give(block: Vec<u8>) {
    if block.capacity() > MAX_BLOCK {
        return;
    }
    BLOCKS.with_borrow_mut(|blocks| {
        if blocks.len() < MAX_BLOCKS {
            blocks.push(block);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_as_many_and_as_large_blocks_as_allowed() {
        give(vec![0; MAX_BLOCK + 1]);
        assert_eq!(take().capacity(), 0);
        for _ in 0..=MAX_BLOCKS {
            give(vec![0; 500]);
        }
        assert_eq!(BLOCKS.with_borrow(Vec::len), MAX_BLOCKS);
        assert_eq!(take().capacity(), 500);
    }
}
