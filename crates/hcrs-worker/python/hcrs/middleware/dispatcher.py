"""Mounts several apps, each under a path."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from hcrs.middleware._asgi import ASGIApp, Message, Receive, Scope, Send, refuse

log = logging.getLogger("hcrs.error")


class _Mount:
    """The lifespan of one mounted app. An app without lifespan does not delay the others."""

    def __init__(self, path: str, app: ASGIApp, new_event: Callable[[], Any]) -> None:
        self.path = path
        self.app = app
        self.started = new_event()
        self.stopping = new_event()
        self.stopped = new_event()
        self.failure: str | None = None
        self._asked = False
        self._never = new_event()

    async def run(self, scope: Scope) -> None:
        """Runs the app's lifespan to its end."""
        try:
            await self.app(scope, self._receive, self._send)
        except Exception as error:
            if self.stopping.is_set() and not self.stopped.is_set():
                self.failure = repr(error)
            log.warning("The app at %r does not support lifespan: %r", self.path, error)
        finally:
            self.started.set()
            self.stopped.set()

    async def _receive(self) -> Message:
        if not self._asked:
            self._asked = True
            return {"type": "lifespan.startup"}
        await self.stopping.wait()
        if self.stopped.is_set():
            await self._never.wait()
        return {"type": "lifespan.shutdown"}

    async def _send(self, message: Message) -> None:
        _, stage, outcome = (str(message["type"]) + "..").split(".")[:3]
        answered = {"startup": self.started, "shutdown": self.stopped}.get(stage)
        if answered is None or outcome not in ("complete", "failed"):
            raise RuntimeError(f"Unexpected message type, {message['type']}")
        if outcome == "failed":
            self.failure = str(message.get("message", ""))
        answered.set()


class _DispatcherMiddleware:
    """Passes a request to the first app whose path is that of the request, or a prefix of it up to a slash.

    The app's path is appended to ``root_path``; ``path`` is unchanged.
    """

    def __init__(self, mounts: dict[str, ASGIApp]) -> None:
        self.mounts = mounts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self._handle_lifespan(scope, receive, send)
        root = str(scope.get("root_path") or "")
        path = _below(scope["path"], root) or scope["path"]
        for prefix, app in self.mounts.items():
            prefix = prefix.rstrip("/")
            if _below(path, prefix) is not None:
                return await app({**scope, "root_path": root + prefix}, receive, send)
        await refuse(scope, receive, send, 404, [])

    async def _handle_lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        raise NotImplementedError

    async def _run_mounts(self, mounts: list[_Mount], receive: Receive, send: Send) -> None:
        """Passes the server's messages on to all mounts, and answers when all mounts have answered."""
        await receive()
        if not await _answer("startup", mounts, send):
            return
        await receive()
        for mount in mounts:
            mount.stopping.set()
        await _answer("shutdown", mounts, send)


class AsyncioDispatcherMiddleware(_DispatcherMiddleware):
    """The dispatcher for servers on asyncio."""

    async def _handle_lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        mounts = [_Mount(path, app, asyncio.Event) for path, app in self.mounts.items()]
        tasks = [asyncio.create_task(mount.run(scope)) for mount in mounts]
        try:
            await self._run_mounts(mounts, receive, send)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


class TrioDispatcherMiddleware(_DispatcherMiddleware):
    """The dispatcher for servers on trio."""

    async def _handle_lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        import trio

        mounts = [_Mount(path, app, trio.Event) for path, app in self.mounts.items()]
        async with trio.open_nursery() as nursery:
            for mount in mounts:
                nursery.start_soon(mount.run, scope)
            await self._run_mounts(mounts, receive, send)
            nursery.cancel_scope.cancel()


#: Hypercorn's name of the dispatcher for asyncio.
DispatcherMiddleware = AsyncioDispatcherMiddleware


async def _answer(stage: str, mounts: list[_Mount], send: Send) -> bool:
    """Waits for all mounts and sends the outcome to the server. Returns whether all have succeeded."""
    for mount in mounts:
        await (mount.started if stage == "startup" else mount.stopped).wait()
    failures = [f"{mount.path}: {mount.failure}" for mount in mounts if mount.failure is not None]
    if failures:
        await send({"type": f"lifespan.{stage}.failed", "message": "; ".join(failures)})
    else:
        await send({"type": f"lifespan.{stage}.complete"})
    return not failures


def _below(path: str, root: str) -> str | None:
    """Returns the rest of the path after the root, or ``None`` if the path is not under the root."""
    rest = path[len(root) :]
    return rest if path.startswith(root) and (not rest or rest.startswith("/")) else None
