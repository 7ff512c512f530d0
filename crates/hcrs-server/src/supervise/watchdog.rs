//! Notifies the service manager that the server is alive, if `WATCHDOG_USEC` asks for it
//! (`sd_watchdog_enabled(3)`): at half of the interval, as long as the supervisor and all edge threads are
//! running.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::{Supervisor, notify};
use crate::Settings;
use crate::thread::control::Control;

/// The fraction of the interval after which threads that have not answered are checked again.
const AGAIN: u32 = 16;

/// The state of the notifications.
#[derive(Debug)]
pub(super) struct Watchdog {
    /// The time without a notification after which the manager treats the server as failed.
    interval: Duration,
    due: Instant,
    /// Counts the edge threads that have answered since they were asked.
    turned: Arc<AtomicUsize>,
    /// The number of threads that were asked.
    asked: usize,
}

impl Watchdog {
    /// Returns the watchdog; `None` if no manager asks for it. With a calling program, that program is the
    /// service.
    pub(super) fn new(settings: &Settings, now: Instant) -> Option<Self> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        if settings.embedder.is_some() || variable(notify::VARIABLE).is_none() {
            return None;
        }
        let (time, process) = (variable(notify::WATCHDOG)?, variable(notify::WATCHDOG_PID));
        let interval = interval(&time, process.as_deref(), std::process::id())?;
        Some(Self { interval, due: now, turned: Arc::default(), asked: 0 })
    }
}

/// Returns the interval, if it is meant for this process.
fn interval(microseconds: &str, process: Option<&str>, own: u32) -> Option<Duration> {
    if process.is_some_and(|process| process.parse() != Ok(own)) {
        return None;
    }
    microseconds.parse().ok().filter(|&microseconds| microseconds > 0).map(Duration::from_micros)
}

impl Supervisor<'_> {
    /// Notifies the manager, if that is due and all threads have answered. Returns the time of the next
    /// check.
    pub(super) async fn notify_watchdog(&mut self, now: Instant) -> Option<Instant> {
        let watchdog = self.watchdog.as_mut().filter(|watchdog| watchdog.due <= now);
        let Some(watchdog) = watchdog else { return self.watchdog.as_ref().map(|watchdog| watchdog.due) };
        let alive = (0..self.edge.len()).filter(|&thread| self.edge.is_alive(thread)).count();
        if watchdog.turned.load(Ordering::Relaxed) < watchdog.asked.min(alive) {
            watchdog.due = now + watchdog.interval / AGAIN;
            return Some(watchdog.due);
        }
        watchdog.due = now + watchdog.interval / 2;
        watchdog.asked = alive;
        watchdog.turned = Arc::default();
        let (due, turned) = (watchdog.due, Arc::clone(&watchdog.turned));
        self.notify(notify::State::Alive);
        self.edge.send_all(|| Control::Turn(Arc::clone(&turned))).await;
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_for_the_process_that_it_names() {
        let of = |text, process| interval(text, process, 7);
        assert_eq!(of("2000000", None), Some(Duration::from_secs(2)));
        assert_eq!(of("2000000", Some("7")), Some(Duration::from_secs(2)));
        assert_eq!(of("2000000", Some("8")), None);
        assert_eq!(of("0", None), None);
        assert_eq!(of("soon", None), None);
    }
}
