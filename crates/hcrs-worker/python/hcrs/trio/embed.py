"""``hcrs.trio.serve``: an app of the calling program, served on its trio event loop."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, Literal

import trio

from hcrs import _hcrs
from hcrs.app_interface import ServableApp
from hcrs.config import Config
from hcrs.edge import END_POLL, END_TIMEOUT, Edge, LinkMessage, RunningMessage
from hcrs.embed import DRAIN_SLACK, ErrorLog, app_name, detect_app, new_wsgi_runner, warn_of_ignored_settings
from hcrs.trio.event_loop import Future, TrioLoop
from hcrs.trio.lifespan import TrioLifespan
from hcrs.trio.runner import TrioRunner
from hcrs.typing import Framework

__all__ = ["serve"]


async def serve(
    app: Framework,
    config: Config,
    *,
    shutdown_trigger: Callable[..., Awaitable[Any]] | None = None,
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
    mode: Literal["asgi", "wsgi"] | None = None,
) -> None:
    """Serves ``app`` until ``shutdown_trigger()`` completes; without a trigger, until cancelled or until Ctrl-C.

    Then requests finish within ``config.graceful_timeout``, and the app's lifespan shutdown follows. Cancellation has
    the same effect, and a second Ctrl-C cuts off the requests in flight. No signal handlers are installed.

    ``await nursery.start(serve, app, config)`` returns the URLs of all listeners once clients are served, which for
    port 0 contain the port that was chosen. ``mode`` is the app's interface, if its signature does not show it.

    Raises the exceptions of ``hcrs.asyncio.serve``, not wrapped in an exception group. Trio waits for the task of each
    request, so a task that shields itself from cancellation delays the return.
    """
    warn_of_ignored_settings(config)
    servable = detect_app(app, mode)
    with ErrorLog(config), contextlib.closing(_EdgeEvents(Edge(config, app_name(app)))) as edge:
        links = await edge.links()
        session = _Session(servable, links, config, edge, shutdown_trigger, task_status)
        await session.run(session.serve_asgi if servable.interface == "asgi" else session.serve_wsgi)


class _EdgeEvents:
    """The messages of the edge and its end, awaited by tasks."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge
        self.stop = edge.stop
        self.close = edge.close

    async def _next(self) -> LinkMessage | RunningMessage | None:
        while True:
            try:
                return self._edge.receive()
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self._edge.socket)

    async def links(self) -> list[_hcrs.Link]:
        """Waits for all links."""
        links: list[_hcrs.Link] = []
        while isinstance(message := await self._next(), LinkMessage):
            links.append(_hcrs.Link(message.socket, message.memory))
            if len(links) == message.links:
                return links
        raise self._edge.lost()

    async def running(self) -> list[str]:
        """Waits until clients are served. Returns the URLs of the listeners."""
        message = await self._next()
        if isinstance(message, RunningMessage):
            return message.addresses
        raise self._edge.lost()

    async def end(self) -> None:
        """Waits until the edge's process has exited. Raises ``EdgeLostError`` if nothing has asked it to."""
        with trio.move_on_after(END_TIMEOUT), contextlib.suppress(OSError, ValueError):
            while await self._next() is not None:
                pass
        with trio.move_on_after(END_TIMEOUT):
            while self._edge.poll() is None:
                await trio.sleep(END_POLL)
        self._edge.check_end()


class _Session:
    """One call of ``serve``."""

    def __init__(
        self,
        app: ServableApp,
        links: list[_hcrs.Link],
        config: Config,
        edge: _EdgeEvents,
        trigger: Callable[..., Awaitable[Any]] | None,
        task_status: trio.TaskStatus[list[str]],
    ) -> None:
        self._app = app
        self._links = links
        self._config = config
        self._edge = edge
        self._trigger = trigger
        self._task_status = task_status
        self._has_drained = False

    async def run(self, serve: Callable[[trio.Nursery], Awaitable[None]]) -> None:
        """Runs ``serve`` with a nursery that outlives the caller's cancellation, so that requests can finish."""
        failure: BaseException | None = None
        try:
            async with trio.open_nursery() as outer:
                nursery = await outer.start(_shielded)
                try:
                    await serve(nursery)
                except (Exception, KeyboardInterrupt) as error:
                    failure = error  # raised outside of the nursery, which would wrap it in a group
                finally:
                    nursery.cancel_scope.cancel()
            if failure is not None:
                raise failure
        finally:
            if self._has_drained:  # the edge exits by itself then, after it has written its logs
                with trio.CancelScope(shield=True):
                    await self._edge.end()

    async def serve_asgi(self, nursery: trio.Nursery) -> None:
        """Serves an ASGI app."""
        lifespan = TrioLifespan(self._app.app, nursery)
        loop = TrioLoop()
        loop.run_in(nursery)
        runner = TrioRunner(self._app, self._links, event_loop=loop, root_path=self._config.root_path)
        try:
            await lifespan.startup(self._config.startup_timeout)
            try:
                runner.start(lifespan.state)
                try:
                    await self._wait_for_stop(nursery, runner.over)
                finally:
                    with trio.CancelScope(shield=True):
                        try:
                            await self._drain(runner.over)
                        finally:
                            await runner.finish()
            finally:
                with trio.CancelScope(shield=True):
                    await lifespan.shutdown(self._config.shutdown_timeout)
        finally:
            with trio.CancelScope(shield=True):
                await lifespan.end()

    async def serve_wsgi(self, nursery: trio.Nursery) -> None:
        """Serves a WSGI app."""
        runner = new_wsgi_runner(self._app, self._links, self._config)
        over = Future()

        async def wait() -> None:
            await _in_thread(runner.wait)
            over.set_result(None)

        runner.start()
        nursery.start_soon(wait)
        try:
            await self._wait_for_stop(nursery, over)
        finally:
            with trio.CancelScope(shield=True):
                await self._drain(over)
                await _in_thread(runner.finish)

    async def _wait_for_stop(self, nursery: trio.Nursery, over: Future) -> None:
        """Waits for the trigger, for Ctrl-C, or for the end of the edge."""
        stop = trio.Event()
        failures: list[Exception] = []

        async def until(wait: Callable[..., Awaitable[Any]]) -> None:
            try:
                await wait()
            except Exception as error:
                failures.append(error)
            stop.set()

        async def running() -> None:
            self._task_status.started(await self._edge.running())
            await trio.sleep_forever()

        for wait in (over.wait, running, self._trigger):
            if wait is not None:
                nursery.start_soon(until, wait)
        with contextlib.suppress(KeyboardInterrupt):
            await stop.wait()
        if failures:
            raise failures[0]

    async def _drain(self, over: Future) -> None:
        if not over.done():
            self._edge.stop()
            with trio.move_on_after(self._config.graceful_timeout + DRAIN_SLACK):
                await over.wait()
        self._has_drained = True


async def _shielded(*, task_status: trio.TaskStatus[trio.Nursery]) -> None:
    with trio.CancelScope(shield=True):
        async with trio.open_nursery() as nursery:
            task_status.started(nursery)
            await trio.sleep_forever()


async def _in_thread(work: Callable[[], object]) -> None:
    """Runs ``work`` in a thread beyond those of trio's default limit, which the app may use up."""
    await trio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=trio.CapacityLimiter(1))
