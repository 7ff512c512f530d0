"""A worker's signal handlers: signals that reach all processes of the service are left to the edge.

The worker installs a handler that does nothing rather than ``SIG_IGN``, because ``SIG_IGN`` is inherited by programs
that the app starts, and handlers are not. In forked children Python's default dispositions are restored.
"""

from __future__ import annotations

import faulthandler
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from hcrs import _hcrs

#: Signals whose default action would end the worker. SIGALRM is left to the app.
_EDGE_SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)

#: Signals that stop a process. With a terminal they are needed for job control, and a handler would make reads restart
#: without end.
_TERMINAL_SIGNALS = (signal.SIGTTIN, signal.SIGTTOU)

#: Not empty while a worker is being forked.
_kept: list[bool] = []


def leave_to_edge() -> None:
    """Makes the worker ignore the signals that the edge handles. Handlers that the app installs replace this."""
    numbers = _EDGE_SIGNALS if has_terminal() else _EDGE_SIGNALS + _TERMINAL_SIGNALS
    for number in numbers:
        signal.signal(number, do_nothing)
        signal.siginterrupt(number, False)  # blocking calls of the app in C are not interrupted
    os.register_at_fork(after_in_child=_restore)


def report_crashes(descriptor: int) -> None:
    """Writes the stacks of all threads at a signal like SIGSEGV, for the edge to log.

    Forked children write them to standard error.
    """
    redirect_crashes(descriptor)
    os.register_at_fork(after_in_child=lambda: faulthandler.enable(2) if faulthandler.is_enabled() else None)


def redirect_crashes(descriptor: int) -> None:
    """Writes the stacks to another file, in a worker that was forked from one that reports crashes."""
    os.set_inheritable(descriptor, False)
    _hcrs.withhold(descriptor)
    faulthandler.enable(descriptor)


@contextmanager
def kept_over_fork() -> Iterator[None]:
    """Keeps the dispositions in a child that is forked meanwhile, because it is a worker as well."""
    _kept.append(True)
    try:
        yield
    finally:
        _kept.clear()


def do_nothing(number: int, frame: FrameType | None) -> None:
    """Does nothing."""


def has_terminal() -> bool:
    """Returns whether the process has a controlling terminal."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _restore() -> None:
    """Restores, in a forked child, the dispositions of a new Python process, except those that the app has changed."""
    for number in () if _kept else _EDGE_SIGNALS + _TERMINAL_SIGNALS:
        if signal.getsignal(number) is do_nothing:
            default: Any = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
            signal.signal(number, default)
    # It belongs to the event loop, and a write to it in the child would wake the loop of the worker.
    signal.set_wakeup_fd(-1)
