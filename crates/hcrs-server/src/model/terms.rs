//! The parameters of episodes, and the frequency of each step.

use std::time::Duration;

use super::client::Habits;
use super::random::{Random, Sizes};
use crate::settings::DispatchSettings;

/// A step of a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Start,
    Upload,
    Take,
    Connection,
    Edge,
    Turn,
    Act,
    Write,
    Look,
    Pass,
    Jump,
    Reset,
    HalfClose,
    Block,
    Unblock,
    Kill,
    Orphan,
    Report,
    LoseLink,
    Replace,
    Respawn,
    Retiring,
}

/// Steps without which nothing comes to an end, and the least frequency of each.
const MOVES: [(Step, usize); 14] = [
    (Step::Start, 8),
    (Step::Upload, 12),
    (Step::Take, 24),
    (Step::Connection, 24),
    (Step::Edge, 40),
    (Step::Turn, 32),
    (Step::Act, 64),
    (Step::Write, 32),
    (Step::Look, 4),
    (Step::Pass, 4),
    (Step::Unblock, 2),
    (Step::Respawn, 4),
    (Step::Report, 4),
    (Step::Retiring, 4),
];

/// Steps that schedules can do without, and the least frequency of each in one that has it.
const TROUBLES: [(Step, usize); 8] = [
    (Step::Jump, 1),
    (Step::Reset, 2),
    (Step::HalfClose, 2),
    (Step::Block, 2),
    (Step::Kill, 1),
    (Step::Orphan, 1),
    (Step::LoseLink, 1),
    (Step::Replace, 1),
];

/// The parameters of an episode.
#[derive(Debug)]
pub(super) struct Terms {
    /// The frequency of each step, and the sum.
    pub weights: Vec<(Step, usize)>,
    pub sum: usize,
    pub workers: usize,
    pub start_credits: usize,
    /// The number of stream numbers of each link.
    pub numbers: u64,
    /// The request quota of each worker, if there is one.
    pub max_requests: Option<u64>,
    /// The number of bytes that a socket holds.
    pub capacity: usize,
    /// The most bytes that a read, or a write, moves.
    pub chunk: usize,
    /// The number of bytes that each end has room for.
    pub inbox: usize,
    pub sizes: Sizes,
    /// Whether workers read requests before they begin them.
    pub is_lazy: bool,
    /// Whether the links' memory has blocks.
    pub has_blocks: bool,
    /// The number of requests that are open at a time.
    pub open_max: usize,
}

/// The values that were drawn for an episode.
#[derive(Debug)]
pub(super) struct Drawn {
    pub terms: Terms,
    pub settings: DispatchSettings,
    pub habits: Habits,
}

impl Drawn {
    pub(super) fn new(random: &mut Random) -> Self {
        // A heavy episode, in which links and outboxes are full.
        let is_heavy = random.one_in(12);
        let sizes = if is_heavy {
            Sizes::Long
        } else {
            random.choose(&[Sizes::Short, Sizes::Mixed, Sizes::Mixed, Sizes::Long])
        };
        let is_wide = sizes == Sizes::Long;
        let mut weights: Vec<_> =
            MOVES.iter().map(|&(step, least)| (step, least * random.choose(&[1, 1, 2, 6]))).collect();
        let is_calm = random.one_in(3);
        for (step, once) in TROUBLES {
            let times = random.choose(&[0, 0, 1, 1, 4]);
            weights.push((step, if is_calm { 0 } else { once * times }));
        }
        let terms = Terms {
            sum: weights.iter().map(|(_, weight)| weight).sum(),
            weights,
            workers: random.between(1, 4),
            start_credits: if is_heavy { 4 } else { random.between(1, 4) },
            numbers: random.between(5, 60) as u64,
            max_requests: random.one_in(4).then(|| random.between(1, 20) as u64),
            capacity: if is_wide { 200 << 10 } else { random.choose(&[300, 4 << 10, 64 << 10, 200 << 10]) },
            chunk: if is_wide { 128 << 10 } else { random.choose(&[300, 4 << 10, 64 << 10, 128 << 10]) },
            inbox: random.choose(&[64, 1 << 10, 16 << 10]),
            sizes,
            is_lazy: random.one_in(4),
            has_blocks: !random.one_in(if is_heavy { 2 } else { 8 }),
            open_max: if is_heavy { 24 } else { random.choose(&[2, 6, 12, 24]) },
        };
        let settings = DispatchSettings {
            start_credits: terms.start_credits,
            queue_size: random.between(1, 20),
            queue_bytes: if is_heavy { 64 << 20 } else { random.choose(&[4 << 10, 100 << 10, 8 << 20]) },
            queue_timeout: Duration::from_millis(random.choose(&[30, 300, 3000])),
            stall_timeout: Duration::from_millis(random.choose(&[20, 20, 50])),
        };
        let habits = Habits {
            window: if is_wide { 300 << 10 } else { random.choose(&[500, 20 << 10, 300 << 10]) },
            sizes,
            head: if is_heavy {
                random.choose(&[5000, 900 << 10])
            } else {
                random.choose(&[10, 10, 300, 5000])
            },
            ahead: random.choose(&[None, Some(0), Some(10_000)]),
        };
        Self { terms, settings, habits }
    }
}
