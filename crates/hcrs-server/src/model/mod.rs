//! A model test of the link, with both ends as they are in the product, without sockets and clocks: a seed
//! yields a schedule, which is one possible order of everything that happens.
//!
//! An *episode* is an edge thread's dispatch with its links and exchanges, some workers that use the crate
//! `hcrs-link` as real workers do, and some clients. Its steps are drawn from the seed: bytes move in pieces
//! of any size, apps and clients act, workers are blocked, die and are replaced, links are lost, time passes.
//! After each step, and when everything is at rest, the rules are checked (`World::check`,
//! `World::check_left`, `Records`).
//!
//! A short run is part of `cargo test`; `make model` runs for long and keeps the result in `results.md`. The
//! model has neither WebSockets nor TLS.

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

/// The resources that all episodes share.
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

/// The state that every step of an episode uses.
#[derive(Debug)]
struct Scene {
    random: Random,
    material: Rc<Material>,
    records: Records,
    now: Instant,
    /// Whether everything proceeds towards its end.
    is_quick: bool,
}
