//! The terminal that a single worker has as its standard input, so that `breakpoint()` works as in a server
//! of one process.
//!
//! Only processes of the group in a terminal's foreground may read from it, so such a worker stays in the
//! edge's group. It gets the terminal's signals as well, which it ignores.

use std::num::NonZeroUsize;

use rustix::process::getpgrp;
use rustix::stdio::stdin;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr};

use crate::AppSettings;

/// The terminal at standard input.
#[derive(Debug)]
pub(super) struct Terminal {
    /// The modes of the terminal when the server started.
    modes: Termios,
}

impl Terminal {
    /// Returns the terminal for the worker of an app, if there is one, this process is in its foreground, and
    /// only one worker would read from it.
    pub(super) fn for_worker_of(app: &AppSettings) -> Option<Self> {
        let modes = tcgetattr(stdin()).ok()?;
        (app.workers == NonZeroUsize::MIN && is_ours()).then_some(Self { modes })
    }

    /// Restores the terminal's modes, which a debugger may have changed before its process was killed.
    pub(super) fn restore(&self) {
        if is_ours() {
            let _gone = tcsetattr(stdin(), OptionalActions::Drain, &self.modes);
        }
    }
}

/// Whether this process is in the foreground. A process in the background would be stopped for changing the
/// terminal.
fn is_ours() -> bool {
    tcgetpgrp(stdin()).is_ok_and(|group| group == getpgrp())
}
