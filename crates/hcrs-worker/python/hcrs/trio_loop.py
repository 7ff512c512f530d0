"""What a link asks of an event loop, on trio.

A link knows the few methods of asyncio's loops, futures and tasks that it needs; here they are, made of trio's
nurseries, cancel scopes and ``wait_readable``.
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
    """Something that a task waits for, set once."""

    def __init__(self) -> None:
        self._event = trio.Event()

    def done(self) -> bool:
        """Whether it is set."""
        return self._event.is_set()

    def set_result(self, _result: None) -> None:
        """Lets those go on who wait."""
        self._event.set()

    async def wait(self) -> None:
        """Waits until it is set."""
        await self._event.wait()


class Task:
    """A request's task in the nursery."""

    def __init__(self) -> None:
        self._scope = trio.CancelScope()
        self._ended = trio.Event()
        self._error: BaseException | None = None
        self._callbacks: list[Callable[[Task], object]] = []

    @trio.lowlevel.enable_ki_protection  # Ctrl-C is for the program, not for the request that just runs
    async def run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """The body of the task. What the app raises is kept, so that it ends no other task."""
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
                guarded(callback, self)

    def done(self) -> bool:
        """Whether it has ended."""
        return self._ended.is_set()

    def exception(self) -> BaseException | None:
        """What the app has raised."""
        return self._error

    def add_done_callback(self, callback: Callable[[Task], object]) -> None:
        """Has ``callback`` called with the task once it has ended."""
        self._callbacks.append(callback)

    def cancel(self) -> None:
        """Cancels what the app awaits."""
        self._scope.cancel()

    async def wait(self) -> None:
        """Waits until it has ended."""
        await self._ended.wait()


class Timer:
    """A call that comes later."""

    def __init__(self) -> None:
        self._scope = trio.CancelScope()

    async def run(self, delay: float, callback: Callable[..., object], arguments: tuple[object, ...]) -> None:
        """The body of its task."""
        with self._scope:
            await trio.sleep(delay)
            guarded(callback, *arguments)

    def cancel(self) -> None:
        """Does not call any more."""
        self._scope.cancel()


class TrioLoop:
    """Runs a link's callbacks and the tasks of its requests in one nursery, once it is given one."""

    nursery: trio.Nursery

    def __init__(self) -> None:
        self._watches: dict[tuple[str, int], trio.CancelScope] = {}
        self._token: trio.lowlevel.TrioToken | None = None

    def run_in(self, nursery: trio.Nursery) -> None:
        """Takes the nursery, within trio's loop."""
        self.nursery = nursery
        self._token = trio.lowlevel.current_trio_token()

    def create_future(self) -> Future:
        """What a receive or send waits for."""
        return Future()

    def get_task_factory(self) -> Callable[[Coroutine[Any, Any, None]], Task]:
        """Says that tasks are made by :meth:`create_task` and not by asyncio."""
        return self.create_task

    def create_task(self, coroutine: Coroutine[Any, Any, None]) -> Task:
        """Starts a task, which has a context of its own."""
        task = Task()
        self.nursery.start_soon(task.run, coroutine, name="hcrs.request")
        return task

    def call_soon(self, callback: Callable[[], object]) -> None:
        """Calls back in the next turn."""
        trio.lowlevel.current_trio_token().run_sync_soon(guarded, callback)

    def call_later(self, delay: float, callback: Callable[..., object], *arguments: object) -> Timer:
        """Calls back after so many seconds."""
        timer = Timer()
        self.nursery.start_soon(timer.run, delay, callback, arguments, name="hcrs.timer")
        return timer

    def call_soon_threadsafe(self, callback: Callable[[], object]) -> None:
        """Calls back in the next turn, asked from another thread. Raises ``RuntimeError`` if trio does not run."""
        if self._token is None:
            raise RuntimeError("trio does not run yet")
        self._token.run_sync_soon(guarded, callback)

    def add_reader(self, fd: int, callback: Callable[[], object]) -> None:
        """Calls back whenever the descriptor can be read."""
        self._watch(("read", fd), trio.lowlevel.wait_readable, callback)

    def remove_reader(self, fd: int) -> None:
        """Ends :meth:`add_reader`."""
        self._unwatch(("read", fd))

    def add_writer(self, fd: int, callback: Callable[[], object]) -> None:
        """Calls back whenever the descriptor can be written."""
        self._watch(("write", fd), trio.lowlevel.wait_writable, callback)

    def remove_writer(self, fd: int) -> None:
        """Ends :meth:`add_writer`."""
        self._unwatch(("write", fd))

    def _watch(
        self, key: tuple[str, int], ready: Callable[[int], Awaitable[None]], callback: Callable[[], object]
    ) -> None:
        self._unwatch(key)
        scope = self._watches[key] = trio.CancelScope()
        self.nursery.start_soon(_watching, scope, ready, key[1], callback, name=f"hcrs.link.{key[0]}")

    def _unwatch(self, key: tuple[str, int]) -> None:
        scope = self._watches.pop(key, None)
        if scope is not None:
            scope.cancel()


@trio.lowlevel.enable_ki_protection
async def _watching(
    scope: trio.CancelScope, ready: Callable[[int], Awaitable[None]], fd: int, callback: Callable[[], object]
) -> None:
    with scope:
        while True:
            await ready(fd)
            guarded(callback)


def guarded(callback: Callable[..., object], *arguments: object) -> None:
    """Calls back; an exception is logged and does not end the nursery."""
    try:
        callback(*arguments)
    except Exception:
        log.exception("Error in a callback of the link")


def awaiting_by_trio(app: App) -> App:
    """The app, called with a ``receive`` and ``send`` that wait as trio does."""

    def call(scope: Any, receive: Any, send: Any) -> Coroutine[Any, Any, None]:
        async def receive_by_trio() -> Any:
            return await until_done(receive())

        async def send_by_trio(message: dict[str, Any]) -> None:
            if isinstance(message, dict) and message.get("more_body"):
                # An app that sends without end has to let others run, and to hear of its cancellation.
                await trio.lowlevel.checkpoint()
            await until_done(send(message))

        return app(scope, receive_by_trio, send_by_trio)

    return call


async def until_done(step: Coroutine[Future | None, None, Any]) -> Any:
    """Drives a ``receive`` or ``send`` of a link to its end, waiting for each future that it yields."""
    while True:
        try:
            future = step.send(None)
        except StopIteration as done:
            return done.value
        if future is None:  # a turn for the others is all it wants
            await trio.lowlevel.checkpoint()
        else:
            await future.wait()
