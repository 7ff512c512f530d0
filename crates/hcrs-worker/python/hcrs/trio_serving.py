"""An app on the links of an edge, on trio: what a worker and a program that calls ``hcrs.trio.serve`` share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import trio

from hcrs import _hcrs
from hcrs.serving import AsgiServing
from hcrs.trio_loop import TrioLoop, awaiting_by_trio


class TrioServing(AsgiServing):
    """Serves an app on links, in the nursery of a loop, between lifespan startup and lifespan shutdown."""

    def __init__(
        self,
        app: Any,
        links: list[_hcrs.Link],
        *,
        event_loop: TrioLoop,
        root_path: str,
        is_guess: bool = False,
        stopping: Callable[[int], object] | None = None,
    ) -> None:
        super().__init__(
            awaiting_by_trio(app),
            links,
            event_loop=event_loop,
            root_path=root_path,
            is_guess=is_guess,
            stopping=stopping,
        )

    async def _wait(self, tasks: list[Any], timeout: float) -> None:
        with trio.move_on_after(timeout):
            for task in tasks:
                await task.wait()

    async def _turn(self) -> None:
        await trio.lowlevel.checkpoint()
