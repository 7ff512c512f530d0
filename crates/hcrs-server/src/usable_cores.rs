//! The number of workers for `workers = "auto"`: one for each core that the process may use.

use std::fmt;
use std::num::NonZeroUsize;
use std::thread::available_parallelism;

use rustix::thread::sched_getaffinity;

/// The cores that the process may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UsableCores {
    /// The number of cores: those of the CPU affinity, or fewer if the CPU quota of the cgroup, or of one
    /// above it, is worth fewer. A part of a core does not count: the edge needs it.
    pub count: NonZeroUsize,
    /// The number of cores in the CPU affinity.
    affinity: usize,
}

impl UsableCores {
    /// Returns the cores that this process may use now.
    pub fn of_this_process() -> Self {
        // The standard library reads the affinity, and the quota of cgroups of both versions.
        let count = available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let affinity = sched_getaffinity(None).map_or(count.get(), |set| set.count() as usize);
        Self { count, affinity }
    }
}

impl fmt::Display for UsableCores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { count, affinity } = *self;
        let noun = if count == NonZeroUsize::MIN { "worker" } else { "workers" };
        write!(f, "Starting {count} {noun} (workers = \"auto\"): ")?;
        if count.get() < affinity {
            write!(f, "the CPU quota of the cgroup is worth {count} of the {affinity} cores")
        } else {
            write!(f, "one for each core that the server may use")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cores_are_those_of_the_affinity_within_the_quota() {
        let cores = UsableCores::of_this_process();
        assert_eq!(cores.count, available_parallelism().unwrap());
        assert!(cores.count.get() <= cores.affinity, "{cores:?}");
    }

    #[test]
    fn the_message_names_the_reason() {
        let cores = |count, affinity| UsableCores { count: NonZeroUsize::new(count).unwrap(), affinity };
        assert_eq!(
            cores(2, 8).to_string(),
            "Starting 2 workers (workers = \"auto\"): the CPU quota of the cgroup is worth 2 of the 8 cores"
        );
        assert_eq!(
            cores(1, 1).to_string(),
            "Starting 1 worker (workers = \"auto\"): one for each core that the server may use"
        );
    }
}
