//! The signals that operators send, and the description of a process's end.

use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use rustix::process::Signal as Number;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::Sender;

use super::event::Event;

/// A request of an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    /// SIGTERM, SIGINT, SIGQUIT: drain and end; repeated after a while, end at once.
    Stop(Stop),
    /// SIGHUP: read the certificates again, and load the app again in new workers.
    Reload,
    /// SIGUSR1: reopen the log files.
    Reopen,
    /// SIGUSR2: start another server that takes the place of this one.
    Succeed,
    /// SIGTTIN, SIGTTOU, SIGWINCH: serve with another number of workers.
    Scale(Scale),
}

/// A change of the number of workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scale {
    /// SIGTTIN: one more.
    Up,
    /// SIGTTOU: one fewer.
    Down,
    /// SIGWINCH: none, until the next SIGHUP or SIGTTIN. The listeners stay open.
    None,
}

/// A signal to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stop {
    /// The name in the log.
    pub name: &'static str,
    /// The number of the signal that the workers are notified of.
    pub number: Number,
    /// Whether requests in flight may finish.
    pub grace: Grace,
}

/// The time that requests in flight have after a signal to stop, shortest last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Grace {
    /// `graceful_timeout`.
    Configured,
    /// None.
    None,
}

impl Stop {
    /// A service manager's signal.
    pub(super) const TERM: Self = Self { name: "SIGTERM", number: Number::TERM, grace: Grace::Configured };
    /// A terminal's signal.
    const INT: Self = Self { name: "SIGINT", number: Number::INT, grace: Grace::Configured };
    /// The signal of an operator who cannot wait.
    const QUIT: Self = Self { name: "SIGQUIT", number: Number::QUIT, grace: Grace::None };
    /// A command of the admin interface.
    pub(super) const COMMAND: Self = Self { name: "hcrs stop", ..Self::TERM };
    /// The report of a successor that it serves.
    pub(super) const SUCCEEDED: Self = Self { name: "SIGUSR2", ..Self::TERM };
}

/// How long after a signal to stop another one counts as the same: `timeout(1)`, shells and containers send
/// it to a process and to the whole group.
const SAME_STOP: Duration = Duration::from_secs(1);

/// Distinguishes signals to stop that are repeated on purpose from duplicates. No clock.
#[derive(Debug, Default)]
pub(super) struct Stops {
    /// The last signal that counted, and when it came.
    last: Option<(Instant, Stop)>,
}

impl Stops {
    /// Notes that a signal to stop has come. Returns false if it is a duplicate: it follows another one at
    /// once, and leaves requests no less time than that.
    pub(super) fn counts(&mut self, stop: Stop, now: Instant) -> bool {
        let counts = self.last.is_none_or(|(at, last)| {
            now.saturating_duration_since(at) >= SAME_STOP || stop.grace > last.grace
        });
        if counts {
            self.last = Some((now, stop));
        }
        counts
    }
}

/// Sends every signal as an event from now on.
pub(super) fn watch(events: &Sender<Event>) -> io::Result<()> {
    for (kind, meaning) in [
        (SignalKind::terminate(), Signal::Stop(Stop::TERM)),
        (SignalKind::interrupt(), Signal::Stop(Stop::INT)),
        (SignalKind::quit(), Signal::Stop(Stop::QUIT)),
        (SignalKind::hangup(), Signal::Reload),
        (SignalKind::user_defined1(), Signal::Reopen),
        (SignalKind::user_defined2(), Signal::Succeed),
        (SignalKind::from_raw(Number::TTIN.as_raw()), Signal::Scale(Scale::Up)),
        (SignalKind::from_raw(Number::TTOU.as_raw()), Signal::Scale(Scale::Down)),
        (SignalKind::window_change(), Signal::Scale(Scale::None)),
    ] {
        let mut signals = signal(kind)?;
        let events = events.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() && events.send(Event::Signal(meaning)).await.is_ok() {}
        });
    }
    Ok(())
}

/// Describes how a process ended, as in `was killed by SIGKILL`.
pub(super) fn describe(status: ExitStatus) -> String {
    if let Some(code) = status.code() {
        return format!("exited with status {code}");
    }
    let number = status.signal().unwrap_or_default();
    let dump = if status.core_dumped() { " (core dumped)" } else { "" };
    match NAMES.iter().find(|(signal, _)| signal.as_raw() == number) {
        Some((_, name)) => format!("was killed by {name}{dump}"),
        None => format!("was killed by signal {number}{dump}"),
    }
}

const NAMES: [(Number, &str); 14] = [
    (Number::HUP, "SIGHUP"),
    (Number::INT, "SIGINT"),
    (Number::QUIT, "SIGQUIT"),
    (Number::ILL, "SIGILL"),
    (Number::TRAP, "SIGTRAP"),
    (Number::ABORT, "SIGABRT"),
    (Number::BUS, "SIGBUS"),
    (Number::FPE, "SIGFPE"),
    (Number::KILL, "SIGKILL"),
    (Number::SEGV, "SIGSEGV"),
    (Number::PIPE, "SIGPIPE"),
    (Number::ALARM, "SIGALRM"),
    (Number::TERM, "SIGTERM"),
    (Number::XCPU, "SIGXCPU"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_that_comes_twice_at_once_counts_once() {
        let (mut stops, start) = (Stops::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        let counted: Vec<_> = [0, 0, 10, 999, 1000, 1999, 2500]
            .into_iter()
            .filter(|&ms| stops.counts(Stop::TERM, at(ms)))
            .collect();
        assert_eq!(counted, [0, 1000, 2500], "what does not count does not put off the next one");
    }

    #[test]
    fn a_quick_stop_counts_at_once_after_a_graceful_one() {
        let (mut stops, now) = (Stops::default(), Instant::now());
        assert!(stops.counts(Stop::INT, now));
        assert!(!stops.counts(Stop::TERM, now));
        assert!(stops.counts(Stop::QUIT, now));
        assert!(!stops.counts(Stop::QUIT, now) && !stops.counts(Stop::TERM, now));
    }

    #[test]
    fn the_end_of_a_process_is_named() {
        assert_eq!(describe(ExitStatus::from_raw(3 << 8)), "exited with status 3");
        assert_eq!(describe(ExitStatus::from_raw(9)), "was killed by SIGKILL");
        assert_eq!(describe(ExitStatus::from_raw(0x80 | 0x0b)), "was killed by SIGSEGV (core dumped)");
        assert_eq!(describe(ExitStatus::from_raw(50)), "was killed by signal 50");
    }
}
