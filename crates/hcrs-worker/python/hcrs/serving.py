"""An app on the links of an edge: what a worker and a program that calls ``serve`` share."""

from __future__ import annotations

import asyncio
import logging
import os
import tempfile
import threading
import time
from typing import Any

from hcrs import _hcrs
from hcrs.interface import Interface
from hcrs.leaving import LeftBehind, is_farewell
from hcrs.wsgi_errors import ErrorStream

log = logging.getLogger("hcrs.error")

#: Threads that run a WSGI app when the operator has not said how many.
WSGI_THREADS = min(32, (os.cpu_count() or 1) + 4)


class AsgiServing:
    """Serves an app on links, on one event loop, between lifespan startup and lifespan shutdown."""

    def __init__(
        self, app: Any, links: list[_hcrs.Link], *, event_loop: Any, root_path: str, is_guess: bool = False
    ) -> None:
        #: What is served from ``start`` on.
        self.app = app
        #: A future of the loop, done when the edge has nothing more to send, or is gone.
        self.over = event_loop.create_future()
        #: The edge's end of a link has closed.
        self.edge_is_gone = False
        #: The edge has said something that a link does not know.
        self.link_is_broken = False
        #: Requests are cancelled because time is up.
        self.is_stopping = False
        self._doubt = Doubt("asgi", is_guess)
        self._links = links
        self._loop = event_loop
        self._root_path = root_path
        self._serving: list[_hcrs.AsgiLink] = []
        self._left_behind = LeftBehind(event_loop)
        self._undrained = len(links)

    def start(self, state: dict[str, Any]) -> None:
        """Tells the edge that the app is ready. ``state`` is what each request's scope gets a copy of."""
        for link in self._links:
            serving = _hcrs.AsgiLink(
                link,
                self.app,
                event_loop=self._loop,
                root_path=self._root_path,
                state=state,
                drained=self._on_drained,
                gone=self._on_gone,
                failed=self._on_failed,
                left=self._left_behind.on_left,
            )
            self._serving.append(serving)
        self._left_behind.watch(self._serving)
        for serving in self._serving:
            serving.start()

    def tasks(self) -> list[Any]:
        """The tasks of requests that run."""
        return [task for serving in self._serving for task in serving.tasks()]

    async def finish(self, graceful_timeout: float) -> bool:
        """Gives the app ``graceful_timeout`` seconds for what it does after its responses; cancels the rest.

        False if there is a request that does not end even then.
        """
        self._left_behind.close()
        tasks = self.tasks()
        if tasks and not self.edge_is_gone:
            await asyncio.wait(tasks, timeout=graceful_timeout)
        self.is_stopping = True
        left = [task for task in tasks if not task.done()]
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=1)
        has_finished = all(task.done() for task in tasks)
        if has_finished:
            await asyncio.sleep(0)  # what is to be done about tasks that have ended is done first
            self._say_finished()
        self._serving.clear()  # they hold on to this object as well
        return has_finished

    def _say_finished(self) -> None:
        """Tells the edge that every request has been ended."""
        if not self.edge_is_gone:
            for serving in self._serving:
                serving.finish()

    def _on_drained(self) -> None:
        self._undrained -= 1
        if self._undrained == 0 and not self.over.done():
            self.over.set_result(None)

    def _on_gone(self, why: BaseException | None) -> None:
        if why is not None:
            self.link_is_broken = True
            log.error("The link to the edge is broken", exc_info=why)
        self.edge_is_gone = True
        if not self.over.done():
            self.over.set_result(None)

    def _on_failed(self, error: BaseException | None, has_left: bool) -> None:
        if self.is_stopping and isinstance(error, asyncio.CancelledError):
            return  # by finish
        if has_left and (error is None or is_farewell(error)):
            log.debug("The app has ended because its client has left: %r", error)
        elif error is None:
            log.error("Error in ASGI Framework: the app has returned without completing its response")
        else:
            log.error("Error in ASGI Framework", exc_info=error)
            self._doubt.look_at(error)


class WsgiServing:
    """Serves an app on links, in a pool of threads."""

    def __init__(
        self,
        app: Any,
        links: list[_hcrs.Link],
        *,
        root_path: str,
        threads: int,
        max_body_size: int,
        multiprocess: bool,
        is_guess: bool = False,
    ) -> None:
        self._doubt = Doubt("wsgi", is_guess)
        self._server = _hcrs.WsgiServer(
            links,
            app,
            root_path=root_path,
            max_body_size=max_body_size,
            spool_folder=spool_folder(),
            errors=ErrorStream(log),
            multithread=threads > 1,
            multiprocess=multiprocess,
            failed=self._on_failed,
        )
        self._threads = [
            threading.Thread(target=self._work, name=f"hcrs-wsgi-{number}", daemon=True)
            for number in range(1, threads + 1)
        ]

    def start(self) -> None:
        """Tells the edge that the app is ready."""
        for thread in self._threads:
            thread.start()
        self._server.start()

    def wait(self) -> bool:
        """Blocks until the edge has nothing more to send (True), or is gone (False)."""
        try:
            return self._server.wait()
        except RuntimeError as error:
            log.error("The link to the edge is broken: %s", error)
            return False

    def has_free_thread(self) -> bool:
        """Whether a thread is free, or waits for a client and not for the app."""
        return self._server.has_free_thread()

    def finish(self, timeout: float) -> bool:
        """Blocks until the threads have ended, ``timeout`` seconds at most; False if one still runs a request."""
        deadline = time.monotonic() + timeout
        self._server.close(timeout)
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        if any(thread.is_alive() for thread in self._threads):
            log.warning("Leaving requests behind that did not end in time")
            return False
        self._server.finish()
        return True

    def _work(self) -> None:
        while True:
            try:
                return self._server.work()
            except BaseException:
                log.exception("Error in the WSGI pool")

    def _on_failed(self, error: BaseException | None, has_left: bool) -> None:
        if has_left and (error is None or is_farewell(error)):
            log.debug("The app has ended because its client has left: %r", error)
        elif error is None:
            log.error("Error in WSGI Framework: the app has returned without completing its response")
        else:
            log.error("Error in WSGI Framework", exc_info=error)
            self._doubt.look_at(error)


def spool_folder() -> str | None:
    """Where request bodies are kept until they are whole; None if the system has no folder for temporary files."""
    try:
        return tempfile.gettempdir()
    except FileNotFoundError:
        return None


class Doubt:
    """Says once that the app may speak something else than was seen, when it fails like one that does."""

    def __init__(self, interface: Interface, is_guess: bool) -> None:
        self._interface = interface
        self._is_open = is_guess

    def look_at(self, error: BaseException) -> None:
        """Takes a failure of the app into account: the wrong arguments or result, seen where the app is called."""
        if not self._is_open or not isinstance(error, TypeError):
            return
        trace = error.__traceback__
        if trace is not None and trace.tb_next is not None:
            return  # raised deep in an app that was called rightly
        self._is_open = False
        other = "wsgi" if self._interface == "asgi" else "asgi"
        log.error(
            "The app was taken for %s by what is seen of it. If it speaks %s, say so: '%s:MODULE:APP', or mode='%s' of"
            " serve()",
            self._interface.upper(),
            other.upper(),
            other,
            other,
        )
