//! When a certificate is renewed and when a failure is tried again. Time is passed in, in seconds since the Unix
//! epoch, and may jump: what is noted with a time in the future is from before the clock was set back, and delays
//! nothing.

use serde::{Deserialize, Serialize};

/// An instant, in seconds since the Unix epoch.
pub(crate) type Moment = u64;

pub(crate) const MINUTE: u64 = 60;
pub(crate) const HOUR: u64 = 60 * MINUTE;
pub(crate) const DAY: u64 = 24 * HOUR;

/// The life below which a certificate is short-lived, and renewed after half of it rather than two thirds.
const SHORT_LIFE: u64 = 10 * DAY;

/// The delays after the first failures, in minutes. The last one is that after all others.
const DELAYS: [u64; 21] = [1, 2, 2, 5, 10, 10, 10, 20, 20, 20, 20, 30, 30, 30, 30, 30, 60, 60, 120, 180, 360];

/// The most tries of a name in an hour that do not succeed. Authorities limit failed authorizations; Let's Encrypt
/// to five.
const TRIES_IN_AN_HOUR: usize = 4;

/// The most orders of all names in a period. Let's Encrypt allows an account 300 in three hours.
const ORDERS: usize = 16;
/// The period, in seconds.
const ORDERS_PERIOD: u64 = 10 * MINUTE;

/// The longest wait that an authority's `Retry-After` is obeyed for.
const RETRY_AFTER_MAX: u64 = 7 * DAY;

/// The times between which an authority's suggestion of when to renew is asked for again.
const SUGGESTION_CHECK: (u64, u64) = (5 * MINUTE, DAY);
/// The time until it is asked again if the answer does not say, or there was none.
const SUGGESTION_CHECK_DEFAULT: u64 = 6 * HOUR;

/// The first and the last instant of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Validity {
    pub(crate) start: Moment,
    pub(crate) end: Moment,
}

/// The time in which an authority suggests to renew a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Window {
    pub(crate) start: Moment,
    pub(crate) end: Moment,
}

/// Returns when a certificate is to be renewed.
///
/// Within a window of the authority that is an instant that depends on `seed` alone, so that all servers with the
/// same certificate choose the same. It is never in the last tenth of the certificate's life, nor in the first, or the
/// first day: an authority that suggests the past for a new certificate would be asked again and again.
pub(crate) fn renew_at(validity: Validity, window: Option<Window>, seed: u64) -> Moment {
    let Validity { start, end } = validity;
    let life = end.saturating_sub(start);
    let latest = end.saturating_sub(life / 10);
    let by_life = start.saturating_add(if life < SHORT_LIFE { life / 2 } else { life / 3 * 2 });
    match window.filter(|window| window.start < window.end) {
        Some(window) => {
            let suggested = window.start.saturating_add(seed % (window.end - window.start));
            suggested.max(start.saturating_add(pause(validity))).min(latest)
        }
        None => by_life,
    }
}

/// Returns the least time between two certificates of a name: a tenth of the life, and a day at most.
fn pause(validity: Validity) -> u64 {
    (validity.end.saturating_sub(validity.start) / 10).min(DAY)
}

/// The tries to get a certificate since the last success.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Attempts {
    /// The number of failures.
    #[serde(default)]
    pub(crate) failures: u32,
    /// When the last tries were begun, the oldest first, also of those of a server that was killed.
    #[serde(default)]
    pub(crate) begun: Vec<Moment>,
    /// When the last failure was.
    #[serde(default)]
    pub(crate) failed: Option<Moment>,
    /// The time before which the authority wants no request.
    #[serde(default)]
    pub(crate) not_before: Option<Moment>,
    /// The reason of the last failure.
    #[serde(default)]
    pub(crate) error: Option<String>,
}

impl Attempts {
    /// Notes the begin of a try.
    pub(crate) fn begin(&mut self, now: Moment) {
        self.begun.push(now);
        let surplus = self.begun.len().saturating_sub(TRIES_IN_AN_HOUR);
        self.begun.drain(..surplus);
    }

    /// Notes a failure.
    pub(crate) fn fail(&mut self, now: Moment, retry_after: Option<u64>, error: String) {
        self.failures = self.failures.saturating_add(1);
        self.failed = Some(now);
        self.not_before = retry_after.map(|wait| now.saturating_add(wait.min(RETRY_AFTER_MAX)));
        self.error = Some(error);
    }

    /// Returns when the next try may be.
    pub(crate) fn next_try(&self, now: Moment) -> Moment {
        let mut tries = self.begun.iter().filter(|&&at| at <= now);
        let after_an_hour = match (tries.clone().count(), tries.next()) {
            (TRIES_IN_AN_HOUR.., Some(first)) => first.saturating_add(HOUR),
            _ => 0,
        };
        let Some(failed) = self.failed.filter(|&at| at <= now) else { return after_an_hour };
        let place = usize::try_from(self.failures.saturating_sub(1)).unwrap_or(usize::MAX);
        let delay = DELAYS.get(place).or(DELAYS.last()).map_or(0, |minutes| minutes * MINUTE);
        failed.saturating_add(delay).max(after_an_hour).max(self.not_before.unwrap_or(0))
    }
}

/// The orders of the last period, of all names.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Budget(Vec<Moment>);

impl Budget {
    /// Returns when another order may be made.
    pub(crate) fn next(&mut self, now: Moment) -> Moment {
        self.0.retain(|&at| at <= now && now - at < ORDERS_PERIOD);
        if self.0.len() < ORDERS { 0 } else { self.0[0].saturating_add(ORDERS_PERIOD) }
    }

    /// Notes an order.
    pub(crate) fn spend(&mut self, now: Moment) {
        self.0.push(now);
    }
}

/// The facts that it depends on when a certificate is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts<'a> {
    /// The certificate that there is.
    pub(crate) validity: Option<Validity>,
    /// The authority's suggestion for it.
    pub(crate) window: Option<Window>,
    /// The number of the certificate.
    pub(crate) seed: u64,
    /// When it was obtained, by the clock of the server.
    pub(crate) obtained: Option<Moment>,
    /// The tries since the last success.
    pub(crate) attempts: &'a Attempts,
}

/// Returns when a certificate is to be asked for, which may be in the past.
pub(crate) fn due(facts: Facts<'_>, now: Moment) -> Moment {
    let wanted = facts.validity.map_or(0, |validity| {
        // A clock that is ahead, or an authority that gives what it has had for long, would have a new certificate
        // be due at once, again and again.
        let obtained = facts.obtained.filter(|&at| at <= now).unwrap_or(0);
        renew_at(validity, facts.window, facts.seed).max(obtained.saturating_add(pause(validity)))
    });
    wanted.max(facts.attempts.next_try(now))
}

/// Returns when an authority's suggestion is to be asked for again.
pub(crate) fn next_suggestion(now: Moment, retry_after: Option<u64>) -> Moment {
    let (least, most) = SUGGESTION_CHECK;
    now.saturating_add(retry_after.map_or(SUGGESTION_CHECK_DEFAULT, |wait| wait.clamp(least, most)))
}

/// Whether the time from [`next_suggestion`] has not come. One that is further ahead than it can be is from before
/// the clock was set back.
pub(crate) fn is_ahead(next_check: Moment, now: Moment) -> bool {
    now < next_check && next_check <= now.saturating_add(SUGGESTION_CHECK.1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: Moment = 1_800_000_000;

    fn life(seconds: u64) -> Validity {
        Validity { start: START, end: START + seconds }
    }

    #[test]
    fn certificates_are_renewed_after_two_thirds_and_short_ones_after_half_of_their_life() {
        assert_eq!(renew_at(life(90 * DAY), None, 7), START + 60 * DAY);
        assert_eq!(renew_at(life(6 * DAY), None, 7), START + 3 * DAY);
        assert_eq!(renew_at(life(0), None, 7), START);
        let reversed = Validity { start: START, end: START - DAY };
        assert_eq!(renew_at(reversed, None, 7), START);
    }

    #[test]
    fn a_suggestion_decides_but_not_for_the_last_tenth() {
        let window = |start, end| Some(Window { start: START + start * DAY, end: START + end * DAY });
        assert_eq!(renew_at(life(90 * DAY), window(1, 2), 7), START + DAY + 7);
        assert_eq!(renew_at(life(90 * DAY), window(100, 200), 0), START + 81 * DAY);
        let past = Some(Window { start: START - DAY, end: START });
        assert_eq!(renew_at(life(90 * DAY), past, 5), START + DAY);
        assert_eq!(renew_at(life(5 * DAY), past, 5), START + DAY / 2);
        assert_eq!(renew_at(life(90 * DAY), window(2, 1), 0), START + 60 * DAY, "it is no window");
    }

    #[test]
    fn failures_are_tried_again_later_and_later() {
        let mut attempts = Attempts::default();
        let mut now = START;
        let mut waits = Vec::new();
        for _ in 0..30 {
            attempts.fail(now, None, "no".into());
            let next = attempts.next_try(now);
            waits.push((next - now) / MINUTE);
            now = next;
        }
        assert_eq!(waits[..3], [1, 2, 2]);
        assert!(waits[3..].iter().all(|&wait| wait >= 5), "{waits:?}");
        assert_eq!(waits[25..], [360; 5]);
    }

    #[test]
    fn an_authority_may_want_a_longer_wait() {
        let mut attempts = Attempts::default();
        attempts.fail(START, Some(2 * HOUR), "no".into());
        assert_eq!(attempts.next_try(START), START + 2 * HOUR);
        attempts.fail(START, Some(u64::MAX), "no".into());
        assert_eq!(attempts.next_try(START), START + RETRY_AFTER_MAX);
    }

    #[test]
    fn a_server_that_is_killed_again_and_again_keeps_the_limits() {
        let mut attempts = Attempts::default();
        for at in 0..TRIES_IN_AN_HOUR as u64 {
            assert_eq!(attempts.next_try(START + at), 0);
            attempts.begin(START + at);
        }
        assert_eq!(attempts.next_try(START + 10), START + HOUR);
        attempts.fail(START + HOUR, None, "no".into());
        assert_eq!(attempts.next_try(START + HOUR), START + HOUR + MINUTE);
    }

    #[test]
    fn tries_that_fail_and_tries_that_are_killed_share_a_limit() {
        let (mut attempts, mut now, mut begun) = (Attempts::default(), START, Vec::new());
        while begun.len() < 20 {
            now += 1;
            if attempts.next_try(now) <= now {
                attempts.begin(now);
                begun.push(now);
                if begun.len() % 2 == 0 {
                    attempts.fail(now, None, "no".into());
                }
            }
        }
        for hour in begun.windows(TRIES_IN_AN_HOUR + 1) {
            assert!(hour[TRIES_IN_AN_HOUR] - hour[0] >= HOUR, "{begun:?}");
        }
    }

    #[test]
    fn a_certificate_that_is_due_when_it_arrives_is_not_asked_for_again_at_once() {
        let attempts = Attempts::default();
        for (validity, ahead) in
            [(life(6 * DAY), 4 * DAY), (life(90 * DAY), 80 * DAY), (life(DAY), 23 * HOUR)]
        {
            let now = START + ahead;
            let window = Some(Window { start: START - DAY, end: START });
            for window in [None, window] {
                let facts =
                    Facts { validity: Some(validity), window, seed: 1, obtained: None, attempts: &attempts };
                assert!(due(facts, now) <= now);
                let facts = Facts { obtained: Some(now), ..facts };
                assert_eq!(due(facts, now), now + pause(validity), "{validity:?}");
                let set_back = now - 1;
                assert_eq!(due(facts, set_back), due(Facts { obtained: None, ..facts }, set_back));
            }
        }
    }

    #[test]
    fn a_clock_that_is_set_back_delays_no_try() {
        let failed = |failures: usize, retry_after| {
            let mut attempts = Attempts::default();
            for _ in 0..failures {
                attempts.begin(START + 365 * DAY);
                attempts.fail(START + 365 * DAY, retry_after, "no".into());
            }
            attempts
        };
        for attempts in [failed(1, None), failed(9, None), failed(1, Some(HOUR)), failed(9, Some(u64::MAX))] {
            assert!(attempts.next_try(START) <= START, "{attempts:?}");
        }
        // What follows keeps its distance.
        let mut attempts = failed(9, None);
        attempts.fail(START, None, "no".into());
        assert_eq!(attempts.next_try(START), START + 20 * MINUTE);
    }

    #[test]
    fn suggestions_are_asked_for_neither_too_often_nor_too_rarely() {
        assert_eq!(next_suggestion(START, None), START + 6 * HOUR);
        assert_eq!(next_suggestion(START, Some(0)), START + 5 * MINUTE);
        assert_eq!(next_suggestion(START, Some(u64::MAX)), START + DAY);
        assert!(is_ahead(START + DAY, START) && !is_ahead(START, START));
        assert!(!is_ahead(START + DAY + 1, START), "the clock was set back");
    }

    /// A step of a schedule.
    #[derive(Debug, Clone)]
    enum Step {
        /// The time that passes.
        Wait(u64),
        /// The clock is set, by this much forward or back.
        Jump(i64),
        /// What is due fails, with this wait.
        Fail(Option<u64>),
        /// What is due succeeds.
        Succeed(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (0..2 * DAY).prop_map(Step::Wait),
            1 => (-400 * 86_400_i64..400 * 86_400).prop_map(Step::Jump),
            4 => proptest::option::weighted(0.2, 0..30 * DAY).prop_map(Step::Fail),
            2 => prop_oneof![MINUTE..DAY, DAY..100 * DAY].prop_map(Step::Succeed),
        ];
        proptest::collection::vec(step, 1..200)
    }

    proptest! {
        /// Whatever happens, failures keep their distance by the true clock, and no wait is longer than the longest
        /// delay and what the authority asks for.
        #[test]
        fn schedules_keep_their_limits(steps in steps()) {
            let (mut clock, mut elapsed) = (START, 0_u64);
            let mut attempts = Attempts::default();
            let mut validity: Option<Validity> = None;
            let mut obtained = None;
            let mut failed: Vec<(u64, bool)> = Vec::new();
            let mut has_jumped = false;
            for step in steps {
                let facts = Facts { validity, window: None, seed: 3, obtained, attempts: &attempts };
                let due = due(facts, clock);
                if let Some(validity) = validity.filter(|validity| validity.start <= clock) {
                    let latest = validity.end.max(attempts.next_try(clock));
                    prop_assert!(due <= latest, "a certificate ends before it is renewed: {due} {validity:?}");
                }
                prop_assert!(attempts.next_try(clock) <= clock + RETRY_AFTER_MAX);
                let is_due = due <= clock;
                match step {
                    Step::Wait(seconds) => {
                        clock += seconds;
                        elapsed += seconds;
                    }
                    Step::Jump(seconds) => {
                        clock = clock.saturating_add_signed(seconds);
                        has_jumped = true;
                    }
                    Step::Fail(wait) if is_due => {
                        attempts.begin(clock);
                        attempts.fail(clock, wait, "no".into());
                        failed.push((elapsed, has_jumped));
                        has_jumped = false;
                    }
                    Step::Succeed(life) if is_due => {
                        attempts = Attempts::default();
                        failed.clear();
                        validity = Some(Validity { start: clock, end: clock + life });
                        obtained = Some(clock);
                    }
                    Step::Fail(_) | Step::Succeed(_) => {}
                }
            }
            for pair in failed.windows(2) {
                let [(before, _), (after, has_jumped)] = pair else { unreachable!() };
                prop_assert!(*has_jumped || after - before >= MINUTE);
            }
            for hour in failed.windows(TRIES_IN_AN_HOUR + 1) {
                let has_jumped = hour[1..].iter().any(|(_, has_jumped)| *has_jumped);
                prop_assert!(has_jumped || hour[TRIES_IN_AN_HOUR].0 - hour[0].0 >= HOUR);
            }
        }

        #[test]
        fn orders_keep_their_limit(waits in proptest::collection::vec(0_u64..120, 1..300)) {
            let mut budget = Budget::default();
            let (mut now, mut made) = (START, Vec::new());
            for wait in waits {
                now += wait;
                let next = budget.next(now);
                prop_assert!(next <= now + ORDERS_PERIOD);
                if next <= now {
                    budget.spend(now);
                    made.push(now);
                }
            }
            for period in made.windows(ORDERS + 1) {
                prop_assert!(period[ORDERS] - period[0] >= ORDERS_PERIOD);
            }
        }
    }
}
