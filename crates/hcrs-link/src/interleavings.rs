//! Every interleaving of the steps of edge and worker on a claim word and on blocks, and every value that the
//! memory model lets them see, in small cases: loom runs each case until none is left. Bugs that are built in
//! on purpose show that these tests would find them.
//!
//! No thread waits in a case: one without work goes on, and remaining work is done at the end. So a case is
//! finite.

use std::collections::VecDeque;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::{Arc, Mutex};

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize};
use loom::thread;

use crate::StreamId;
use crate::block::state;
use crate::claim::word;

/// The link's socket, which preserves order: the receiver of a frame sees everything that was done before it
/// was sent.
struct Frames<T> {
    /// Number of frames that were sent.
    sent: AtomicUsize,
    /// The frames that were not taken, and the number of those that were. These are no words of loom's:
    /// `sent` decides what may be read.
    waiting: Mutex<(VecDeque<T>, usize)>,
}

impl<T> Frames<T> {
    fn new() -> Self {
        Self { sent: AtomicUsize::new(0), waiting: Mutex::default() }
    }

    fn send(&self, frame: T) {
        self.waiting.lock().unwrap().0.push_back(frame);
        self.sent.fetch_add(1, Release);
    }

    fn take(&self) -> Option<T> {
        let sent = self.sent.load(Acquire);
        let (frames, taken) = &mut *self.waiting.lock().unwrap();
        let frame = if *taken < sent { frames.pop_front() } else { None };
        *taken += usize::from(frame.is_some());
        frame
    }

    fn are_taken(&self) -> bool {
        self.waiting.lock().unwrap().0.is_empty()
    }
}

// ---- the claim table ----

/// A link with one slot of the claim table.
struct Link {
    word: AtomicU64,
    requests: Frames<StreamId>,
    /// Number of times that each stream's request was run.
    runs: [std::sync::atomic::AtomicUsize; 3],
    /// The edge's way to withdraw a request.
    withdraw: Withdraw,
}

type Withdraw = fn(&AtomicU64, StreamId) -> bool;

impl Link {
    fn new(withdraw: Withdraw) -> Arc<Self> {
        let word = AtomicU64::new(word::FREE);
        Arc::new(Self { word, requests: Frames::new(), runs: Default::default(), withdraw })
    }

    /// Worker: passes the next request, if it sees one.
    fn pass(&self) {
        if let Some(stream) = self.requests.take()
            && word::claim(&self.word, stream)
        {
            self.runs[stream.get() as usize].fetch_add(1, SeqCst);
        }
    }

    fn runs(&self, number: u64) -> usize {
        self.runs[number as usize].load(SeqCst)
    }

    /// Edge: sends a request in the slot.
    fn request(&self, number: u64) {
        assert!(self.requests.are_taken(), "a slot is offered while an unread request names it");
        word::offer(&self.word, stream(number));
        self.requests.send(stream(number));
    }

    /// Edge: withdraws a request. Returns false if it is begun.
    fn withdraw(&self, number: u64) -> bool {
        (self.withdraw)(&self.word, stream(number))
    }

    /// Edge: whether the slot may be offered again.
    fn free(&self, withdrawn: bool) -> bool {
        if withdrawn {
            return word::is_free(&self.word);
        }
        assert!(word::is_begun(&self.word), "what cannot be withdrawn is begun");
        word::release(&self.word);
        true
    }
}

fn stream(number: u64) -> StreamId {
    StreamId::new(number).unwrap()
}

/// Runs requests one after the other in one slot, each withdrawn if it was not begun, and as many workers'
/// threads, each of which looks for a request a number of times.
fn requests_pass(requests: u64, threads: usize, looks: usize, withdraw: Withdraw) {
    loom::model(move || {
        let link = Link::new(withdraw);
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                let link = link.clone();
                thread::spawn(move || (0..looks).for_each(|_| link.pass()))
            })
            .collect();
        let mut sent = Vec::new();
        for number in 1..=requests {
            link.request(number);
            let withdrawn = link.withdraw(number);
            sent.push((number, withdrawn));
            if !link.free(withdrawn) {
                break;
            }
        }
        for worker in workers {
            worker.join().unwrap();
        }
        while !link.requests.are_taken() {
            link.pass();
        }
        for (number, withdrawn) in sent {
            assert_eq!(
                link.runs(number),
                usize::from(!withdrawn),
                "a request is run or withdrawn, and never both"
            );
        }
        assert!(word::is_free(&link.word), "a slot whose requests were passed is free");
    });
}

#[test]
fn a_request_is_run_or_withdrawn_and_its_slot_comes_back() {
    requests_pass(1, 1, 1, word::withdraw);
}

#[test]
fn no_slot_is_offered_again_before_its_last_request_was_read() {
    requests_pass(2, 1, 2, word::withdraw);
}

/// Claims as several threads of a pool do.
#[test]
fn threads_that_share_a_link_run_each_request_once() {
    requests_pass(2, 2, 1, word::withdraw);
}

/// The bug that these tests are for: a slot is free as soon as its request is withdrawn.
fn withdraw_and_free(word: &AtomicU64, stream: StreamId) -> bool {
    let withdrawn = word::withdraw(word, stream);
    if withdrawn {
        word::release(word);
    }
    withdrawn
}

#[test]
#[should_panic(expected = "a slot is offered while an unread request names it")]
fn a_slot_that_the_withdrawal_frees_is_found() {
    requests_pass(2, 1, 2, withdraw_and_free);
}

/// A withdrawal that reads first and writes then.
fn withdraw_in_two_steps(word: &AtomicU64, stream: StreamId) -> bool {
    let is_begun = word::is_begun(word);
    if !is_begun {
        word::offer(word, stream);
    }
    !is_begun && word::withdraw(word, stream)
}

#[test]
#[should_panic(expected = "a request is run or withdrawn, and never both")]
fn a_withdrawal_in_two_steps_is_found() {
    requests_pass(1, 1, 1, withdraw_in_two_steps);
}

// ---- blocks ----

/// Blocks whose contents loom watches: two threads that access one without being ordered fail the test.
struct Blocks<const N: usize> {
    states: [AtomicU32; N],
    contents: [UnsafeCell<u32>; N],
    /// The numbers of full blocks, and their contents.
    frames: Frames<(usize, u32)>,
    /// The way to take a block that is free.
    take: Take,
    /// The edge's way to free a block.
    free: Free,
}

type Take = fn(&AtomicU32) -> bool;
type Free = fn(&AtomicU32);

#[expect(unsafe_code, reason = "the contents are shared as those of the real blocks are")]
// SAFETY: loom fails a test in which two threads access a cell at once.
unsafe impl<const N: usize> Sync for Blocks<N> {}

impl<const N: usize> Blocks<N> {
    fn new(take: Take, free: Free) -> Arc<Self> {
        Arc::new(Self {
            states: std::array::from_fn(|_| AtomicU32::new(state::FREE)),
            contents: std::array::from_fn(|_| UnsafeCell::new(0)),
            frames: Frames::new(),
            take,
            free,
        })
    }

    /// Worker: passes a piece through a block if one is free; otherwise the socket takes it.
    fn put(&self, piece: u32) {
        let Some(block) = (0..N).find(|&block| (self.take)(&self.states[block])) else { return };
        self.contents[block].with_mut(|content| {
            #[expect(unsafe_code, reason = "loom gives a pointer")]
            // SAFETY: loom has checked that no other thread accesses the cell.
            unsafe {
                *content = piece;
            }
        });
        state::fill(&self.states[block]);
        self.frames.send((block, piece));
    }

    /// Edge: takes the next block that was announced, if it sees one.
    fn lend(&self) -> Option<(usize, u32)> {
        let (block, piece) = self.frames.take()?;
        assert!(state::lend(&self.states[block]), "an announced block is full");
        assert!(!state::lend(&self.states[block]), "and is lent once");
        self.check((block, piece));
        Some((block, piece))
    }

    fn check(&self, (block, piece): (usize, u32)) {
        self.contents[block].with(|content| {
            #[expect(unsafe_code, reason = "loom gives a pointer")]
            // SAFETY: loom has checked that no other thread writes to the cell.
            let found = unsafe { *content };
            assert_eq!(found, piece, "what is lent does not change");
        });
    }

    /// Edge: empties the blocks that are free.
    fn empty(&self) {
        for (state, content) in self.states.iter().zip(&self.contents) {
            if (self.take)(state) {
                content.with_mut(|content| {
                    #[expect(unsafe_code, reason = "loom gives a pointer")]
                    // SAFETY: loom has checked that no other thread accesses the cell.
                    unsafe {
                        *content = 0;
                    }
                });
                (self.free)(state);
            }
        }
    }

    fn give_back(&self, lent: (usize, u32)) {
        self.check(lent);
        (self.free)(&self.states[lent.0]);
    }
}

/// Runs a worker that puts pieces into blocks, and an edge that looks a number of times and holds each block
/// until it has seen the next. It empties free blocks after the first of its looks.
fn pieces_pass<const N: usize>(pieces: u32, looks: usize, empties: usize, (take, free): (Take, Free)) {
    loom::model(move || {
        let blocks = Blocks::<N>::new(take, free);
        let worker = thread::spawn({
            let blocks = blocks.clone();
            move || (1..=pieces).for_each(|piece| blocks.put(piece))
        });
        let mut held = None;
        for look in 0..looks {
            let next = blocks.lend();
            if let Some(lent) = std::mem::replace(&mut held, next) {
                blocks.give_back(lent);
            }
            if look < empties {
                blocks.empty();
            }
        }
        worker.join().unwrap();
        if let Some(lent) = held {
            blocks.give_back(lent);
        }
        while let Some(lent) = blocks.lend() {
            blocks.give_back(lent);
        }
        assert!(blocks.states.iter().all(state::take), "a block that was dropped is free");
    });
}

#[test]
fn a_block_is_written_only_while_no_end_reads_it() {
    pieces_pass::<1>(2, 2, 2, (state::take, state::free));
}

#[test]
fn blocks_come_back_while_others_are_lent() {
    pieces_pass::<2>(3, 3, 0, (state::take, state::free));
}

#[test]
fn a_block_is_emptied_only_while_no_end_uses_it() {
    pieces_pass::<2>(2, 1, 1, (state::take, state::free));
}

/// A block that is freed without ordering the edge's reads before the worker's next write.
#[test]
#[should_panic(expected = "Causality violation")]
fn a_block_that_is_freed_too_weakly_is_found() {
    pieces_pass::<1>(2, 2, 0, (state::take, |state| state.store(state::FREE, Relaxed)));
}

/// A block that both ends take because each has only seen that it is free.
#[test]
#[should_panic(expected = "Causality violation")]
fn a_block_that_is_taken_in_two_steps_is_found() {
    pieces_pass::<1>(1, 1, 1, (|state| state.load(Acquire) == state::FREE, state::free));
}
