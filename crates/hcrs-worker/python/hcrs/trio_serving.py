"""An app on the links of an edge, on trio: what a worker and a program that calls ``hcrs.trio.serve`` share."""

from __future__ import annotations

from typing import Any

import trio

from hcrs.serving import AsgiServing
from hcrs.trio_loop import awaiting_by_trio


class TrioServing(AsgiServing):
    """Serves an app on links, in the nursery of a loop, between lifespan startup and lifespan shutdown."""

    def _adapted(self, app: Any) -> Any:
        return awaiting_by_trio(app)

    async def _wait(self, tasks: list[Any], timeout: float) -> None:
        with trio.move_on_after(timeout):
            for task in tasks:
                await task.wait()

    async def _turn(self) -> None:
        await trio.lowlevel.checkpoint()
