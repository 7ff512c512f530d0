//! A test of its own, because it replaces the memory of every link in its process.

use std::sync::Arc;

use hcrs_link::{BLOCK_MIN, BlockArea, ClaimTable, StreamId, leave_shared_memory};

#[test]
fn who_has_left_the_shared_memory_reads_nothing_there_and_tells_nothing() {
    let (edge, fd) = ClaimTable::create().unwrap();
    let worker = ClaimTable::open(&fd).unwrap();
    let blocks = Arc::new(BlockArea::open(&fd).unwrap().unwrap());
    let stream = StreamId::new(77).unwrap();
    edge.offer(3, stream);
    let bytes = vec![7; BLOCK_MIN];
    let block = blocks.put(&bytes).unwrap();

    leave_shared_memory().unwrap();

    assert!(!worker.claim(3, stream), "nothing is offered here");
    assert_eq!(blocks.put(&bytes), Some(block), "all blocks are free here");
    // Opened again, as the other end sees it.
    let edge = ClaimTable::open(&fd).unwrap();
    let lent = Arc::new(BlockArea::open(&fd).unwrap().unwrap());
    assert!(edge.claim(3, stream), "the offer stands");
    assert_eq!(lent.lend(block, bytes.len()).unwrap().as_ref(), bytes);
}
