//! A model test of the link, both ends of it as they are in the product, with no socket and no clock: a seed gives a schedule,
//! and a schedule is everything that happens in an order that could be.
//!
//! An *episode* is an edge thread's dispatch with its links and exchanges, some workers that use the crate `hcrs-link` as
//! theirs do, and some clients. Its steps are drawn from the seed: bytes move in pieces of any size, apps and clients do
//! what they may, workers are blocked, die and are replaced, links are lost, time passes. After each step, and when all
//! has come to rest, the rules are looked at (`World::check`, `World::check_left`, `Records`).
//!
//! A short run is a part of `cargo test`; `make model` runs for long and keeps the result in `results.md`. WebSockets are
//! not modelled, nor is TLS.

mod client;
mod invariants;
mod pipe;
pub(crate) mod planted;
mod random;
mod rest;
mod run;
mod terms;
mod wires;
mod worker;
mod world;

use std::fs::File;
use std::io::Write as _;
use std::rc::Rc;
use std::time::Instant;

use self::invariants::Records;
use self::random::{Pattern, Random};

/// What all episodes use.
#[derive(Debug)]
struct Material {
    pattern: Pattern,
    /// A file with the bytes of the pattern.
    file: std::os::fd::OwnedFd,
}

impl Material {
    fn new() -> std::io::Result<Self> {
        let pattern = Pattern::new();
        let memory = rustix::fs::memfd_create("pattern", rustix::fs::MemfdFlags::CLOEXEC)?;
        let mut file = File::from(memory);
        file.write_all(pattern.all())?;
        Ok(Self { pattern, file: file.into() })
    }
}

/// What every step of an episode works with.
#[derive(Debug)]
struct Scene {
    random: Random,
    material: Rc<Material>,
    records: Records,
    now: Instant,
    /// Everything is on its way to its end.
    is_quick: bool,
}
