"""A network between QUIC clients and a server, on loopback: it loses, repeats, delays and reorders datagrams as a seed says,
and forgets a client's port as a NAT does."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import random
import selectors
import socket
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

from end_to_end.server import Listening

if TYPE_CHECKING:
    from typing_extensions import Self

#: The most datagrams that are on their way; more are lost, as in a queue of a router.
ON_THE_WAY = 1024

#: The number of datagrams of a connection before its client's port is first forgotten: QUIC forbids moves during the
#: handshake.
HANDSHAKE = 24

#: How often the end of the network is looked for, in seconds.
_PERIOD = 0.05


class Conditions(NamedTuple):
    """What happens to datagrams. Shares are of all datagrams in both directions, times are in seconds."""

    #: The share that is lost.
    loss: float = 0.0
    #: The share that arrives twice.
    copies: float = 0.0
    #: The share that later ones overtake.
    late: float = 0.0
    #: By how much those are later.
    lateness: float = 0.005
    #: How long each takes.
    delay: float = 0.0
    #: After so many datagrams in both directions a client's next ones come from another port.
    moves_every: int = 0
    #: Datagrams of a client and of the server that are lost in any case, by number.
    lost_of_client: tuple[int, ...] = ()
    lost_of_server: tuple[int, ...] = ()
    #: Datagrams of a client that are late in any case, by number.
    late_of_client: tuple[int, ...] = ()


class _Client:
    """A client as the network knows it."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.address = address
        self.outside = _bound()
        self.sent = 0
        self.received = 0
        self.moves_after = HANDSHAKE


class Network:
    """The way to a server, through ``where``. Counts what has happened."""

    def __init__(self, server: Listening, conditions: Conditions, seed: int) -> None:
        self.conditions = conditions
        self.lost = self.copied = self.late = self.moves = 0
        self._server = (server.host, server.port)
        self._random = random.Random(seed)
        self._inside = _bound()
        self.where = server._replace(port=self._inside.getsockname()[1])
        self._clients: dict[tuple[str, int], _Client] = {}
        #: By the time at which each arrives, and their order.
        self._under_way: list[tuple[float, int, _Client, bool, bytes]] = []
        self._order = itertools.count()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._inside, selectors.EVENT_READ)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="network", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()
        for client in self._clients.values():
            client.outside.close()
        self._inside.close()
        self._selector.close()

    def _run(self) -> None:
        while not self._is_over.is_set():
            until_next = self._under_way[0][0] - time.monotonic() if self._under_way else _PERIOD
            for key, _ in self._selector.select(max(0.0, min(until_next, _PERIOD))):
                assert isinstance(key.fileobj, socket.socket)
                self._receive(key.fileobj, key.data)
            while self._under_way and self._under_way[0][0] <= time.monotonic():
                _, _, client, is_of_client, data = heapq.heappop(self._under_way)
                if is_of_client:
                    _send(client.outside, data, self._server)
                else:
                    _send(self._inside, data, client.address)

    def _receive(self, source: socket.socket, client: _Client | None) -> None:
        """Takes in a few datagrams of a socket."""
        for _ in range(16):
            try:
                data, address = source.recvfrom(1 << 16)
            except OSError:
                return
            if client is not None:
                client.received += 1
                forced = self.conditions.lost_of_server
                self._forward(client, data, number=client.received - 1, lost=forced, late=(), is_of_client=False)
            else:
                known = self._clients.get(address)
                if known is None:
                    known = self._clients[address] = _Client(address)
                    self._selector.register(known.outside, selectors.EVENT_READ, known)
                self._move(known)
                known.sent += 1
                lost, late = self.conditions.lost_of_client, self.conditions.late_of_client
                self._forward(known, data, number=known.sent - 1, lost=lost, late=late, is_of_client=True)

    def _move(self, client: _Client) -> None:
        """Forgets the port of a client when it is time. What the server sends there is lost from then on."""
        every = self.conditions.moves_every
        if every and client.sent + client.received >= client.moves_after:
            client.moves_after = client.sent + client.received + every
            self._selector.unregister(client.outside)
            before, client.outside = client.outside, _bound()
            before.close()
            self._selector.register(client.outside, selectors.EVENT_READ, client)
            self.moves += 1

    def _forward(
        self, client: _Client, data: bytes, *, number: int, lost: tuple[int, ...], late: tuple[int, ...], is_of_client: bool
    ) -> None:
        conditions, chance = self.conditions, self._random.random
        if number in lost or chance() < conditions.loss or len(self._under_way) >= ON_THE_WAY:
            self.lost += 1
            return
        arrival = time.monotonic() + conditions.delay
        if number in late or chance() < conditions.late:
            self.late += 1
            arrival += conditions.lateness
        heapq.heappush(self._under_way, (arrival, next(self._order), client, is_of_client, data))
        if chance() < conditions.copies:
            self.copied += 1
            copy = arrival + chance() * conditions.lateness
            heapq.heappush(self._under_way, (copy, next(self._order), client, is_of_client, data))


def _bound() -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    made.bind(("127.0.0.1", 0))
    made.setblocking(False)
    return made


def _send(source: socket.socket, data: bytes, target: tuple[str, int]) -> None:
    with contextlib.suppress(BlockingIOError, ConnectionRefusedError):
        source.sendto(data, target)
