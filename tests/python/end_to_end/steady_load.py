"""A steady load of clients of every kind, and what became of each request: HTTP/1.1 on lasting and on new connections, HTTP/2,
and WebSockets over both. It runs in a thread of its own while a test does something to the server.

Used by ``tests/disruption`` too, for other servers. The app is ``apps/steady.py``.
"""

from __future__ import annotations

import asyncio
import itertools
import ssl
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from end_to_end.server import wait_until
from end_to_end.steady_connections import H1, H2, AskAgain, Failed, OverH1, OverH2, WebSocket

KEPT, NEW, H2_KIND, WS_H1, WS_H2 = "h1 kept", "h1 new", "h2", "WebSocket over h1", "WebSocket over h2"
#: Messages of a WebSocket before its client closes it.
MESSAGES = 8
#: The most requests of a client: far above what it makes in any run.
MOST = 20_000

#: What a client does for one request, by its number. Returns the process that has answered.
Attempt = Callable[[int], Awaitable[int]]


@dataclass(frozen=True)
class Mix:
    """How many clients of each kind there are."""

    kept: int = 3
    new: int = 2
    h2_connections: int = 2
    #: Clients on each HTTP/2 connection.
    h2_streams: int = 4
    ws_h1: int = 2
    #: On one connection of their own.
    ws_h2: int = 2

    @property
    def kinds(self) -> list[str]:
        """The kinds of which there are clients."""
        counts = {KEPT: self.kept, NEW: self.new, H2_KIND: self.h2_connections, WS_H1: self.ws_h1, WS_H2: self.ws_h2}
        return [kind for kind, count in counts.items() if count]


@dataclass(slots=True)
class Asked:
    """A request, or a whole WebSocket, and what became of it."""

    kind: str
    #: The number that the app was given, of the last attempt.
    number: int
    at: float
    over_at: float = 0.0
    #: ``ok``, or what came in place of the answer; empty while it is awaited.
    outcome: str = ""
    #: The process that has answered.
    pid: int = 0

    @property
    def seconds(self) -> float:
        """From the beginning, with the time to connect, to the end of the answer."""
        return self.over_at - self.at


class _Lasting:
    """An HTTP/2 connection that clients share, and that is opened anew when it has ended."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._lock = asyncio.Lock()
        self._connection: H2 | None = None

    async def get(self) -> H2:
        async with self._lock:
            if self._connection is None or not self._connection.is_usable:
                self._load.opened[H2_KIND] += 1
                self._connection = await H2.open(self._load.port, self._load.context("h2"))
            return self._connection


@dataclass
class Load:
    """The clients and their counts."""

    port: int
    mix: Mix = field(default_factory=Mix)
    #: The time from one request of a client to the next, and from one message to the next, in seconds.
    interval: float = 0.05
    #: How long a client waits for an answer, and for how long it repeats a request that the server says it has not looked at,
    #: in seconds.
    patience: float = 20.0
    #: Statuses that are answers.
    accepted: frozenset[int] = frozenset({200})
    #: Of the first request.
    first_number: int = 1
    #: Every request that was begun.
    asked: list[Asked] = field(default_factory=list)
    #: When an answer or an echo was complete.
    completions: list[float] = field(default_factory=list)
    #: Attempts after which the server asks the client to come again: their kinds, numbers and the reason.
    moved: list[tuple[str, int, str]] = field(default_factory=list)
    #: Lasting connections that were opened, by kind.
    opened: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    #: What has broken the clients themselves.
    errors: list[BaseException] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._numbers = itertools.count(self.first_number)
        self._over = False
        self._done: Counter[str] = Counter()
        self._contexts: dict[str, ssl.SSLContext] = {}

    # ---- for the test ----

    @contextmanager
    def running(self) -> Iterator[Load]:
        """Keeps the clients busy for the time of a ``with``. At its end they finish what they have begun."""
        thread = threading.Thread(target=self._run, name="steady load", daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._over = True
            thread.join(self.patience * 3)
            assert not thread.is_alive(), "every client has a deadline"
            assert not self.errors, self.errors

    def wait_for_more(self, count: int = 4, deadline: float = 30) -> None:
        """Waits until clients of each kind have got that many answers more."""
        aims = {kind: self._done[kind] + count for kind in self.mix.kinds}

        def is_reached() -> bool:
            return bool(self.errors) or all(self._done[kind] >= aim for kind, aim in aims.items())

        wait_until(is_reached, f"{count} answers of each kind", deadline)

    @property
    def failures(self) -> list[Asked]:
        """The requests that were not answered as they should."""
        return [asked for asked in list(self.asked) if asked.outcome not in ("ok", "")]

    @property
    def reopened(self) -> int:
        """How often a lasting connection was opened in place of one that had ended."""
        first = {KEPT: self.mix.kept, H2_KIND: self.mix.h2_connections + bool(self.mix.ws_h2)}
        return sum(max(0, self.opened[kind] - count) for kind, count in first.items())

    def pids(self, since: float) -> set[int]:
        """The processes that have answered since an instant."""
        recent = itertools.takewhile(lambda asked: asked.at >= since - self.patience, reversed(list(self.asked)))
        return {asked.pid for asked in recent if asked.pid and asked.over_at >= since}

    def longest_gap(self) -> float:
        """The longest time in which no answer was completed anywhere, in seconds."""
        times = sorted(self.completions)
        return max((later - earlier for earlier, later in itertools.pairwise(times)), default=0.0)

    def slowest(self) -> float:
        """The longest time that an answered request took, in seconds. A WebSocket is not one."""
        return max((asked.seconds for asked in self.asked if asked.outcome == "ok" and asked.kind in (KEPT, NEW, H2_KIND)), default=0.0)

    # ---- the clients ----

    def context(self, protocol: str) -> ssl.SSLContext:
        """The TLS of clients that speak one protocol. They accept every certificate."""
        if protocol not in self._contexts:
            context = self._contexts[protocol] = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            context.set_alpn_protocols([protocol])
        return self._contexts[protocol]

    def _run(self) -> None:
        try:
            asyncio.run(self._clients())
        except BaseException as error:
            self.errors.append(error)

    async def _clients(self) -> None:
        clients: list[Coroutine[Any, Any, None]] = []
        clients += [self._keeps_asking(KEPT, self._on_one_connection()) for _ in range(self.mix.kept)]
        clients += [self._keeps_asking(NEW, self._on_a_new_connection) for _ in range(self.mix.new)]
        for _ in range(self.mix.h2_connections):
            attempt = self._on_a_stream(_Lasting(self))
            clients += [self._keeps_asking(H2_KIND, attempt) for _ in range(self.mix.h2_streams)]
        clients += [self._keeps_asking(WS_H1, self._talks_over_h1) for _ in range(self.mix.ws_h1)]
        attempt = self._talks_over_h2(_Lasting(self))
        clients += [self._keeps_asking(WS_H2, attempt) for _ in range(self.mix.ws_h2)]
        await asyncio.gather(*clients)

    async def _keeps_asking(self, kind: str, attempt: Attempt) -> None:
        due = time.monotonic()
        for _ in range(MOST):
            if self._over:
                return
            await self._ask(kind, attempt)
            due = max(due + self.interval, time.monotonic())
            await asyncio.sleep(due - time.monotonic())

    async def _ask(self, kind: str, attempt: Attempt) -> None:
        asked = Asked(kind, next(self._numbers), time.monotonic())
        self.asked.append(asked)
        outcome = "asked to come again for too long"
        while time.monotonic() < asked.at + self.patience:
            try:
                asked.pid = await asyncio.wait_for(attempt(asked.number), self.patience)
                outcome = "ok"
                self._done[kind] += 1
            except AskAgain as reason:
                self.moved.append((kind, asked.number, str(reason)))
                asked.number = next(self._numbers)
                await asyncio.sleep(self.interval)
                continue
            except Failed as failure:
                outcome = str(failure)
            except (TimeoutError, asyncio.TimeoutError):
                outcome = "timed out"
            break
        asked.over_at, asked.outcome = time.monotonic(), outcome

    def _answered(self, status: int, body: bytes) -> int:
        self.statuses[status] += 1
        if status not in self.accepted:
            raise Failed(f"status {status}")
        self.completions.append(time.monotonic())
        return int(body) if status == 200 else 0

    def _on_one_connection(self) -> Attempt:
        connection: H1 | None = None

        async def attempt(number: int) -> int:
            nonlocal connection
            if connection is None or not connection.is_usable or connection.has_ended:
                if connection is not None:
                    connection.close()
                self.opened[KEPT] += 1
                connection = None
                connection = await H1.open(self.port, self.context("http/1.1"))
            try:
                return self._answered(*await connection.get(f"/?n={number}"))
            except BaseException as failure:
                if not (isinstance(failure, Failed) and str(failure).startswith("status ")):
                    connection.close()
                raise

        return attempt

    async def _on_a_new_connection(self, number: int) -> int:
        connection = await H1.open(self.port, self.context("http/1.1"))
        try:
            return self._answered(*await connection.get(f"/?n={number}"))
        finally:
            connection.close()

    def _on_a_stream(self, lasting: _Lasting) -> Attempt:
        async def attempt(number: int) -> int:
            return self._answered(*await (await lasting.get()).get(f"/?n={number}"))

        return attempt

    async def _talks_over_h1(self, number: int) -> int:
        connection = await H1.open(self.port, self.context("http/1.1"))
        try:
            return await self._talk(await OverH1.open(connection, f"/?n={number}"))
        finally:
            connection.close()

    def _talks_over_h2(self, lasting: _Lasting) -> Attempt:
        async def attempt(number: int) -> int:
            return await self._talk(await OverH2.open(await lasting.get(), f"/?n={number}"))

        return attempt

    async def _talk(self, transport: OverH1 | OverH2) -> int:
        """A whole WebSocket, from after its handshake to its closing handshake, which the client begins."""
        pid = 0
        try:
            websocket = WebSocket(transport)
            for number in range(MESSAGES):
                answer, _, echoed = (await websocket.echo(str(number).encode())).partition(b" ")
                if echoed != str(number).encode():
                    raise Failed("another message")
                pid = int(answer)
                self.completions.append(time.monotonic())
                await asyncio.sleep(self.interval)
            await websocket.close()
        finally:
            transport.leave()
        return pid
