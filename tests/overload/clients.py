"""Clients in open loop: each makes one request on a connection of its own at its time, whatever became of the others."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

REQUEST = b"GET / HTTP/1.1\r\nhost: overload\r\nconnection: close\r\n\r\n"


@dataclass(slots=True)
class Asked:
    """A request and what became of it."""

    at: float
    over_at: float = 0.0
    #: 0 if the client gave up, or the connection ended without a response.
    status: int = 0
    has_given_up: bool = False
    has_retry_after: bool = False
    error: str = ""

    @property
    def seconds(self) -> float:
        """From the connection to the end of the response."""
        return self.over_at - self.at


class Client(asyncio.Protocol):
    """One request."""

    def __init__(self, asked: Asked, over: asyncio.Future[None]) -> None:
        self.asked, self.over = asked, over
        self.input = b""
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(REQUEST)

    def data_received(self, data: bytes) -> None:
        self.input += data

    def connection_lost(self, error: Exception | None) -> None:
        asked = self.asked
        asked.over_at, asked.error = time.monotonic(), repr(error) if error else ""
        if self.input.startswith(b"HTTP/1.1 ") and not asked.has_given_up:
            asked.status = int(self.input[9:12])
            asked.has_retry_after = b"\r\nretry-after: " in self.input.lower()
        if not self.over.done():
            self.over.set_result(None)

    def give_up(self) -> None:
        """Closes the connection."""
        if self.transport is not None and not self.transport.is_closing():
            self.asked.has_given_up = True
            self.transport.close()


@dataclass(slots=True)
class Load:
    """Requests to one server."""

    port: int
    #: How long each client waits for its response, in seconds.
    patience: float
    asked: list[Asked] = field(default_factory=list)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def ask(self) -> Asked:
        """Makes one request and waits for its end."""
        loop = asyncio.get_running_loop()
        asked = Asked(time.monotonic())
        self.asked.append(asked)
        over = loop.create_future()
        try:
            _, client = await loop.create_connection(lambda: Client(asked, over), "127.0.0.1", self.port)
        except OSError as error:
            asked.over_at, asked.error = time.monotonic(), repr(error)
            return asked
        timer = loop.call_at(loop.time() + self.patience, client.give_up)
        await over
        timer.cancel()
        return asked

    async def _ask(self) -> None:
        await self.ask()

    async def at_rate(self, rate: float, seconds: float) -> None:
        """Makes ``rate`` requests a second, and waits for the end of all of them."""
        began, count = time.monotonic(), 0
        while count < rate * seconds:
            due = began + count / rate
            if (left := due - time.monotonic()) > 0:
                await asyncio.sleep(left)
            self._spawn(self._ask())
            count += 1
        while self.tasks:
            await asyncio.wait(self.tasks)

    async def in_turns(self, clients: int, seconds: float) -> None:
        """Keeps ``clients`` requests in flight."""
        until = time.monotonic() + seconds

        async def turns() -> None:
            while time.monotonic() < until:
                await self.ask()

        await asyncio.gather(*(turns() for _ in range(clients)))

    def _spawn(self, coroutine: object) -> None:
        task = asyncio.ensure_future(coroutine)  # type: ignore[arg-type]
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
