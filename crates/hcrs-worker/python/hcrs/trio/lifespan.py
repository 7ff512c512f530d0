"""The ASGI lifespan protocol on trio."""

from __future__ import annotations

from typing import Any

import trio

from hcrs.lifespan import CANCEL_PATIENCE, Lifespan, LifespanFailureError, LifespanTimeoutError


class TrioLifespan(Lifespan):
    """The app's lifespan, run in a task of a nursery."""

    def __init__(self, app: Any, nursery: trio.Nursery, mode: str = "auto") -> None:
        super().__init__(self._run_in_scope, mode)
        self._nursery = nursery
        self._scope = trio.CancelScope()
        self._ended = trio.Event()
        self._app_itself = app
        self._put, get = trio.open_memory_channel[dict[str, str]](2)
        self._next = get.receive
        self._answered = {"startup": trio.Event(), "shutdown": trio.Event()}

    async def startup(self, timeout: float) -> None:
        """Waits for ``lifespan.startup.complete``, or until the app turns out not to support lifespan."""
        if self._mode == "off":
            self._supported = False
            self._ended.set()
            return
        self._nursery.start_soon(self._run, name="hcrs.lifespan")
        await self._ask("startup", timeout)

    async def shutdown(self, timeout: float) -> None:
        """Waits for ``lifespan.shutdown.complete``, unless the app does not support lifespan."""
        if self._supported:
            await self._ask("shutdown", timeout)

    async def end(self) -> None:
        """Cancels the lifespan task if it is still running, and waits briefly for it."""
        self._scope.cancel()
        with trio.move_on_after(CANCEL_PATIENCE):
            await self._ended.wait()

    async def _ask(self, stage: str, timeout: float) -> None:
        self._asked = stage
        self._put.send_nowait({"type": f"lifespan.{stage}"})
        try:
            with trio.fail_after(timeout):
                await self._answered[stage].wait()
        except trio.TooSlowError:
            raise LifespanTimeoutError(stage, timeout) from None
        if stage in self._failures:
            raise LifespanFailureError(stage, self._failures[stage]) from self._error

    async def _run_in_scope(self, scope: Any, receive: Any, send: Any) -> None:
        # The scope catches its own cancellation, which is no error of the app.
        try:
            with self._scope:
                await self._app_itself(scope, receive, send)
        finally:
            self._ended.set()
