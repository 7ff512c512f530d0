"""An ASGI app that runs on the links of an edge, in a worker or in a program that calls ``serve``."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

from hcrs import _hcrs
from hcrs.app_interface import ServableApp, WrongInterfaceHint
from hcrs.client_disconnects import AbandonedTaskMonitor, is_disconnect_error
from hcrs.request_summary import log_abandoned, request_line, summary

log = logging.getLogger("hcrs.error")

#: Seconds that a request has to end after it was cancelled.
CANCEL_PATIENCE = 1.0


class AsgiRunner:
    """An ASGI app on one event loop, between lifespan startup and lifespan shutdown."""

    def __init__(
        self,
        app: ServableApp,
        links: list[_hcrs.Link],
        *,
        event_loop: Any,
        root_path: str,
        on_stopping: Callable[[int], object] | None = None,
    ) -> None:
        """``on_stopping`` is called once, with the number of the signal for which the process is to end."""
        #: The callable that each request runs.
        self.app = self._adapt(app.app)
        #: A future of the loop, done when the edge has nothing more to send, or is gone.
        self.over = event_loop.create_future()
        #: Whether the edge's end of a link has closed.
        self.edge_is_gone = False
        #: Whether the edge has broken the protocol of a link.
        self.link_is_broken = False
        #: Whether requests are being cancelled because their time is up.
        self.is_cancelling = False
        self._hint = WrongInterfaceHint("asgi", app.is_guess)
        self._links = links
        self._loop = event_loop
        self._root_path = root_path
        self._asgi_links: list[_hcrs.AsgiLink] = []
        self._abandoned = AbandonedTaskMonitor(event_loop)
        self._notify_stopping = on_stopping
        self._undrained = len(links)
        self._until = 0.0

    def start(self, state: dict[str, Any]) -> None:
        """Starts serving and reports to the edge that the app is ready. Each scope gets a copy of ``state``."""
        for link in self._links:
            asgi_link = _hcrs.AsgiLink(
                link,
                self.app,
                event_loop=self._loop,
                root_path=self._root_path,
                state=state,
                on_stopping=self._on_stopping,
                on_drained=self._on_drained,
                on_gone=self._on_gone,
                on_failed=self._on_failed,
                on_client_left=self._abandoned.on_client_left,
            )
            self._asgi_links.append(asgi_link)
        self._abandoned.watch(self._asgi_links)
        for asgi_link in self._asgi_links:
            asgi_link.start()

    def tasks(self) -> dict[Any, dict[str, Any]]:
        """Returns the running tasks of requests, with their scopes."""
        return {task: scope for link in self._asgi_links for task, scope in link.tasks().items()}

    def time_left(self) -> float:
        """Returns the seconds that the edge has left for the app's remaining work: none if it has not drained."""
        return 0.0 if self.edge_is_gone else max(0.0, self._until - time.monotonic())

    async def finish(self) -> bool:
        """Waits for the tasks that run on after their responses until the edge's time is up, then cancels them.

        Tasks that wait for a message of a WebSocket that has ended are cancelled at once. Returns whether all tasks
        have ended.
        """
        self._abandoned.close()
        tasks = self.tasks()
        for link in self._asgi_links:
            for task in link.tasks_waiting_in_vain():
                task.cancel()
        if tasks:
            await self._wait(list(tasks), self.time_left())
        self.is_cancelling = True
        running = [task for task in tasks if not task.done()]
        self._log_cut_off([tasks[task] for task in running])
        for task in running:
            task.cancel()
        if running:
            await self._wait(running, CANCEL_PATIENCE)
        return await self._report_end([scope for task, scope in tasks.items() if not task.done()])

    def _adapt(self, app: Any) -> Any:
        return app

    async def _wait(self, tasks: list[Any], timeout: float) -> None:
        await asyncio.wait(tasks, timeout=timeout)

    async def _yield_turn(self) -> None:
        await asyncio.sleep(0)

    def _log_cut_off(self, scopes: list[dict[str, Any]]) -> None:
        if scopes and not self.edge_is_gone:
            tasks = "1 task of a request was" if len(scopes) == 1 else f"{len(scopes)} tasks of requests were"
            log.warning("%s cut off at the end of the drain: %s", tasks, summary(map(request_line, scopes)))

    async def _report_end(self, unfinished: list[dict[str, Any]]) -> bool:
        """Reports the end of the requests to the edge. Returns whether all tasks have ended."""
        if unfinished:
            log_abandoned([request_line(scope) for scope in unfinished])
        await self._yield_turn()  # for the callbacks of tasks that have ended
        if not self.edge_is_gone:
            for link in self._asgi_links:
                link.finish(not unfinished)
        self._asgi_links.clear()  # they hold references to this object
        return not unfinished

    def _on_stopping(self, number: int) -> None:
        notify, self._notify_stopping = self._notify_stopping, None  # each link reports it
        if notify is not None:
            notify(number)

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

    def _on_failed(self, error: BaseException | None, client_has_left: bool) -> None:
        if self.is_cancelling and isinstance(error, asyncio.CancelledError):
            return  # cancelled by finish
        if client_has_left and (error is None or is_disconnect_error(error)):
            log.debug("The app has ended because its client has disconnected: %r", error)
        elif error is None:
            log.error("Error in ASGI Framework: the app has returned without completing its response")
        else:
            log.error("Error in ASGI Framework", exc_info=error)
            self._hint.check(error)
