"""Runs the command ``hcrs``, the server with its worker processes, from within a program."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

from hcrs import _hcrs
from hcrs.config import Config
from hcrs.edge import command, configuration, listening_descriptors

__all__ = ["run"]

#: Signals to this process that are passed on to the server.
_FORWARDED = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGQUIT,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGTTIN,
    signal.SIGTTOU,
)


def run(config: Config) -> int:
    """Serves ``config.application_path`` until a signal stops it. Returns the exit code of the command.

    In the main thread, signals are passed on to the server. The server is killed when the calling thread ends.
    """
    config_text = config.to_toml()
    is_main = threading.current_thread() is threading.main_thread()
    python = [] if "python" in config.hcrs else ["--python", sys.executable]
    with configuration(config_text) as memory, contextlib.ExitStack() as stack:
        server = subprocess.Popen(
            [command(), "--config", f"/dev/fd/{memory}", *python],
            stdin=subprocess.DEVNULL,
            pass_fds=[memory, *listening_descriptors(config)],
            # So that the terminal's Ctrl-C reaches the server once, by way of this process if it is passed on.
            start_new_session=is_main,
            preexec_fn=_hcrs.die_with_parent,
        )
        stack.callback(server.kill)  # in case an exception interrupts the wait
        if is_main:
            stack.enter_context(_forwarding_signals(server))
        return server.wait()


@contextlib.contextmanager
def _forwarding_signals(server: subprocess.Popen[bytes]) -> Iterator[None]:
    before = {
        number: signal.signal(number, lambda number, _frame: server.send_signal(number)) for number in _FORWARDED
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
