//! The terminal that a single worker has for its standard input, so that `breakpoint()` works as in a server of one process.
//!
//! Only processes of the group in a terminal's foreground may read from it, so such a worker stays in the edge's. It gets the
//! terminal's signals as well, which it disregards.

use std::num::NonZeroUsize;

use rustix::process::getpgrp;
use rustix::stdio::stdin;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr};

use crate::AppSettings;

/// The terminal at standard input.
#[derive(Debug)]
pub(super) struct Terminal {
    /// How it was when the server started.
    modes: Termios,
}

impl Terminal {
    /// The terminal for the worker of an app: if there is one, this process is in its foreground, and only one worker
    /// could read from it.
    pub(super) fn for_worker_of(app: &AppSettings) -> Option<Self> {
        let modes = tcgetattr(stdin()).ok()?;
        (app.workers == NonZeroUsize::MIN && is_ours()).then_some(Self { modes })
    }

    /// Gives the terminal its modes back, which a debugger has changed whose process was killed.
    pub(super) fn restore(&self) {
        if is_ours() {
            let _gone = tcsetattr(stdin(), OptionalActions::Drain, &self.modes);
        }
    }
}

/// Whether this process is in the foreground. One that is not would be stopped by what it does to the terminal.
fn is_ours() -> bool {
    tcgetpgrp(stdin()).is_ok_and(|group| group == getpgrp())
}
