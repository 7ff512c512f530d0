//! Blocks of bytes in which heads were built, kept for later heads. They belong to the thread, so that an
//! idle connection holds none.

use std::cell::RefCell;

/// Most blocks that are kept: as many as one busy connection uses.
const MAX_BLOCKS: usize = 64;

/// Size of the largest block that is kept, in bytes. Most heads have a tenth of that.
const MAX_BLOCK: usize = 8 << 10;

thread_local! {
    static BLOCKS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Returns a block that was kept, or an empty one. It may have old contents.
pub fn take() -> Vec<u8> {
    BLOCKS.with_borrow_mut(Vec::pop).unwrap_or_default()
}

/// Keeps a block for the head of another request on this thread, if there is room for it.
pub fn recycle(block: Vec<u8>) {
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
        recycle(vec![0; MAX_BLOCK + 1]);
        assert_eq!(take().capacity(), 0);
        for _ in 0..=MAX_BLOCKS {
            recycle(vec![0; 500]);
        }
        assert_eq!(BLOCKS.with_borrow(Vec::len), MAX_BLOCKS);
        assert_eq!(take().capacity(), 500);
    }
}
