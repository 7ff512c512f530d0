"""Runs the server with its worker processes, as the command ``hcrs`` does, from within a program."""

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

#: What is meant for the server when this process gets it.
_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


def run(config: Config) -> int:
    """Serves ``config.application_path`` until a signal says to stop, and gives the exit code of the command.

    Called in the main thread, it passes signals on to the server; the server dies with the thread that has called it.
    """
    config_text = config.to_toml()
    is_main = threading.current_thread() is threading.main_thread()
    python = [] if "python" in config.hcrs else ["--python", sys.executable]
    with configuration(config_text) as memory, contextlib.ExitStack() as stack:
        server = subprocess.Popen(
            [command(), "--config", f"/dev/fd/{memory}", *python],
            stdin=subprocess.DEVNULL,
            pass_fds=[memory, *listening_descriptors(config)],
            # The terminal's Ctrl-C arrives once: from here, or else from the terminal.
            start_new_session=is_main,
            preexec_fn=_hcrs.die_with_parent,
        )
        stack.callback(server.kill)  # if an exception ends the wait
        if is_main:
            stack.enter_context(_passed_on_to(server))
        return server.wait()


@contextlib.contextmanager
def _passed_on_to(server: subprocess.Popen[bytes]) -> Iterator[None]:
    before = {
        number: signal.signal(number, lambda number, _frame: server.send_signal(number)) for number in _PASSED_ON
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
