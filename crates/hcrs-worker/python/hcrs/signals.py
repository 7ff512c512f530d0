"""A worker's signals: what is sent to all processes of the service is for the edge, and children of the app know none of it.

A handler that does nothing stands in place of ``SIG_IGN``, because what is ignored stays ignored in programs that the app starts,
while handlers do not outlive ``exec``. Children that are only forked get Python's own dispositions back.
"""

from __future__ import annotations

import faulthandler
import os
import signal
from types import FrameType
from typing import Any

from hcrs import _hcrs

#: Signals whose default action would end the worker. SIGALRM is the app's alone.
_OF_THE_EDGE = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)

#: Signals that stop a process. Where there is a terminal they are its job control, and a handler would have reads begin
#: again and again.
_OF_TERMINALS = (signal.SIGTTIN, signal.SIGTTOU)


def leave_to_edge() -> None:
    """Has the worker survive the signals that its edge obeys. Handlers that the app installs take their place."""
    numbers = _OF_THE_EDGE if has_terminal() else _OF_THE_EDGE + _OF_TERMINALS
    for number in numbers:
        signal.signal(number, disregard)
        signal.siginterrupt(number, False)  # what the app waits for in C need not know of it
    os.register_at_fork(after_in_child=_restore)


def tell_crashes(descriptor: int) -> None:
    """Has a signal like SIGSEGV write where all threads stand, for the edge to log. Forked children write it to standard error."""
    os.set_inheritable(descriptor, False)
    _hcrs.withhold(descriptor)
    faulthandler.enable(descriptor)
    os.register_at_fork(after_in_child=lambda: faulthandler.enable(2) if faulthandler.is_enabled() else None)


def disregard(number: int, frame: FrameType | None) -> None:
    """Does nothing."""


def has_terminal() -> bool:
    """Whether the process has a controlling terminal."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _restore() -> None:
    """In a forked child: the dispositions of a new Python process, but for those that the app has changed."""
    for number in _OF_THE_EDGE + _OF_TERMINALS:
        if signal.getsignal(number) is disregard:
            default: Any = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
            signal.signal(number, default)
    # An event loop's: what wakes it there would wake the worker's, which has the other end.
    signal.set_wakeup_fd(-1)
