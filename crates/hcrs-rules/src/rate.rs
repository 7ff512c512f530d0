//! Rates of requests: a bucket of tokens for each client, from which each request takes one.
//!
//! A bucket is one number, the *theoretical arrival time* of the generic cell rate algorithm (ITU-T I.371):
//! the instant at which it will be full again. The buckets of all rules and of all edge threads are in one
//! table of atomic words, because a client's connections are spread over the threads: with a share of the
//! rate for each thread, the rate of a client would depend on where its connections were accepted. A request
//! costs one exchange of a word, and only where a rate is set.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The number of buckets, which is the number of clients that are told apart at the same time. They take
/// 512 KiB.
const BUCKETS: usize = 1 << 16;

/// The number of buckets among which a client's is looked for: those of one cache line.
const WAYS: usize = 8;

/// The unit in which buckets keep time.
const TICK: Duration = Duration::from_micros(10);

/// The number of bits of a bucket that are time. It wraps around in 127 days.
const TIME_BITS: u32 = 40;

/// The time part of a bucket.
const TIME_MASK: u64 = (1 << TIME_BITS) - 1;

/// The longest time in which a bucket may fill up. A time that is further ahead is one of the wrapped past.
const FILL_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// The most requests in a period of a rate.
const COUNT_MAX: u32 = 100_000;

/// A number of requests in a period, with the number that may come at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// The time in which a token is added.
    interval: Duration,
    /// The number of tokens of a full bucket.
    burst: u32,
}

/// The reason why a rate cannot be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RateError {
    /// The text is no rate.
    #[error(
        "expected a number of requests in a second, minute or hour, at most 100000, as 10/s, 100/m or 1000/h"
    )]
    Malformed,
    /// The burst is zero, or a bucket of that size would take more than a week to fill.
    #[error("expected a burst from 1 to {0} at this rate")]
    Burst(u32),
}

impl Rate {
    /// Parses a rate as `10/s`, `100/m` or `1000/h`. As many requests as the period has may come at once.
    pub fn parse(text: &str) -> Result<Self, RateError> {
        let (count, period) = text.split_once('/').ok_or(RateError::Malformed)?;
        let period = match period {
            "s" => Duration::from_secs(1),
            "m" => Duration::from_secs(60),
            "h" => Duration::from_secs(3600),
            _ => return Err(RateError::Malformed),
        };
        let is_number = count.bytes().all(|byte| byte.is_ascii_digit());
        let count = count.parse().ok().filter(|count| is_number && (1..=COUNT_MAX).contains(count));
        let count = count.ok_or(RateError::Malformed)?;
        Ok(Self { interval: period / count, burst: count })
    }

    /// Returns the rate with this number of requests that may come at once.
    pub fn with_burst(self, burst: u32) -> Result<Self, RateError> {
        let most = u32::try_from(FILL_MAX.as_nanos() / self.interval.as_nanos()).unwrap_or(u32::MAX);
        if (1..=most).contains(&burst) { Ok(Self { burst, ..self }) } else { Err(RateError::Burst(most)) }
    }

    fn interval(self) -> u64 {
        ticks(self.interval).max(1)
    }
}

/// A rate that one rule sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// The number that tells the rule's buckets from those of other rules.
    pub rule: u64,
    /// The rate.
    pub rate: Rate,
}

/// The answer to the question whether a request keeps to its rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The request took a token.
    Admitted,
    /// There was no token. One is added within this time.
    Refused {
        /// The time until a token is added.
        retry_after: Duration,
    },
}

/// The buckets of a server.
///
/// A bucket is a word of 24 bits of the client's hash and 40 bits of time. The hash has a random key, so
/// that nobody can choose clients that share a bucket. Two clients by chance are taken for one with a
/// probability of one in two million.
///
/// Where all buckets that a client might have are in use, it gets the one that is full again first: the client
/// that had it starts anew. So a full table makes limits looser and refuses no client that keeps to its rate.
#[derive(Debug)]
pub struct Limiter {
    buckets: Box<[AtomicU64]>,
    hasher: RandomState,
}

impl Default for Limiter {
    fn default() -> Self {
        Self { buckets: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(), hasher: RandomState::new() }
    }
}

impl Limiter {
    /// Takes a token from the bucket of `client` for a request at `now`, which is the time since an instant
    /// that is the same in all calls.
    pub fn take(&self, limit: Limit, client: &[u8], now: Duration) -> Verdict {
        let hash = self.hasher.hash_one((limit.rule, client));
        let set = (hash as usize % (self.buckets.len() / WAYS)) * WAYS;
        let ways = &self.buckets[set..set + WAYS];
        // Zero is a bucket that nobody has.
        let client = (hash >> TIME_BITS).max(1) << TIME_BITS;
        // Not zero, so that the time before it is none of the future.
        let now = ticks(now) + ticks(FILL_MAX);
        loop {
            let bucket = Bucket::find(ways, client, now);
            let wait = bucket.wait(now);
            let (interval, burst) = (limit.rate.interval(), u64::from(limit.rate.burst));
            let full_in = wait + interval;
            if full_in > interval * burst {
                let retry_after = TICK * u32::try_from(full_in - interval * burst).unwrap_or(u32::MAX);
                return Verdict::Refused { retry_after };
            }
            let taken = client | (now + full_in) & TIME_MASK;
            let (old, order) = (bucket.word, Ordering::Relaxed);
            // It fails where another thread has changed the bucket, which thereby got on.
            if ways[bucket.way].compare_exchange_weak(old, taken, order, order).is_ok() {
                return Verdict::Admitted;
            }
        }
    }
}

/// The bucket that a client has, or gets.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    way: usize,
    word: u64,
    is_clients: bool,
}

impl Bucket {
    /// Returns the client's bucket, or else the one of these that is full first.
    fn find(ways: &[AtomicU64], client: u64, now: u64) -> Self {
        let mut first_full = (u64::MAX, Self { way: 0, word: 0, is_clients: false });
        for (way, word) in ways.iter().enumerate() {
            let word = word.load(Ordering::Relaxed);
            let is_clients = word & !TIME_MASK == client;
            let bucket = Self { way, word, is_clients };
            if is_clients {
                return bucket;
            }
            let full_in = time_ahead(word, now);
            if full_in < first_full.0 {
                first_full = (full_in, bucket);
            }
        }
        first_full.1
    }

    /// Returns the number of ticks until the bucket is full for the client.
    fn wait(&self, now: u64) -> u64 {
        if self.is_clients { time_ahead(self.word, now) } else { 0 }
    }
}

/// Returns the number of ticks from `now` to the time of a bucket; zero if it has passed.
fn time_ahead(word: u64, now: u64) -> u64 {
    let ahead = (word & TIME_MASK).wrapping_sub(now) & TIME_MASK;
    if ahead > ticks(FILL_MAX) { 0 } else { ahead }
}

fn ticks(time: Duration) -> u64 {
    u64::try_from(time.as_nanos() / TICK.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn limit(rate: &str, burst: u32) -> Limit {
        Limit { rule: 0, rate: Rate::parse(rate).unwrap().with_burst(burst).unwrap() }
    }

    fn is_admitted(limiter: &Limiter, limit: Limit, client: &[u8], at: Duration) -> bool {
        limiter.take(limit, client, at) == Verdict::Admitted
    }

    #[test]
    fn rates_are_numbers_by_second_minute_or_hour() {
        assert_eq!(Rate::parse("10/s"), Ok(Rate { interval: Duration::from_millis(100), burst: 10 }));
        assert_eq!(Rate::parse("30/m"), Ok(Rate { interval: Duration::from_secs(2), burst: 30 }));
        assert_eq!(Rate::parse("2/h"), Ok(Rate { interval: Duration::from_secs(1800), burst: 2 }));
        for bad in ["", "10", "/s", "0/s", "-1/s", "+1/s", "1.5/s", "10/d", "10/sec", "10 /s", "100001/s"] {
            assert_eq!(Rate::parse(bad), Err(RateError::Malformed), "{bad}");
        }
        let hourly = Rate::parse("1/h").unwrap();
        assert!(hourly.with_burst(168).is_ok());
        assert_eq!(hourly.with_burst(169), Err(RateError::Burst(168)));
        assert_eq!(hourly.with_burst(0), Err(RateError::Burst(168)));
    }

    #[test]
    fn a_burst_is_admitted_and_then_the_rate() {
        let (limiter, limit) = (Limiter::default(), limit("10/s", 3));
        let at = Duration::from_millis;
        for _ in 0..3 {
            assert!(is_admitted(&limiter, limit, b"a", at(0)));
        }
        let refused = limiter.take(limit, b"a", at(0));
        assert_eq!(refused, Verdict::Refused { retry_after: at(100) });
        assert!(is_admitted(&limiter, limit, b"b", at(0)), "another client");
        assert!(is_admitted(&limiter, Limit { rule: 1, ..limit }, b"a", at(0)), "another rule");
        assert!(!is_admitted(&limiter, limit, b"a", at(99)));
        assert!(is_admitted(&limiter, limit, b"a", at(100)));
        assert!(
            !is_admitted(&limiter, limit, b"a", at(100)),
            "a refused request costs nothing, nor does it gain"
        );
        for _ in 0..3 {
            assert!(is_admitted(&limiter, limit, b"a", at(10_000)));
        }
        assert!(!is_admitted(&limiter, limit, b"a", at(10_000)));
    }

    /// A generator of numbers that is always the same.
    struct Schedule(u64);

    impl Schedule {
        fn below(&mut self, limit: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 % limit
        }
    }

    #[test]
    fn schedules_are_judged_as_a_simple_bucket_judges_them() {
        for (seed, (rate, burst)) in
            [("100/s", 7), ("3000/s", 40), ("7/m", 1), ("1000/h", 50)].into_iter().enumerate()
        {
            let (limiter, limit) = (Limiter::default(), limit(rate, burst));
            let interval = TICK * limit.rate.interval() as u32;
            let mut schedule = Schedule(seed as u64 + 1);
            // By client: the tokens in parts of an interval, and the instant of this number.
            let mut model: HashMap<u64, (u128, Duration)> = HashMap::new();
            let full = interval.as_nanos() * u128::from(burst);
            let (mut now, mut admitted) = (Duration::ZERO, 0);
            for step in 0..40_000 {
                now += TICK * schedule.below(limit.rate.interval() / 4) as u32;
                if schedule.below(200) == 0 {
                    now += interval * schedule.below(u64::from(burst) * 2) as u32;
                }
                let client = schedule.below(3);
                let (tokens, since) = model.entry(client).or_insert((full, now));
                *tokens = full.min(*tokens + now.saturating_sub(*since).as_nanos());
                *since = now;
                let verdict = limiter.take(limit, &client.to_le_bytes(), now);
                if let Some(left) = tokens.checked_sub(interval.as_nanos()) {
                    *tokens = left;
                    admitted += 1;
                    assert_eq!(verdict, Verdict::Admitted, "{rate}, step {step}");
                } else {
                    let lacking = Duration::from_nanos((interval.as_nanos() - *tokens) as u64);
                    assert_eq!(verdict, Verdict::Refused { retry_after: lacking }, "{rate}, step {step}");
                }
            }
            assert!(admitted > 1000 && admitted < 39_000, "{rate}: {admitted}");
        }
    }

    #[test]
    fn a_full_table_refuses_no_client_that_keeps_to_its_rate() {
        let (limiter, limit) = (Limiter::default(), limit("1/h", 1));
        let now = Duration::from_secs(1);
        let refused = (0..4 * BUCKETS as u64)
            .filter(|client| !is_admitted(&limiter, limit, &client.to_le_bytes(), now))
            .count();
        // Of two clients with the same hash the second one is refused: one in eight of these runs has such a pair.
        assert!(refused <= 4, "{refused} clients");
        let last = (4 * BUCKETS as u64 - 1).to_le_bytes();
        assert!(!is_admitted(&limiter, limit, &last, now), "those that were last are still limited");
    }

    #[test]
    fn times_of_the_wrapped_past_are_no_times_of_the_future() {
        let (limiter, limit) = (Limiter::default(), limit("1/h", 1));
        let day = Duration::from_secs(86_400);
        assert!(is_admitted(&limiter, limit, b"a", Duration::ZERO));
        for days in [64, 100, 128, 300] {
            assert!(is_admitted(&limiter, limit, b"a", day * days), "{days}");
            assert!(!is_admitted(&limiter, limit, b"a", day * days), "{days}");
        }
    }

    #[test]
    fn threads_share_a_clients_bucket() {
        let (limiter, limit) = (Limiter::default(), limit("1/h", 100));
        let admitted = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        if is_admitted(&limiter, limit, b"a", Duration::ZERO) {
                            admitted.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        // Threads that meet at a client's first request may each give it a bucket, of which one is used on.
        let admitted = admitted.into_inner();
        assert!((100..=104).contains(&admitted), "{admitted}");
    }
}
