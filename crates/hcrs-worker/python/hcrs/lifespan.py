"""The ASGI lifespan protocol by Hypercorn's rules, run once in each worker."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from hcrs._hcrs import UnexpectedMessageError

log = logging.getLogger("hcrs.error")

#: Seconds that the lifespan task has to end after it was cancelled.
CANCEL_PATIENCE = 1.0


class LifespanFailureError(Exception):
    """The app has reported that its startup or shutdown failed."""

    def __init__(self, stage: str, message: str) -> None:
        super().__init__(f"Lifespan failure in {stage}. '{message}'")


class LifespanTimeoutError(Exception):
    """The app has not answered in time."""

    def __init__(self, stage: str, seconds: float) -> None:
        super().__init__(
            f"Timeout whilst awaiting {stage} for {seconds:g} s. Your application may not support the ASGI Lifespan"
            f" protocol correctly, alternatively the {stage}_timeout configuration is incorrect."
        )


class Lifespan:
    """The app's lifespan task and the messages to and from it."""

    def __init__(self, app: Any, mode: str = "auto") -> None:
        """``mode`` is ``off`` for no lifespan, ``on`` if the app must support lifespan, or ``auto``.

        With ``auto``, an app that raises before it has received ``lifespan.startup`` is taken not to support lifespan;
        an exception after that is a failure of its startup.
        """
        self.state: dict[str, Any] = {}
        self._app = app
        self._mode = mode
        self._received = False
        self._error: BaseException | None = None
        self._task: asyncio.Task[None] | None = None
        self._events: asyncio.Queue[dict[str, str]] = asyncio.Queue(2)
        self._next: Callable[[], Awaitable[dict[str, str]]] = self._events.get
        self._answered: dict[str, Any] = {"startup": asyncio.Event(), "shutdown": asyncio.Event()}
        self._failures: dict[str, str] = {}
        self._asked = "startup"
        self._supported = True

    async def startup(self, timeout: float) -> None:
        """Waits for ``lifespan.startup.complete``, or until the app turns out not to support lifespan."""
        if self._mode == "off":
            return
        self._task = asyncio.create_task(self._run(), name="hcrs.lifespan")
        try:
            await self._ask("startup", timeout)
        except BaseException:
            self._task.cancel()
            raise

    async def shutdown(self, timeout: float) -> None:
        """Waits for ``lifespan.shutdown.complete``, unless the app does not support lifespan."""
        if self._task is None or not self._supported:
            return
        try:
            await self._ask("shutdown", timeout)
        finally:
            self._task.cancel()
            await asyncio.wait([self._task], timeout=CANCEL_PATIENCE)

    async def _ask(self, stage: str, timeout: float) -> None:
        self._asked = stage
        self._events.put_nowait({"type": f"lifespan.{stage}"})
        try:
            await asyncio.wait_for(self._answered[stage].wait(), timeout)
        except asyncio.TimeoutError:
            raise LifespanTimeoutError(stage, timeout) from None
        if stage in self._failures:
            raise LifespanFailureError(stage, self._failures[stage]) from self._error

    async def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": {"spec_version": "2.0", "version": "3.0"}, "state": self.state}
        try:
            await self._app(scope, self._receive, self._send)
            if self._mode == "on" and not self._answered["startup"].is_set():
                self._failures["startup"] = "the app has returned without an answer, and lifespan is 'on'"
        except asyncio.CancelledError:
            pass
        except BaseException as error:
            self._on_raised(error)
        finally:
            self._supported = False
            for answered in self._answered.values():
                answered.set()

    def _on_raised(self, error: BaseException) -> None:
        stage = self._asked
        if stage in self._failures:
            return  # the app has reported the failure itself
        if not self._answered["startup"].is_set():
            # SystemExit does not show that lifespan is not supported.
            if self._mode == "auto" and not self._received and isinstance(error, Exception):
                # Most frameworks without lifespan raise, so a traceback in each worker would look like an error.
                log.warning(
                    "ASGI Framework Lifespan error, continuing without Lifespan support: %r",
                    error,
                    exc_info=error if log.isEnabledFor(logging.DEBUG) else None,
                )
            else:
                self._error = error
                self._failures["startup"] = repr(error)
        elif not self._answered["shutdown"].is_set():
            log.error("ASGI Framework Lifespan error, shutdown without Lifespan support", exc_info=error)
            if stage == "shutdown":
                self._failures[stage] = repr(error)
        else:
            log.error("ASGI Framework Lifespan errored after shutdown.", exc_info=error)

    async def _receive(self) -> dict[str, str]:
        event = await self._next()
        self._received = True
        return event

    async def _send(self, message: dict[str, Any]) -> None:
        _, stage, outcome = (str(message["type"]) + "..").split(".")[:3]
        answered = self._answered.get(stage)
        if answered is None or outcome not in ("complete", "failed") or answered.is_set():
            raise UnexpectedMessageError(f"Unexpected message type, {message['type']}")
        if outcome == "failed":
            self._failures[stage] = str(message.get("message", ""))
        answered.set()
