"""Disconnected clients: the exceptions by which apps end because of them, and the tasks that run on without them."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from hcrs import _hcrs

log = logging.getLogger("hcrs.error")

#: Seconds after which a request whose client has disconnected is logged if its task is still running.
PATIENCE = 60.0
#: Seconds between two checks, and so at least between two lines of the log.
INTERVAL = 10.0

#: Module and name of the exceptions by which frameworks report to an app that its client has disconnected.
_DISCONNECT_ERRORS = {
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


def is_disconnect_error(error: BaseException) -> bool:
    """Returns whether ``error`` only reports that the client has disconnected, and so is no failure of the app."""
    parts = getattr(error, "exceptions", None)
    if isinstance(parts, tuple) and parts:  # an exception group, a type that Python 3.10 does not have
        return all(map(is_disconnect_error, parts))
    if isinstance(error, (_hcrs.ClientGoneError, asyncio.CancelledError)):
        return True
    return any((kind.__module__, kind.__name__) in _DISCONNECT_ERRORS for kind in type(error).__mro__)


class AbandonedTaskMonitor:
    """A periodic check, while there are any, for tasks that run on long after their clients have disconnected."""

    def __init__(self, event_loop: Any) -> None:
        self._loop = event_loop
        self._links: list[_hcrs.AsgiLink] = []
        self._timer: Any = None
        self._is_closed = False

    def watch(self, links: list[_hcrs.AsgiLink]) -> None:
        """Sets the links whose requests are checked."""
        self._links = links

    def on_client_left(self) -> None:
        """Starts the timer, if it is not running: a client has disconnected whose task is running."""
        if self._timer is None and not self._is_closed:
            self._timer = self._loop.call_later(PATIENCE, self._check)

    def close(self) -> None:
        """Stops the checks."""
        self._is_closed = True
        self._links = []
        if self._timer is not None:
            self._timer.cancel()

    def _check(self) -> None:
        found = [link.abandoned_tasks(PATIENCE) for link in self._links]
        if sum(link.new for link in found) > 0:
            old = sum(link.old for link in found)
            first = max(found, key=lambda link: link.seconds)
            log.warning(
                "%d %s still running %g s or more after %s disconnected; the first client disconnected %.0f s ago,"
                " from %s",
                old,
                "task is" if old == 1 else "tasks are",
                PATIENCE,
                "its client" if old == 1 else "their clients",
                first.seconds,
                first.path,
            )
        any_left = any(link.all for link in found)
        self._timer = self._loop.call_later(INTERVAL, self._check) if any_left and not self._is_closed else None
