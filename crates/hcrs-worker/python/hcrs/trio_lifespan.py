"""The lifespan protocol on trio."""

from __future__ import annotations

from typing import Any

import trio

from hcrs.lifespan import Lifespan, LifespanFailureError, LifespanTimeoutError


class TrioLifespan(Lifespan):
    """Runs the app's lifespan in a task of ``nursery``."""

    def __init__(self, app: Any, nursery: trio.Nursery, mode: str = "auto") -> None:
        super().__init__(self._in_scope, mode)
        self._nursery = nursery
        self._scope = trio.CancelScope()
        self._ended = trio.Event()
        self._app_itself = app
        self._put, get = trio.open_memory_channel[dict[str, str]](2)
        self._next = get.receive
        self._answered = {"startup": trio.Event(), "shutdown": trio.Event()}

    async def startup(self, timeout: float) -> None:
        """Waits for ``lifespan.startup.complete``, or until it is clear that the app knows no lifespan."""
        if self._mode == "off":
            self._supported = False
            self._ended.set()
            return
        self._nursery.start_soon(self._run, name="hcrs.lifespan")
        await self._ask("startup", timeout)

    async def shutdown(self, timeout: float) -> None:
        """Waits for ``lifespan.shutdown.complete``; an app without lifespan has none."""
        if self._supported:
            await self._ask("shutdown", timeout)

    async def end(self) -> None:
        """Cancels what the app has left running, and waits a little for it."""
        self._scope.cancel()
        with trio.move_on_after(1):
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

    async def _in_scope(self, scope: Any, receive: Any, send: Any) -> None:
        # What cancels the app ends here, so that it is no error of the app.
        try:
            with self._scope:
                await self._app_itself(scope, receive, send)
        finally:
            self._ended.set()
