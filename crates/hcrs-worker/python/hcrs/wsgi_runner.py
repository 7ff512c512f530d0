"""A WSGI app that runs on the links of an edge, in a worker or in a program that calls ``serve``."""

from __future__ import annotations

import logging
import os
import tempfile
import threading
import time

from hcrs import _hcrs
from hcrs.app_interface import ServableApp, WrongInterfaceHint
from hcrs.client_disconnects import is_disconnect_error
from hcrs.request_summary import log_abandoned
from hcrs.wsgi_errors import ErrorStream

log = logging.getLogger("hcrs.error")

#: Threads that run the app unless ``wsgi_threads`` is set.
WSGI_THREADS = min(32, (os.cpu_count() or 1) + 4)

#: Seconds that a request has to end after its client was cut off.
CUT_OFF_PATIENCE = 1.0


class WsgiRunner:
    """A WSGI app in a pool of threads."""

    def __init__(
        self,
        app: ServableApp,
        links: list[_hcrs.Link],
        *,
        root_path: str,
        threads: int,
        max_body_size: int,
        multiprocess: bool,
    ) -> None:
        self._hint = WrongInterfaceHint("wsgi", app.is_guess)
        self._until = 0.0
        self._signal: int | None = None
        self._server = _hcrs.WsgiServer(
            links,
            app.app,
            root_path=root_path,
            max_body_size=max_body_size,
            spool_folder=spool_folder(),
            errors=ErrorStream(log),
            multithread=threads > 1,
            multiprocess=multiprocess,
            on_failed=self._on_failed,
        )
        self._threads = [
            threading.Thread(target=self._work, name=f"hcrs-wsgi-{number}", daemon=True)
            for number in range(1, threads + 1)
        ]

    def start(self) -> None:
        """Starts serving and reports to the edge that the app is ready."""
        for thread in self._threads:
            thread.start()
        self._server.start()

    def wait_for_signal(self) -> int | None:
        """Blocks until the process is to end. Returns the signal that is the reason, or ``None`` if the edge is gone.

        Another thread waits for the edge, because Python runs the app's signal handlers only between two steps of the
        main thread.
        """
        waiting = threading.Thread(target=self._wait_for_signal, name="hcrs-wsgi-end", daemon=True)
        waiting.start()
        while waiting.is_alive():
            try:
                waiting.join()
            except BaseException:
                log.exception("Error in a signal handler of the app")
        return self._signal

    def _wait_for_signal(self) -> None:
        self._signal = self._server.wait_for_signal()

    def wait(self) -> None:
        """Blocks until the edge has nothing more to send, or is gone."""
        try:
            self._until = time.monotonic() + (self._server.wait() or 0.0)
        except RuntimeError as error:
            log.error("The link to the edge is broken: %s", error)

    def has_free_thread(self) -> bool:
        """Returns whether a thread is idle, or waits for a client rather than for the app."""
        return self._server.has_free_thread()

    def finish(self) -> bool:
        """Blocks until the threads have ended or the edge's time is up. Returns whether all have ended."""
        # A thread whose client was cut off notices it when it reads or writes.
        deadline = max(self._until, time.monotonic() + CUT_OFF_PATIENCE)
        self._server.close(deadline - time.monotonic())
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        has_finished = not any(thread.is_alive() for thread in self._threads)
        if not has_finished:
            log_abandoned(self._server.unfinished())
        self._server.finish(has_finished)
        return has_finished

    def _work(self) -> None:
        while True:
            try:
                return self._server.work()
            except BaseException:
                log.exception("Error in the WSGI pool")

    def _on_failed(self, error: BaseException | None, client_has_left: bool) -> None:
        if client_has_left and (error is None or is_disconnect_error(error)):
            log.debug("The app has ended because its client has disconnected: %r", error)
        elif error is None:
            log.error("Error in WSGI Framework: the app has returned without completing its response")
        else:
            log.error("Error in WSGI Framework", exc_info=error)
            self._hint.check(error)


def spool_folder() -> str | None:
    """Returns the directory for request bodies that have not arrived whole, or ``None`` if there is none."""
    try:
        return tempfile.gettempdir()
    except FileNotFoundError:
        return None
