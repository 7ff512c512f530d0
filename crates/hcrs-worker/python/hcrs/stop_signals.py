"""The signals by which a server is stopped, in a worker.

They are the edge's, which then drains its workers. An app that has a handler of its own for one of them expects to be told:
the worker raises the signal in itself when its drain begins.
"""

from __future__ import annotations

import logging
import signal
import time

log = logging.getLogger("hcrs.error")

NUMBERS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


class AppHandlers:
    """The handlers that the app has put in the place of the worker's."""

    def __init__(self) -> None:
        """To be made before the app is loaded: what is there now is not the app's."""
        self._before = {number: signal.getsignal(number) for number in NUMBERS}

    def call(self, number: int) -> None:
        """Raises the signal, if the app has a handler for it. To be called in the main thread."""
        handler = signal.getsignal(number)
        if handler in (self._before.get(signal.Signals(number), handler), signal.SIG_DFL, signal.SIG_IGN, None):
            return
        try:
            signal.raise_signal(number)
            time.sleep(0)  # before Python 3.12 a handler may run a little later: here, at the latest
        except (SystemExit, KeyboardInterrupt):
            pass  # it wants the process to end, which it does
        except BaseException:
            log.exception("Error in the app's handler of %s", signal.Signals(number).name)
