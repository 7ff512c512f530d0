"""Counts how many messages one exchange receives or sends before the loop turns; on asyncio and on trio."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import sniffio
import trio

if TYPE_CHECKING:
    from typing_extensions import Self

START: Any = {"type": "http.response.start", "status": 200, "headers": []}


class Bursts:
    """Messages since the loop has turned last, and the most that there were."""

    def __init__(self) -> None:
        self.now = self.most = self.all = self.turns = 0
        self._is_over = False
        self._by_trio = sniffio.current_async_library() == "trio"

    def count(self) -> None:
        """A message was received or sent."""
        self.now += 1
        self.all += 1
        self.most = max(self.most, self.now)

    def __enter__(self) -> Self:
        self._turn()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over = True

    def _turn(self) -> None:
        self.now = 0
        self.turns += 1
        if self._is_over:
            return
        if self._by_trio:
            trio.lowlevel.current_trio_token().run_sync_soon(self._turn)
        else:
            asyncio.get_running_loop().call_soon(self._turn)

    def told(self) -> str:
        return json.dumps({"most": self.most, "all": self.all})


async def echo(receive: Any, send: Any, count: int) -> None:
    """Answers so many messages, and tells how they came."""
    await receive()
    await send({"type": "websocket.accept"})
    with Bursts() as bursts:
        for _ in range(count):
            message = await receive()
            bursts.count()
            await send({"type": "websocket.send", "text": message["text"]})
            bursts.count()
    await send({"type": "websocket.send", "text": bursts.told()})


async def pieces(receive: Any, send: Any, count: int) -> None:
    """Sends so many pieces, and then how they went."""
    await send(START)
    with Bursts() as bursts:
        for _ in range(count):
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
            bursts.count()
    await send({"type": "http.response.body", "body": bursts.told().encode()})


async def slow_pieces(receive: Any, send: Any, count: int) -> None:
    """The same, where each piece takes a while."""
    await send(START)
    with Bursts() as bursts:
        for _ in range(count):
            sum(range(200_000))
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
            bursts.count()
    await send({"type": "http.response.body", "body": bursts.told().encode()})


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] in ("http", "websocket"):
        await globals()[scope["path"][1:].replace("-", "_")](receive, send, int(scope["query_string"]))
