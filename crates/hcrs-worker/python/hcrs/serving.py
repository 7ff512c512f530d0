"""An app on the links of an edge: what a worker and a program that calls ``serve`` share."""

from __future__ import annotations

import asyncio
import collections
import logging
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from hcrs import _hcrs
from hcrs.interface import Interface
from hcrs.leaving import LeftBehind, is_farewell
from hcrs.wsgi_errors import ErrorStream

log = logging.getLogger("hcrs.error")

#: Threads that run a WSGI app when the operator has not said how many.
WSGI_THREADS = min(32, (os.cpu_count() or 1) + 4)

#: Seconds that a request has to end after it was cancelled, or after its client was cut off.
CANCEL_PATIENCE = 1.0

#: Said of requests that do not end.
LEAVING = "Leaving requests behind that did not end in time: %d (%s)"

#: Different requests that a line of the log names.
NAMED_MAX = 10


class AsgiServing:
    """Serves an app on links, on one event loop, between lifespan startup and lifespan shutdown."""

    def __init__(
        self,
        app: Any,
        links: list[_hcrs.Link],
        *,
        event_loop: Any,
        root_path: str,
        is_guess: bool = False,
        stopping: Callable[[int], object] | None = None,
    ) -> None:
        """``stopping`` is called with the number of the signal for which the process is to end, once."""
        #: What is served from ``start`` on.
        self.app = self._adapted(app)
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
        self._stopping = stopping
        self._undrained = len(links)
        self._until = 0.0

    def start(self, state: dict[str, Any]) -> None:
        """Tells the edge that the app is ready. ``state`` is what each request's scope gets a copy of."""
        for link in self._links:
            serving = _hcrs.AsgiLink(
                link,
                self.app,
                event_loop=self._loop,
                root_path=self._root_path,
                state=state,
                stopping=self._on_stopping,
                drained=self._on_drained,
                gone=self._on_gone,
                failed=self._on_failed,
                left=self._left_behind.on_left,
            )
            self._serving.append(serving)
        self._left_behind.watch(self._serving)
        for serving in self._serving:
            serving.start()

    def tasks(self) -> dict[Any, dict[str, Any]]:
        """The tasks of requests that run, with their scopes."""
        return {task: scope for serving in self._serving for task, scope in serving.tasks().items()}

    def time_left(self) -> float:
        """Seconds that the edge has left for what the app still does: none if it has not drained."""
        return 0.0 if self.edge_is_gone else max(0.0, self._until - time.monotonic())

    async def finish(self) -> bool:
        """Lets the app do what it does after its responses until the edge's time is up; cancels the rest, and at once what waits
        for clients that have left.

        False if there is a request that does not end even then.
        """
        self._left_behind.close()
        tasks = self.tasks()
        for serving in self._serving:
            for task in serving.waiting_in_vain():
                task.cancel()
        if tasks:
            await self._wait(list(tasks), self.time_left())
        self.is_stopping = True
        left = [task for task in tasks if not task.done()]
        self._tell_cut_off([tasks[task] for task in left])
        for task in left:
            task.cancel()
        if left:
            await self._wait(left, CANCEL_PATIENCE)
        return await self._end({task: scope for task, scope in tasks.items() if not task.done()})

    def _adapted(self, app: Any) -> Any:
        return app

    async def _wait(self, tasks: list[Any], timeout: float) -> None:
        await asyncio.wait(tasks, timeout=timeout)

    async def _turn(self) -> None:
        await asyncio.sleep(0)

    def _tell_cut_off(self, scopes: list[dict[str, Any]]) -> None:
        if scopes and not self.edge_is_gone:
            tasks = "1 task of a request was" if len(scopes) == 1 else f"{len(scopes)} tasks of requests were"
            log.warning("%s cut off at the end of the drain: %s", tasks, counted(map(request_line, scopes)))

    async def _end(self, left: dict[Any, dict[str, Any]]) -> bool:
        """Tells the edge how requests have ended; false if some are ``left``."""
        if left:
            log.warning(LEAVING, len(left), counted(map(request_line, left.values())))
        await self._turn()  # what is to be done about tasks that have ended is done first
        if not self.edge_is_gone:
            for serving in self._serving:
                serving.finish(not left)
        self._serving.clear()  # they hold on to this object as well
        return not left

    def _on_stopping(self, number: int) -> None:
        stopping, self._stopping = self._stopping, None  # each link says it
        if stopping is not None:
            stopping(number)

    def _on_drained(self, left: float) -> None:
        self._until = max(self._until, time.monotonic() + left)
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
        self._until = 0.0
        self._signal: int | None = None
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

    def wait_for_signal(self) -> int | None:
        """Blocks until the process is to end; gives the signal for which it is, or None if the edge is gone.

        It is another thread that waits for the edge: only between two steps of the main thread does Python call the handlers of
        signals, which the app may have.
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
        """Whether a thread is free, or waits for a client and not for the app."""
        return self._server.has_free_thread()

    def finish(self) -> bool:
        """Blocks until the threads have ended, or the edge's time is up; False if one still runs a request."""
        # Those whose clients were cut off notice when they read or write.
        deadline = max(self._until, time.monotonic() + CANCEL_PATIENCE)
        self._server.close(deadline - time.monotonic())
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        has_finished = not any(thread.is_alive() for thread in self._threads)
        if not has_finished:
            left = self._server.left()
            log.warning(LEAVING, len(left), counted(left))
        self._server.finish(has_finished)
        return has_finished

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


def request_line(scope: dict[str, Any]) -> str:
    """What a scope asks for, as in ``GET /mail``."""
    return f"{scope.get('method') or 'WebSocket'} {scope.get('path')}"


def counted(names: Iterable[str]) -> str:
    """The names in order of their numbers, as in ``GET /mail (2), GET /report``."""
    counts = collections.Counter(names).most_common()
    texts = [name if number == 1 else f"{name} ({number})" for name, number in counts[:NAMED_MAX]]
    if len(counts) > NAMED_MAX:
        texts.append(f"{len(counts) - NAMED_MAX} others")
    return ", ".join(texts)


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
