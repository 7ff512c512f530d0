"""The exit of a worker's process, which no thread or child process of the app may hold up."""

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

#: Further seconds for anything else that may hold up the exit, such as functions registered with ``atexit``.
LAST_PATIENCE = 5.0


def exit_soon(code: int) -> None:
    """Makes the process exit with ``code`` after a while, unless it has exited by itself."""
    with suppress(RuntimeError):  # no thread can be started any more; the edge kills this process then
        threading.Thread(target=_exit_later, args=(code,), name="hcrs-exit", daemon=True).start()


def _exit_later(code: int) -> None:
    time.sleep(PATIENCE)
    running = _still_running()
    if running:
        log.warning("Exiting although these have not ended: %s", ", ".join(running))
    else:
        time.sleep(LAST_PATIENCE)
        log.warning("Exiting although the interpreter has not shut down; a function registered with atexit may block")
    exit_now(code)


def _still_running() -> list[str]:
    """Returns the names of the threads and child processes that the interpreter waits for."""
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


def exit_now(code: int) -> NoReturn:
    """Exits without waiting for threads and child processes."""
    logging.shutdown()
    with suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)
