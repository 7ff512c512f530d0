"""The part of asyncio's event loop that a link needs, on trio.

A link calls a few methods of asyncio's loops, futures and tasks. The classes here implement them by trio's nurseries,
cancel scopes and ``wait_readable``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import trio

log = logging.getLogger("hcrs.error")
App = Callable[..., Coroutine[Any, Any, None]]


class Future:
    """An event that tasks wait for, set once."""

    def __init__(self) -> None:
        self._event = trio.Event()

    def done(self) -> bool:
        """Returns whether the future is set."""
        return self._event.is_set()

    def set_result(self, _result: None) -> None:
        """Sets the future, which wakes its waiters."""
        self._event.set()

    async def wait(self) -> None:
        """Waits until the future is set."""
        await self._event.wait()


class Task:
    """The task of a request, in the nursery."""

    def __init__(self) -> None:
        self._scope = trio.CancelScope()
        self._ended = trio.Event()
        self._error: BaseException | None = None
        self._callbacks: list[Callable[[Task], object]] = []

    @trio.lowlevel.enable_ki_protection  # Ctrl-C is for the program, not for the request that is running
    async def run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Runs the coroutine as the body of the task. An exception is stored and does not cancel the other tasks."""
        try:
            with self._scope:
                await coroutine
            if self._scope.cancelled_caught:
                self._error = asyncio.CancelledError()
        except trio.Cancelled:
            self._error = asyncio.CancelledError()
            raise
        except BaseException as error:
            self._error = error
        finally:
            self._ended.set()
            for callback in self._callbacks:
                call_and_log(callback, self)

    def done(self) -> bool:
        """Returns whether the task has ended."""
        return self._ended.is_set()

    def exception(self) -> BaseException | None:
        """Returns the exception that the app has raised, if any."""
        return self._error

    def add_done_callback(self, callback: Callable[[Task], object]) -> None:
        """Calls ``callback`` with the task once the task has ended."""
        self._callbacks.append(callback)

    def cancel(self) -> None:
        """Cancels the task."""
        self._scope.cancel()

    async def wait(self) -> None:
        """Waits until the task has ended."""
        await self._ended.wait()


class Timer:
    """A delayed call of a callback."""

    def __init__(self) -> None:
        self._scope = trio.CancelScope()

    async def run(self, delay: float, callback: Callable[..., object], arguments: tuple[object, ...]) -> None:
        """Calls the callback after ``delay`` seconds, as the body of the timer's task."""
        with self._scope:
            await trio.sleep(delay)
            call_and_log(callback, *arguments)

    def cancel(self) -> None:
        """Cancels the call."""
        self._scope.cancel()


class TrioLoop:
    """An event loop for links, whose callbacks and tasks run in one nursery."""

    nursery: trio.Nursery

    def __init__(self) -> None:
        self._watches: dict[tuple[str, int], trio.CancelScope] = {}
        self._token: trio.lowlevel.TrioToken | None = None

    def run_in(self, nursery: trio.Nursery) -> None:
        """Sets the nursery. Must be called within trio's loop, before any other method but ``create_future``."""
        self.nursery = nursery
        self._token = trio.lowlevel.current_trio_token()

    def create_future(self) -> Future:
        """Creates a future for a ``receive`` or ``send`` to wait for."""
        return Future()

    def get_task_factory(self) -> Callable[[Coroutine[Any, Any, None]], Task]:
        """Returns :meth:`create_task`, so that links do not start tasks of asyncio."""
        return self.create_task

    def create_task(self, coroutine: Coroutine[Any, Any, None]) -> Task:
        """Starts a task with a context of its own."""
        task = Task()
        self.nursery.start_soon(task.run, coroutine, name="hcrs.request")
        return task

    def call_soon(self, callback: Callable[[], object]) -> None:
        """Calls ``callback`` in the next turn of the loop."""
        trio.lowlevel.current_trio_token().run_sync_soon(call_and_log, callback)

    def call_later(self, delay: float, callback: Callable[..., object], *arguments: object) -> Timer:
        """Calls ``callback`` after ``delay`` seconds."""
        timer = Timer()
        self.nursery.start_soon(timer.run, delay, callback, arguments, name="hcrs.timer")
        return timer

    def call_soon_threadsafe(self, callback: Callable[[], object]) -> None:
        """Calls ``callback`` in the next turn, from any thread. Raises ``RuntimeError`` if trio is not running."""
        if self._token is None:
            raise RuntimeError("trio is not running yet")
        self._token.run_sync_soon(call_and_log, callback)

    def add_reader(self, fd: int, callback: Callable[[], object]) -> None:
        """Calls ``callback`` whenever the descriptor is readable."""
        self._watch(("read", fd), trio.lowlevel.wait_readable, callback)

    def remove_reader(self, fd: int) -> None:
        """Undoes :meth:`add_reader`."""
        self._unwatch(("read", fd))

    def add_writer(self, fd: int, callback: Callable[[], object]) -> None:
        """Calls ``callback`` whenever the descriptor is writable."""
        self._watch(("write", fd), trio.lowlevel.wait_writable, callback)

    def remove_writer(self, fd: int) -> None:
        """Undoes :meth:`add_writer`."""
        self._unwatch(("write", fd))

    def _watch(
        self, key: tuple[str, int], ready: Callable[[int], Awaitable[None]], callback: Callable[[], object]
    ) -> None:
        self._unwatch(key)
        scope = self._watches[key] = trio.CancelScope()
        self.nursery.start_soon(_call_when_ready, scope, ready, key[1], callback, name=f"hcrs.link.{key[0]}")

    def _unwatch(self, key: tuple[str, int]) -> None:
        scope = self._watches.pop(key, None)
        if scope is not None:
            scope.cancel()


@trio.lowlevel.enable_ki_protection
async def _call_when_ready(
    scope: trio.CancelScope, ready: Callable[[int], Awaitable[None]], fd: int, callback: Callable[[], object]
) -> None:
    with scope:
        while True:
            await ready(fd)
            call_and_log(callback)


def call_and_log(callback: Callable[..., object], *arguments: object) -> None:
    """Calls ``callback``. An exception is logged and does not cancel the nursery."""
    try:
        callback(*arguments)
    except Exception:
        log.exception("Error in a callback of the link")


def with_trio_waits(app: App) -> App:
    """Wraps the app so that its ``receive`` and ``send`` wait by trio's means."""

    def call(scope: Any, receive: Any, send: Any) -> Coroutine[Any, Any, None]:
        async def receive_on_trio() -> Any:
            return await until_done(receive())

        async def send_on_trio(message: dict[str, Any]) -> None:
            if isinstance(message, dict) and message.get("more_body"):
                # An app that sends without end has to yield to other tasks and to notice its cancellation.
                await trio.lowlevel.checkpoint()
            await until_done(send(message))

        return app(scope, receive_on_trio, send_on_trio)

    return call


async def until_done(step: Coroutine[Future | None, None, Any]) -> Any:
    """Runs a ``receive`` or ``send`` of a link to its end, waiting for each future that it yields."""
    while True:
        try:
            future = step.send(None)
        except StopIteration as done:
            return done.value
        if future is None:  # it only yields a turn of the loop
            await trio.lowlevel.checkpoint()
        else:
            await future.wait()
