"""An ASGI app that runs on the links of an edge, on trio."""

from __future__ import annotations

from typing import Any

import trio

from hcrs.asgi_runner import AsgiRunner
from hcrs.trio.event_loop import with_trio_waits


class TrioRunner(AsgiRunner):
    """An ASGI app in the nursery of a loop, between lifespan startup and lifespan shutdown."""

    def _adapt(self, app: Any) -> Any:
        return with_trio_waits(app)

    async def _wait(self, tasks: list[Any], timeout: float) -> None:
        with trio.move_on_after(timeout):
            for task in tasks:
                await task.wait()

    async def _yield_turn(self) -> None:
        await trio.lowlevel.checkpoint()
