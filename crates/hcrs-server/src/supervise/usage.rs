//! The memory and the processor time that processes use, as the system reports them.

use std::fs;
use std::time::Duration;

/// The memory and the processor time that a process uses.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Usage {
    /// The resident memory, in bytes.
    pub resident: Option<u64>,
    /// The processor time that it has used.
    pub processor: Option<Duration>,
}

impl Usage {
    /// Returns the usage of the process with this id; none if it has ended.
    pub(super) fn of(pid: u32) -> Self {
        let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        Self {
            resident: resident(&read("statm"), rustix::param::page_size() as u64),
            processor: processor(&read("stat"), rustix::param::clock_ticks_per_second()),
        }
    }
}

/// Returns the resident memory by `/proc/PID/statm`: its second number, in pages.
fn resident(statm: &str, page: u64) -> Option<u64> {
    statm.split(' ').nth(1)?.parse().ok().map(|pages: u64| pages * page)
}

/// Returns the processor time by `/proc/PID/stat`: fields 14 and 15, in ticks. The second field, the name, may
/// hold spaces.
fn processor(stat: &str, ticks_per_second: u64) -> Option<Duration> {
    let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    let total = ticks()? + ticks()?;
    Some(Duration::from_millis(total.saturating_mul(1000) / ticks_per_second.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_files_are_read() {
        assert_eq!(resident("5000 120 80 1 0 300 0\n", 4096), Some(120 * 4096));
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 1 2 3 4 150 50 9 9 20 0 1 0 100";
        assert_eq!(processor(stat, 100), Some(Duration::from_secs(2)));
        assert_eq!((resident("", 4096), processor("", 100)), (None, None));
        let own = Usage::of(std::process::id());
        assert!(own.resident.unwrap() > 1 << 20 && own.processor.is_some());
        assert_eq!(Usage::of(0), Usage::default());
    }
}
