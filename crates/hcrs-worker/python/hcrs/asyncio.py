"""Serves an app from within a program, on its asyncio event loop.

    import asyncio
    from hcrs.asyncio import serve
    from hcrs.config import Config

    asyncio.run(serve(app, Config()))

The app runs in the calling process, as it is: closures and objects that live there work. Clients' connections, TLS and
HTTP are in a process beside it, the edge, which ends with the calling one.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Literal, TypeVar

from hcrs import _hcrs
from hcrs.calling import DRAIN_SLACK, ErrorLog, app_name, known, warn_of_settings, wsgi_serving
from hcrs.config import Config
from hcrs.edge import END_POLL, END_TIMEOUT, Edge, LinkMessage, RunningMessage
from hcrs.interface import KnownApp
from hcrs.lifespan import Lifespan
from hcrs.serving import AsgiServing
from hcrs.typing import Framework

__all__ = ["serve"]

T = TypeVar("T")


async def serve(
    app: Framework,
    config: Config,
    *,
    shutdown_trigger: Callable[..., Awaitable[Any]] | None = None,
    mode: Literal["asgi", "wsgi"] | None = None,
    on_listening: Callable[[list[str]], object] | None = None,
) -> None:
    """Serves ``app`` until ``shutdown_trigger()`` completes, or until SIGINT or SIGTERM if there is none.

    Then requests finish within ``config.graceful_timeout``, and the app's lifespan shutdown follows. Cancelling the
    task that serves has the same effect. Signals are only watched by the main thread, and a second one cuts off what is
    under way.

    ``mode`` says what the app speaks, if it cannot be told by looking at it. ``on_listening`` is called with the URLs of
    all listeners once clients are served: with a port of 0, that is where the real one is found.

    Raises ``EdgeStartError`` (an ``OSError``) if an address cannot be bound or the like, ``ConfigError`` (a ``ValueError``)
    if the configuration is wrong, ``LifespanFailureError`` or ``LifespanTimeoutError`` if the app cannot start or end,
    and ``EdgeLostError`` if the server's process dies.

    One process serves: ``config.workers`` and what else concerns worker processes has no effect here.
    """
    warn_of_settings(config)
    served = known(app, mode)
    with ErrorLog(config), contextlib.closing(_Calling(Edge(config, app_name(app)))) as calling:
        links = await calling.links
        with _stop_signals(shutdown_trigger is None, calling) as stop:
            trigger = stop.wait if shutdown_trigger is None else shutdown_trigger
            session = _Session(config, calling, trigger, on_listening)
            try:
                await (session.serve_asgi if served.interface == "asgi" else session.serve_wsgi)(served, links)
            finally:
                await session.end()


class _Calling:
    """The edge as the event loop sees it."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge
        self._loop = asyncio.get_running_loop()
        self._links: list[_hcrs.Link] = []
        #: All links, once they have come.
        self.links: asyncio.Future[list[_hcrs.Link]] = self._loop.create_future()
        #: The URLs of the listeners, once clients are served.
        self.running: asyncio.Future[list[str]] = self._loop.create_future()
        #: Done when the edge has closed its socket.
        self.closed: asyncio.Future[None] = self._loop.create_future()
        self._loop.add_reader(edge.socket.fileno(), self._read)

    def _read(self) -> None:
        try:
            message = self._edge.receive()
        except BlockingIOError:
            return
        except (OSError, ValueError) as error:
            self._over(error)
            return
        if isinstance(message, LinkMessage):
            self._links.append(_hcrs.Link(message.socket, message.memory))
            if len(self._links) == message.links and not self.links.done():
                self.links.set_result(self._links)
        elif isinstance(message, RunningMessage):
            if not self.running.done():
                self.running.set_result(message.addresses)
        else:
            self._over(None)

    def _over(self, error: Exception | None) -> None:
        self._loop.remove_reader(self._edge.socket.fileno())
        if not self.links.done() or not self.running.done():
            error = error or self._edge.lost()
        for future in (self.links, self.running):
            if error is not None and not future.done():
                future.set_exception(error)
                future.exception()  # nobody may ask for it any more
        if not self.closed.done():
            self.closed.set_result(None)

    def stop(self) -> None:
        """Asks the edge to drain and end; asked again, it cuts off what is under way."""
        self._edge.stop()

    async def end(self) -> None:
        """Waits until the edge's process has ended. Raises ``EdgeLostError`` if it did so by itself."""
        await asyncio.wait([self.closed], timeout=END_TIMEOUT)
        deadline = self._loop.time() + END_TIMEOUT
        while self._edge.poll() is None and self._loop.time() < deadline:
            await asyncio.sleep(END_POLL)
        self._edge.check_end()

    def close(self) -> None:
        """Ends the edge at once if it still runs."""
        self._loop.remove_reader(self._edge.socket.fileno())
        for future in (self.links, self.running, self.closed):
            future.cancel()
        self._edge.close()


class _Session:
    """One call of ``serve``."""

    def __init__(
        self,
        config: Config,
        calling: _Calling,
        trigger: Callable[..., Awaitable[Any]],
        on_listening: Callable[[list[str]], object] | None,
    ) -> None:
        self._config = config
        self._calling = calling
        self._trigger = trigger
        self._on_listening = on_listening
        self._has_drained = False

    async def serve_asgi(self, app: KnownApp, links: list[_hcrs.Link]) -> None:
        lifespan = Lifespan(app.app)
        await lifespan.startup(self._config.startup_timeout)
        serving = AsgiServing(
            app.app,
            links,
            event_loop=asyncio.get_running_loop(),
            root_path=self._config.root_path,
            is_guess=app.is_guess,
        )
        try:
            serving.start(lifespan.state)
            try:
                await self._until_over(serving.over)
            finally:
                try:
                    await self._drain(serving.over)
                finally:
                    # If the task was cancelled once more, the edge has not drained and requests are not waited for.
                    await serving.finish()
        finally:
            await lifespan.shutdown(self._config.shutdown_timeout)

    async def serve_wsgi(self, app: KnownApp, links: list[_hcrs.Link]) -> None:
        serving = wsgi_serving(app, links, self._config)
        serving.start()
        drained = _in_thread(serving.wait)
        over = asyncio.ensure_future(_finished(drained))
        try:
            await self._until_over(over)
        finally:
            await self._drain(over)
            await _in_thread(serving.finish)

    async def end(self) -> None:
        """Lets an edge that has drained end by itself: it writes its logs to their end."""
        if self._has_drained:
            await self._calling.end()

    async def _until_over(self, over: asyncio.Future[None]) -> None:
        """Waits for the trigger, or for the edge to end by itself."""
        trigger = asyncio.ensure_future(_awaited(self._trigger))
        running = self._calling.running
        first: list[asyncio.Future[Any]] = [trigger, over, running]
        try:
            await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                addresses = running.result()
                if self._on_listening is not None:
                    self._on_listening(addresses)
            await asyncio.wait([trigger, over], return_when=asyncio.FIRST_COMPLETED)
            if trigger.done():
                trigger.result()
        finally:
            trigger.cancel()

    async def _drain(self, over: asyncio.Future[None]) -> None:
        if not over.done():
            self._calling.stop()
            await asyncio.wait([over], timeout=self._config.graceful_timeout + DRAIN_SLACK)
        self._has_drained = True


async def _awaited(trigger: Callable[..., Awaitable[Any]]) -> None:
    await trigger()


async def _finished(future: asyncio.Future[Any]) -> None:
    await asyncio.shield(future)


def _in_thread(work: Callable[[], T]) -> asyncio.Future[T]:
    """Runs ``work`` in a thread of its own, since the loop's pool may be full of what the app does there."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def set_result(result: T) -> None:
        if not future.done():
            future.set_result(result)

    def run() -> None:
        result = work()
        with contextlib.suppress(RuntimeError):  # the loop is closed, so nobody waits any more
            loop.call_soon_threadsafe(set_result, result)

    threading.Thread(target=run, name="hcrs-serve", daemon=True).start()
    return future


@contextlib.contextmanager
def _stop_signals(wanted: bool, calling: _Calling) -> Iterator[asyncio.Event]:
    """An event that SIGINT and SIGTERM set."""
    stop = asyncio.Event()
    if not wanted or threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def told() -> None:
        if stop.is_set():
            calling.stop()  # for the second time
        stop.set()

    signals = _Signals.of(asyncio.get_running_loop())
    signals.callbacks.append(told)
    try:
        yield stop
    finally:
        signals.callbacks.remove(told)
        signals.restore_if_unused()


class _Signals:
    """SIGINT and SIGTERM on one loop, for every call of ``serve`` on it."""

    _current: _Signals | None = None

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.callbacks: list[Callable[[], None]] = []
        self._loop = loop
        self._before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        for number in self._before:
            loop.add_signal_handler(number, self._tell)

    @classmethod
    def of(cls, loop: asyncio.AbstractEventLoop) -> _Signals:
        """Watches them, unless this is done already."""
        if cls._current is None or cls._current._loop is not loop:
            cls._current = cls(loop)
        return cls._current

    def _tell(self) -> None:
        for callback in list(self.callbacks):
            callback()

    def restore_if_unused(self) -> None:
        """Gives the signals back to what handled them before."""
        if self.callbacks:
            return
        for number, handler in self._before.items():
            self._loop.remove_signal_handler(number)
            if handler is not None:  # else it was none of Python's
                signal.signal(number, handler)
        type(self)._current = None
