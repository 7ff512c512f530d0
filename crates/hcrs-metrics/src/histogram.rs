//! Distributions of durations over fixed buckets.

use std::cell::Cell;
use std::time::Duration;

use crate::values::Merge;

/// The upper bounds of the buckets, in nanoseconds: three for each power of ten from 100 µs, which an answer of
/// the edge takes, to 60 s, the timeout of the queue. Longer durations have a bucket of their own.
pub const BOUNDS: [u64; 18] = {
    const MICRO: u64 = 1_000;
    const MILLI: u64 = 1_000 * MICRO;
    const SECOND: u64 = 1_000 * MILLI;
    [
        100 * MICRO,
        250 * MICRO,
        500 * MICRO,
        MILLI,
        2_500 * MICRO,
        5 * MILLI,
        10 * MILLI,
        25 * MILLI,
        50 * MILLI,
        100 * MILLI,
        250 * MILLI,
        500 * MILLI,
        SECOND,
        2_500 * MILLI,
        5 * SECOND,
        10 * SECOND,
        30 * SECOND,
        60 * SECOND,
    ]
};

/// A distribution of durations.
#[derive(Debug, Clone, Default)]
pub struct Histogram {
    /// The number of durations in each bucket, which those in the buckets below are not counted in.
    counts: [Cell<u64>; BOUNDS.len() + 1],
    /// The sum of the durations, in nanoseconds: room for 584 years.
    sum: Cell<u64>,
}

impl Histogram {
    /// Adds a duration.
    #[inline]
    pub fn record(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let bucket = &self.counts[BOUNDS.partition_point(|&bound| bound < nanos)];
        bucket.set(bucket.get() + 1);
        self.sum.set(self.sum.get().wrapping_add(nanos));
    }

    /// Iterates over the buckets: the upper bound in nanoseconds, `None` for the last, and the number of
    /// durations up to there.
    pub fn cumulative(&self) -> impl Iterator<Item = (Option<u64>, u64)> {
        let bounds = BOUNDS.iter().copied().map(Some).chain([None]);
        bounds.zip(&self.counts).scan(0, |sum, (bound, count)| {
            *sum += count.get();
            Some((bound, *sum))
        })
    }

    /// Returns the number of durations.
    pub fn count(&self) -> u64 {
        self.counts.iter().map(Cell::get).sum()
    }

    /// Returns the sum of the durations, in nanoseconds.
    pub fn sum(&self) -> u64 {
        self.sum.get()
    }
}

impl Merge for Histogram {
    fn merge(&self, other: &Self) {
        for (count, other) in self.counts.iter().zip(&other.counts) {
            count.set(count.get() + other.get());
        }
        self.sum.set(self.sum.get().wrapping_add(other.sum.get()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(nanos: u64) -> Histogram {
        let histogram = Histogram::default();
        histogram.record(Duration::from_nanos(nanos));
        histogram
    }

    #[test]
    fn a_bound_belongs_to_the_bucket_below_it() {
        for (place, &bound) in BOUNDS.iter().enumerate() {
            let counts = |histogram: &Histogram| histogram.cumulative().map(|(_, n)| n).collect::<Vec<_>>();
            let (on, above) = (counts(&at(bound)), counts(&at(bound + 1)));
            assert_eq!(on.iter().position(|&n| n == 1), Some(place));
            assert_eq!(above.iter().position(|&n| n == 1), Some(place + 1));
        }
        assert_eq!(at(0).cumulative().next(), Some((Some(BOUNDS[0]), 1)));
    }

    #[test]
    fn bounds_ascend_and_durations_beyond_the_last_are_counted() {
        assert!(BOUNDS.is_sorted_by(|a, b| a < b));
        let histogram = Histogram::default();
        histogram.record(Duration::MAX);
        histogram.record(Duration::from_secs(3600));
        let buckets: Vec<_> = histogram.cumulative().collect();
        assert_eq!(buckets[BOUNDS.len() - 1..], [(Some(60_000_000_000), 0), (None, 2)]);
    }

    #[test]
    fn merged_histograms_count_what_both_have() {
        let (sum, other) = (at(3_000_000), at(3_000_000));
        other.record(Duration::from_secs(1));
        sum.merge(&other);
        assert_eq!((sum.count(), sum.sum()), (3, 1_006_000_000));
        assert_eq!(other.count(), 2, "the other is unchanged");
    }
}
