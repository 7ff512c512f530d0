"""The app's handlers of the signals that stop a server.

The edge handles these signals and drains its workers. An app that has installed a handler expects it to be called, so
the worker raises the signal in its own process when the drain begins.
"""

from __future__ import annotations

import logging
import signal
import time

log = logging.getLogger("hcrs.error")

NUMBERS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


class AppHandlers:
    """The handlers by which the app has replaced those of the worker."""

    def __init__(self) -> None:
        """Records the present handlers. Must be called before the app is loaded."""
        self._before = {number: signal.getsignal(number) for number in NUMBERS}

    def call(self, number: int) -> None:
        """Raises the signal if the app has a handler for it. Must be called in the main thread."""
        handler = signal.getsignal(number)
        if handler in (self._before.get(signal.Signals(number), handler), signal.SIG_DFL, signal.SIG_IGN, None):
            return
        try:
            signal.raise_signal(number)
            time.sleep(0)  # before Python 3.12 a handler may run a little later, but here at the latest
        except (SystemExit, KeyboardInterrupt):
            pass  # the process is about to exit anyway
        except BaseException:
            log.exception("Error in the app's handler of %s", signal.Signals(number).name)
