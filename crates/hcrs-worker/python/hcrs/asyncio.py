"""Serves an app from within a program, on its asyncio event loop.

    import asyncio
    from hcrs.asyncio import serve
    from hcrs.config import Config

    asyncio.run(serve(app, Config()))

The app runs in the calling process, so it may use closures and objects of the program. Clients' connections, TLS and
HTTP are handled by a child process, the edge, which exits with the calling process.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Literal, TypeVar

from hcrs import _hcrs
from hcrs.app_interface import ServableApp
from hcrs.asgi_runner import AsgiRunner
from hcrs.config import Config
from hcrs.edge import END_POLL, END_TIMEOUT, Edge, LinkMessage, RunningMessage
from hcrs.embed import DRAIN_SLACK, ErrorLog, app_name, detect_app, new_wsgi_runner, warn_of_ignored_settings
from hcrs.lifespan import Lifespan
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
    task has the same effect. Signals are handled only in the main thread, and a second one cuts off the requests in
    flight.

    ``mode`` is the app's interface, if its signature does not show it. ``on_listening`` is called with the URLs of all
    listeners once clients are served, which for port 0 contain the port that was chosen.

    Raises ``EdgeStartError`` (an ``OSError``) if the server cannot start, as when an address cannot be bound,
    ``ConfigError`` (a ``ValueError``) if the configuration is wrong, ``LifespanFailureError`` or
    ``LifespanTimeoutError`` if the app's startup or shutdown fails, and ``EdgeLostError`` if the server's process dies.

    The app has one process: ``config.workers`` and other settings of worker processes have no effect.
    """
    warn_of_ignored_settings(config)
    servable = detect_app(app, mode)
    with ErrorLog(config), contextlib.closing(_EdgeEvents(Edge(config, app_name(app)))) as edge:
        links = await edge.links
        with _stop_signals(shutdown_trigger is None, edge) as stop:
            trigger = stop.wait if shutdown_trigger is None else shutdown_trigger
            session = _Session(config, edge, trigger, on_listening)
            try:
                await (session.serve_asgi if servable.interface == "asgi" else session.serve_wsgi)(servable, links)
            finally:
                await session.end()


class _EdgeEvents:
    """The messages of the edge and its end, as futures of the event loop."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge
        self._loop = asyncio.get_running_loop()
        self._links: list[_hcrs.Link] = []
        #: All links, once they have arrived.
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
            self._settle(error)
            return
        if isinstance(message, LinkMessage):
            self._links.append(_hcrs.Link(message.socket, message.memory))
            if len(self._links) == message.links and not self.links.done():
                self.links.set_result(self._links)
        elif isinstance(message, RunningMessage):
            if not self.running.done():
                self.running.set_result(message.addresses)
        else:
            self._settle(None)

    def _settle(self, error: Exception | None) -> None:
        self._loop.remove_reader(self._edge.socket.fileno())
        if not self.links.done() or not self.running.done():
            error = error or self._edge.lost()
        for future in (self.links, self.running):
            if error is not None and not future.done():
                future.set_exception(error)
                future.exception()  # marks it as retrieved; serve may have returned already
        if not self.closed.done():
            self.closed.set_result(None)

    def stop(self) -> None:
        """Requests the edge to drain and exit. A second request cuts off the requests in flight."""
        self._edge.stop()

    async def end(self) -> None:
        """Waits until the edge's process has exited. Raises ``EdgeLostError`` if nothing has asked it to."""
        await asyncio.wait([self.closed], timeout=END_TIMEOUT)
        deadline = self._loop.time() + END_TIMEOUT
        while self._edge.poll() is None and self._loop.time() < deadline:
            await asyncio.sleep(END_POLL)
        self._edge.check_end()

    def close(self) -> None:
        """Kills the edge if it is still running."""
        self._loop.remove_reader(self._edge.socket.fileno())
        for future in (self.links, self.running, self.closed):
            future.cancel()
        self._edge.close()


class _Session:
    """One call of ``serve``."""

    def __init__(
        self,
        config: Config,
        edge: _EdgeEvents,
        trigger: Callable[..., Awaitable[Any]],
        on_listening: Callable[[list[str]], object] | None,
    ) -> None:
        self._config = config
        self._edge = edge
        self._trigger = trigger
        self._on_listening = on_listening
        self._has_drained = False

    async def serve_asgi(self, app: ServableApp, links: list[_hcrs.Link]) -> None:
        lifespan = Lifespan(app.app)
        await lifespan.startup(self._config.startup_timeout)
        loop = asyncio.get_running_loop()
        runner = AsgiRunner(app, links, event_loop=loop, root_path=self._config.root_path)
        try:
            runner.start(lifespan.state)
            try:
                await self._wait_for_stop(runner.over)
            finally:
                try:
                    await self._drain(runner.over)
                finally:
                    # If the task was cancelled once more, the edge has not drained and requests get no more time.
                    await runner.finish()
        finally:
            await lifespan.shutdown(self._config.shutdown_timeout)

    async def serve_wsgi(self, app: ServableApp, links: list[_hcrs.Link]) -> None:
        runner = new_wsgi_runner(app, links, self._config)
        runner.start()
        drained = _in_thread(runner.wait)
        over = asyncio.ensure_future(_finished(drained))
        try:
            await self._wait_for_stop(over)
        finally:
            await self._drain(over)
            await _in_thread(runner.finish)

    async def end(self) -> None:
        """Waits until an edge that has drained exits by itself, after it has written its logs."""
        if self._has_drained:
            await self._edge.end()

    async def _wait_for_stop(self, over: asyncio.Future[None]) -> None:
        """Waits for the trigger, or for the end of the edge."""
        trigger = asyncio.ensure_future(_awaited(self._trigger))
        running = self._edge.running
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
            self._edge.stop()
            await asyncio.wait([over], timeout=self._config.graceful_timeout + DRAIN_SLACK)
        self._has_drained = True


async def _awaited(trigger: Callable[..., Awaitable[Any]]) -> None:
    await trigger()


async def _finished(future: asyncio.Future[Any]) -> None:
    await asyncio.shield(future)


def _in_thread(work: Callable[[], T]) -> asyncio.Future[T]:
    """Runs ``work`` in a thread of its own, because the app may have filled the loop's thread pool."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def set_result(result: T) -> None:
        if not future.done():
            future.set_result(result)

    def run() -> None:
        result = work()
        with contextlib.suppress(RuntimeError):  # the loop is closed, so no task waits any more
            loop.call_soon_threadsafe(set_result, result)

    threading.Thread(target=run, name="hcrs-serve", daemon=True).start()
    return future


@contextlib.contextmanager
def _stop_signals(wanted: bool, edge: _EdgeEvents) -> Iterator[asyncio.Event]:
    """Provides an event that SIGINT and SIGTERM set if ``wanted``. A second signal stops the edge at once."""
    stop = asyncio.Event()
    if not wanted or threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def on_signal() -> None:
        if stop.is_set():
            edge.stop()  # for the second time
        stop.set()

    signals = _Signals.of(asyncio.get_running_loop())
    signals.callbacks.append(on_signal)
    try:
        yield stop
    finally:
        signals.callbacks.remove(on_signal)
        signals.restore_if_unused()


class _Signals:
    """The handlers of SIGINT and SIGTERM on one loop, shared by all calls of ``serve`` on it."""

    _current: _Signals | None = None

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.callbacks: list[Callable[[], None]] = []
        self._loop = loop
        self._before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        for number in self._before:
            loop.add_signal_handler(number, self._call_back)

    @classmethod
    def of(cls, loop: asyncio.AbstractEventLoop) -> _Signals:
        """Returns the handlers of ``loop``, which are installed by the first call."""
        if cls._current is None or cls._current._loop is not loop:
            cls._current = cls(loop)
        return cls._current

    def _call_back(self) -> None:
        for callback in list(self.callbacks):
            callback()

    def restore_if_unused(self) -> None:
        """Restores the previous handlers if no call of ``serve`` needs these any more."""
        if self.callbacks:
            return
        for number, handler in self._before.items():
            self._loop.remove_signal_handler(number)
            if handler is not None:  # None stands for a handler that Python has not installed
                signal.signal(number, handler)
        type(self)._current = None
