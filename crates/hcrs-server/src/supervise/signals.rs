//! The signals that operators send, and how a process's end is put in words.

use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use rustix::process::Signal as Number;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::Sender;

use super::Event;

/// What an operator wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    /// SIGTERM, SIGINT, SIGQUIT: drain and end; said twice, end at once. With the signal's name.
    Stop(&'static str),
    /// SIGHUP: read the certificates again, and load the app anew in new workers.
    Reload,
    /// SIGUSR1: open the log files anew.
    Reopen,
}

/// Sends every signal from now on as an event.
pub(super) fn watch(events: &Sender<Event>) -> io::Result<()> {
    for (kind, meaning) in [
        (SignalKind::terminate(), Signal::Stop("SIGTERM")),
        (SignalKind::interrupt(), Signal::Stop("SIGINT")),
        (SignalKind::quit(), Signal::Stop("SIGQUIT")),
        (SignalKind::hangup(), Signal::Reload),
        (SignalKind::user_defined1(), Signal::Reopen),
    ] {
        let mut signals = signal(kind)?;
        let events = events.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() && events.send(Event::Signal(meaning)).await.is_ok() {}
        });
    }
    Ok(())
}

/// How a process ended, as in `was killed by SIGKILL`.
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
    fn the_end_of_a_process_is_named() {
        assert_eq!(describe(ExitStatus::from_raw(3 << 8)), "exited with status 3");
        assert_eq!(describe(ExitStatus::from_raw(9)), "was killed by SIGKILL");
        assert_eq!(describe(ExitStatus::from_raw(0x80 | 0x0b)), "was killed by SIGSEGV (core dumped)");
        assert_eq!(describe(ExitStatus::from_raw(50)), "was killed by signal 50");
    }
}
