"""Clients that have left: which errors of the app only say so, and which tasks run on without them."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from hcrs import _hcrs

log = logging.getLogger("hcrs.error")

#: Seconds after which a request whose client has left is told of, if its task still runs.
PATIENCE = 60.0
#: Seconds between two lines about such requests, at least.
INTERVAL = 10.0

#: Module and name of the exceptions by which frameworks tell an app that its client has left.
_FAREWELLS = {
    ("blacksheep.exceptions", "MessageAborted"),
    ("blacksheep.server.websocket", "WebSocketDisconnectError"),
    ("django.core.exceptions", "RequestAborted"),
    ("falcon.errors", "WebSocketDisconnected"),
    ("litestar.exceptions.websocket_exceptions", "WebSocketDisconnect"),
    ("sanic.exceptions", "WebsocketClosed"),
    ("starlette.requests", "ClientDisconnect"),
    ("starlette.websockets", "WebSocketDisconnect"),
    ("starlette.websockets", "WebSocketDisconnected"),
}


def is_farewell(error: BaseException) -> bool:
    """Whether an app that ends by ``error`` after its client has left has made no mistake."""
    parts = getattr(error, "exceptions", None)
    if isinstance(parts, tuple) and parts:  # a group, of which Python 3.10 does not know
        return all(map(is_farewell, parts))
    if isinstance(error, (_hcrs.ClientGoneError, asyncio.CancelledError)):
        return True
    return any((kind.__module__, kind.__name__) in _FAREWELLS for kind in type(error).__mro__)


class LeftBehind:
    """Tells of tasks that run on long after their clients have left; looks only while there are such tasks."""

    def __init__(self, event_loop: Any) -> None:
        self._loop = event_loop
        self._links: list[_hcrs.AsgiLink] = []
        self._timer: Any = None
        self._is_closed = False

    def watch(self, links: list[_hcrs.AsgiLink]) -> None:
        """Takes the links whose requests are looked at."""
        self._links = links

    def on_left(self) -> None:
        """A client has left whose task runs."""
        if self._timer is None and not self._is_closed:
            self._timer = self._loop.call_later(PATIENCE, self._look)

    def close(self) -> None:
        """Looks no more."""
        self._is_closed = True
        self._links = []
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        found = [link.left_behind(PATIENCE) for link in self._links]
        if sum(link.new for link in found) > 0:
            old = sum(link.old for link in found)
            first = max(found, key=lambda link: link.seconds)
            log.warning(
                "%d %s on although %s left %g s ago or earlier; the first of them %.0f s ago, of %s",
                old,
                "task runs" if old == 1 else "tasks run",
                "its client has" if old == 1 else "their clients have",
                PATIENCE,
                first.seconds,
                first.path,
            )
        any_left = any(link.all for link in found)
        self._timer = self._loop.call_later(INTERVAL, self._look) if any_left and not self._is_closed else None
