"""An app on the links of an edge, on trio: what a worker and a program that calls ``hcrs.trio.serve`` share."""

from __future__ import annotations

from typing import Any

import trio

from hcrs import _hcrs
from hcrs.serving import AsgiServing
from hcrs.trio_loop import TrioLoop, awaiting_by_trio


class TrioServing(AsgiServing):
    """Serves an app on links, in the nursery of a loop, between lifespan startup and lifespan shutdown."""

    def __init__(
        self, app: Any, links: list[_hcrs.Link], *, event_loop: TrioLoop, root_path: str, is_guess: bool = False
    ) -> None:
        super().__init__(
            awaiting_by_trio(app), links, event_loop=event_loop, root_path=root_path, is_guess=is_guess
        )

    async def finish(self, graceful_timeout: float) -> bool:
        """As on asyncio. A nursery does not end before its tasks, so a request that is left holds it up."""
        self._left_behind.close()
        tasks = self.tasks()
        for patience in (0 if self.edge_is_gone else graceful_timeout, 1):
            with trio.move_on_after(patience):
                for task in tasks:
                    await task.wait()
            self.is_stopping = True
            for task in tasks:
                task.cancel()
        has_finished = all(task.done() for task in tasks)
        if has_finished:
            await trio.lowlevel.checkpoint()  # what is to be done about tasks that have ended is done first
            self._say_finished()
        self._serving.clear()  # they hold on to this object as well
        return has_finished
