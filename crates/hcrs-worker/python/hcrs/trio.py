"""Serves an app from within a program, on its trio event loop.

    import trio
    from hcrs.config import Config
    from hcrs.trio import serve

    trio.run(serve, app, Config())

The app runs in the calling process, as it does with ``hcrs.asyncio.serve``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, Literal

import trio

from hcrs import _hcrs
from hcrs.calling import DRAIN_SLACK, ErrorLog, app_name, known, warn_of_settings, wsgi_serving
from hcrs.config import Config
from hcrs.edge import END_POLL, END_TIMEOUT, Edge, LinkMessage, RunningMessage
from hcrs.interface import KnownApp
from hcrs.trio_lifespan import TrioLifespan
from hcrs.trio_loop import Future, TrioLoop
from hcrs.trio_serving import TrioServing
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
    """Serves ``app`` until ``shutdown_trigger()`` completes; without one, until it is cancelled or by Ctrl-C.

    Then requests finish within ``config.graceful_timeout``, and the app's lifespan shutdown follows; to be cancelled
    has the same effect, and a second Ctrl-C cuts off what is under way. No signal handlers are installed.

    ``await nursery.start(serve, app, config)`` gives the URLs of all listeners once clients are served: with a port of
    0, that is where the real one is found. ``mode`` says what the app speaks, if it cannot be told by looking at it.

    Raises what ``hcrs.asyncio.serve`` does, and not in an exception group. Trio waits for each request's task: one that
    shields itself against being cancelled holds up the end.
    """
    warn_of_settings(config)
    served = known(app, mode)
    with ErrorLog(config), contextlib.closing(_Calling(Edge(config, app_name(app)))) as calling:
        links = await calling.links()
        session = _Session(served, links, config, calling, shutdown_trigger, task_status)
        await session.run(session.serve_asgi if served.interface == "asgi" else session.serve_wsgi)


class _Calling:
    """The edge as a task sees it."""

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
        """All links, once they have come."""
        links: list[_hcrs.Link] = []
        while isinstance(message := await self._next(), LinkMessage):
            links.append(_hcrs.Link(message.socket, message.memory))
            if len(links) == message.links:
                return links
        raise self._edge.lost()

    async def running(self) -> list[str]:
        """The URLs of the listeners, once clients are served."""
        message = await self._next()
        if isinstance(message, RunningMessage):
            return message.addresses
        raise self._edge.lost()

    async def end(self) -> None:
        """Waits until the edge's process has ended. Raises ``EdgeLostError`` if it did so by itself."""
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
        app: KnownApp,
        links: list[_hcrs.Link],
        config: Config,
        calling: _Calling,
        trigger: Callable[..., Awaitable[Any]] | None,
        task_status: trio.TaskStatus[list[str]],
    ) -> None:
        self._app = app
        self._links = links
        self._config = config
        self._calling = calling
        self._trigger = trigger
        self._task_status = task_status
        self._has_drained = False

    async def run(self, serve: Callable[[trio.Nursery], Awaitable[None]]) -> None:
        """Runs it with a nursery that outlives the caller's cancellation, so that requests can finish."""
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
            if self._has_drained:  # then the edge ends by itself, and writes its logs to their end
                with trio.CancelScope(shield=True):
                    await self._calling.end()

    async def serve_asgi(self, nursery: trio.Nursery) -> None:
        """Serves an ASGI app."""
        lifespan = TrioLifespan(self._app.app, nursery)
        loop = TrioLoop()
        loop.run_in(nursery)
        app = self._app
        serving = TrioServing(
            app.app, self._links, event_loop=loop, root_path=self._config.root_path, is_guess=app.is_guess
        )
        try:
            await lifespan.startup(self._config.startup_timeout)
            try:
                serving.start(lifespan.state)
                try:
                    await self._until_over(nursery, serving.over)
                finally:
                    with trio.CancelScope(shield=True):
                        try:
                            await self._drain(serving.over)
                        finally:
                            await serving.finish()
            finally:
                with trio.CancelScope(shield=True):
                    await lifespan.shutdown(self._config.shutdown_timeout)
        finally:
            with trio.CancelScope(shield=True):
                await lifespan.end()

    async def serve_wsgi(self, nursery: trio.Nursery) -> None:
        """Serves a WSGI app."""
        serving = wsgi_serving(self._app, self._links, self._config)
        over = Future()

        async def wait() -> None:
            await _in_thread(serving.wait)
            over.set_result(None)

        serving.start()
        nursery.start_soon(wait)
        try:
            await self._until_over(nursery, over)
        finally:
            with trio.CancelScope(shield=True):
                await self._drain(over)
                await _in_thread(serving.finish)

    async def _until_over(self, nursery: trio.Nursery, over: Future) -> None:
        """Waits for the trigger, or for the edge to end by itself, or for Ctrl-C."""
        stop = trio.Event()
        failures: list[Exception] = []

        async def until(wait: Callable[..., Awaitable[Any]]) -> None:
            try:
                await wait()
            except Exception as error:
                failures.append(error)
            stop.set()

        async def running() -> None:
            self._task_status.started(await self._calling.running())
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
            self._calling.stop()
            with trio.move_on_after(self._config.graceful_timeout + DRAIN_SLACK):
                await over.wait()
        self._has_drained = True


async def _shielded(*, task_status: trio.TaskStatus[trio.Nursery]) -> None:
    with trio.CancelScope(shield=True):
        async with trio.open_nursery() as nursery:
            task_status.started(nursery)
            await trio.sleep_forever()


async def _in_thread(work: Callable[[], object]) -> None:
    """Runs ``work`` in a thread beside those that the app may use up."""
    await trio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=trio.CapacityLimiter(1))
