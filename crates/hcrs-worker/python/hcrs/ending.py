"""The end of a worker's process: nothing that the app has left running holds it up."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from contextlib import suppress
from typing import NoReturn

log = logging.getLogger("hcrs.error")

#: Seconds that threads and child processes have to end by themselves once requests and the app's shutdown are over.
PATIENCE = 1.0

#: Seconds more for what else may hold the process, such as functions that are registered with ``atexit``.
LAST_PATIENCE = 5.0


def end_soon(code: int) -> None:
    """Ends the process with ``code`` after a while, if it has not ended by itself."""
    with suppress(RuntimeError):  # there can be no more threads; then the edge kills this process
        threading.Thread(target=_end, args=(code,), name="hcrs-end", daemon=True).start()


def _end(code: int) -> None:
    time.sleep(PATIENCE)
    left = _left_behind()
    if left:
        log.warning("Ending around what has not ended: %s", ", ".join(left))
    else:
        time.sleep(LAST_PATIENCE)
        log.warning("Ending although the interpreter has not ended; it may wait for what is registered with atexit")
    leave(code)


def _left_behind() -> list[str]:
    """The threads and child processes that the interpreter waits for."""
    threads = [
        f"thread {thread.name}"
        for thread in threading.enumerate()
        if not thread.daemon and thread is not threading.main_thread()
    ]
    multiprocessing = sys.modules.get("multiprocessing")
    if multiprocessing is None:
        return threads
    children = multiprocessing.active_children()
    return threads + [f"process {child.name}" for child in children if not child.daemon]


def leave(code: int) -> NoReturn:
    """Ends the process around what still runs."""
    logging.shutdown()
    with suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)
