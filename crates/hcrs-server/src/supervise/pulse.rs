//! Judges whether a worker is alive by which of its layers have answered the supervisor's pings. No I/O and
//! no clock: the supervisor passes in the answers and the time that has passed.
//!
//! A layer is awaited from the first ping that it has not answered, and any answer of it ends the wait: a
//! worker that is merely slow is alive.

use std::time::Duration;

use hcrs_link::Layer;

/// The longest time between two pings, so that an idle machine is rarely woken.
const INTERVAL_MAX: Duration = Duration::from_secs(5);

/// How long a layer may be silent before a warning is logged.
const WARN: Duration = Duration::from_secs(5);

/// The times that a worker is allowed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// The silence after which a worker counts as hung.
    timeout: Duration,
}

impl Patience {
    /// Returns the patience with a worker that may be silent for `timeout`; `None` if it may be silent
    /// indefinitely.
    pub(super) fn of(timeout: Duration) -> Option<Self> {
        (!timeout.is_zero()).then_some(Self { timeout })
    }

    /// Returns the time between two pings.
    pub(super) fn interval(self) -> Duration {
        (self.timeout / 4).min(INTERVAL_MAX)
    }

    fn warn(self) -> Duration {
        (self.timeout / 2).min(WARN)
    }
}

/// The result of a check of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing new.
    Same,
    /// This layer, the lowest that is silent, blocks the worker. It is reported once.
    Blocked(Layer, Duration),
    /// All layers answer again, after this time.
    Recovered(Duration),
    /// The worker has been silent for the whole timeout, because of this layer.
    Hung(Layer, Duration),
}

/// One worker's pulse.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    /// The number of the last ping.
    asked: u32,
    /// The wait for each layer.
    waits: [Wait; Layer::ALL.len()],
    /// The longest silence of the block that was reported.
    reported: Option<Duration>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Wait {
    answered: u32,
    /// Whether it has answered since the last check.
    has_turned: bool,
    silent: Duration,
}

impl Pulse {
    /// Returns the number of a ping that is sent now.
    pub(super) fn ask(&mut self) -> u32 {
        self.asked = self.asked.wrapping_add(1);
        self.asked
    }

    /// Notes that a layer has answered.
    pub(super) fn answered(&mut self, layer: Layer, number: u32) {
        let wait = &mut self.waits[layer as usize];
        wait.answered = number;
        wait.has_turned = true;
    }

    /// Judges the worker, after all answers that have arrived in the `passed` time since the last check were
    /// noted.
    ///
    /// At most two intervals of it count. If the supervisor itself was held up, as when the machine or its
    /// control group was suspended, the worker may have been, too.
    pub(super) fn look(&mut self, passed: Duration, patience: Patience) -> Verdict {
        let passed = passed.min(patience.interval() * 2);
        for wait in &mut self.waits {
            let has_turned = std::mem::take(&mut wait.has_turned);
            let is_silent = wait.answered != self.asked && !has_turned;
            wait.silent = if is_silent { wait.silent + passed } else { Duration::ZERO };
        }
        let silent = self.waits.iter().map(|wait| wait.silent).max().unwrap_or_default();
        let lowest = Layer::ALL.into_iter().find(|&layer| !self.waits[layer as usize].silent.is_zero());
        let Some(lowest) = lowest else {
            return self.reported.take().map_or(Verdict::Same, Verdict::Recovered);
        };
        if silent >= patience.timeout {
            return Verdict::Hung(lowest, silent);
        }
        match &mut self.reported {
            Some(reported) => {
                *reported = silent.max(*reported);
                Verdict::Same
            }
            None if silent >= patience.warn() => {
                self.reported = Some(silent);
                Verdict::Blocked(lowest, silent)
            }
            None => Verdict::Same,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn patience(seconds: u32) -> Patience {
        Patience::of(SECOND * seconds).unwrap()
    }

    /// A worker that is pinged once a second, and the verdicts about it.
    struct Scene {
        pulse: Pulse,
        patience: Patience,
    }

    impl Scene {
        fn new(timeout: u32) -> Self {
            Self { pulse: Pulse::default(), patience: patience(timeout) }
        }

        /// Sends a ping, lets the layers answer it, and checks a second later.
        fn second(&mut self, answering: &[Layer]) -> Verdict {
            let number = self.pulse.ask();
            for &layer in answering {
                self.pulse.answered(layer, number);
            }
            self.pulse.look(SECOND, self.patience)
        }
    }

    #[test]
    fn pings_are_few() {
        assert_eq!(patience(60).interval(), SECOND * 5);
        assert_eq!(patience(3600).interval(), SECOND * 5);
        assert_eq!(patience(2).interval(), SECOND / 2);
        assert!(Patience::of(Duration::ZERO).is_none());
    }

    #[test]
    fn a_worker_that_answers_is_alive() {
        let mut scene = Scene::new(4);
        for _ in 0..20 {
            assert_eq!(scene.second(&Layer::ALL), Verdict::Same);
        }
    }

    #[test]
    fn a_silent_layer_is_reported_once_and_hangs_at_the_timeout() {
        for (layer, answering) in [
            (Layer::Process, &[][..]),
            (Layer::Interpreter, &[Layer::Process]),
            (Layer::Loop, &[Layer::Process, Layer::Interpreter]),
        ] {
            let mut scene = Scene::new(4);
            assert_eq!(scene.second(answering), Verdict::Same);
            assert_eq!(scene.second(answering), Verdict::Blocked(layer, SECOND * 2));
            assert_eq!(scene.second(answering), Verdict::Same);
            assert_eq!(scene.second(answering), Verdict::Hung(layer, SECOND * 4));
        }
    }

    #[test]
    fn a_loop_that_turns_now_and_then_is_busy_and_not_hung() {
        let mut scene = Scene::new(4);
        let below = [Layer::Process, Layer::Interpreter];
        for _ in 0..10 {
            for _ in 0..3 {
                assert_ne!(scene.second(&below), Verdict::Hung(Layer::Loop, SECOND * 4));
            }
            // It answers, and is silent again at once.
            let number = scene.pulse.ask();
            scene.pulse.answered(Layer::Loop, number - 1);
            for layer in below {
                scene.pulse.answered(layer, number);
            }
            assert_eq!(scene.pulse.look(SECOND, scene.patience), Verdict::Recovered(SECOND * 3));
        }
    }

    #[test]
    fn the_lowest_silent_layer_is_to_blame() {
        let mut scene = Scene::new(4);
        for _ in 0..3 {
            scene.second(&[Layer::Process, Layer::Interpreter]);
        }
        assert_eq!(scene.second(&[Layer::Process]), Verdict::Hung(Layer::Interpreter, SECOND * 4));
    }

    #[test]
    fn time_in_which_the_supervisor_stood_still_counts_little() {
        let mut scene = Scene::new(60);
        scene.pulse.ask();
        let verdict = scene.pulse.look(SECOND * 3600, scene.patience);
        assert_eq!(verdict, Verdict::Blocked(Layer::Process, SECOND * 10));
        assert_eq!(scene.second(&Layer::ALL), Verdict::Recovered(SECOND * 10));
    }
}
