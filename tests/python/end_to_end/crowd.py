"""Many HTTP/2 connections in cleartext that one thread serves, written for speed: frames are made and read as bytes.

Streams are named by their connection's place and their own number.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import hpack

from end_to_end.server import DEADLINE, Listening

if TYPE_CHECKING:
    from typing_extensions import Self

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, END_HEADERS, ACK = 1, 4, 1
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
CANCEL = 8

Key = tuple[int, int]


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """The bytes of a frame."""
    return struct.pack(">HBBBI", len(payload) >> 8, len(payload) & 255, kind, flags, stream) + payload


@dataclass(slots=True)
class Answer:
    """The answer on one stream so far."""

    status: int = 0
    retry_after: bytes | None = None
    body: bytes = b""
    reset: int | None = None
    over_at: float = 0.0


class Connection:
    """One of the crowd."""

    def __init__(self, where: Listening, place: int) -> None:
        self.place = place
        self.socket = socket.create_connection((where.host, where.port), timeout=DEADLINE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        authority = where.authority.encode()
        # :method GET, :scheme http, :authority, and the name of :path; no literal enters the dynamic table.
        self.get = b"\x82\x86\x01" + bytes([len(authority)]) + authority + b"\x04"
        self.post = b"\x83" + self.get[1:]
        self.next_stream = 1
        self.window = 65_535
        self.input = bytearray()
        self.output = bytearray()
        self.is_over = False
        self.goaway: int | None = None
        self.pings = 0
        # A dynamic table of no bytes, so that equal heads have equal bytes; a large window for the connection.
        settings = struct.pack(">HIHI", 1, 0, 2, 0)
        self.output += PREFACE + frame(SETTINGS, 0, 0, settings) + frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 1 << 30))

    def head(self, path: str, *, post: bool = False) -> bytes:
        """The header block of a request."""
        name = path.encode()
        assert len(name) < 127
        return (self.post if post else self.get) + bytes([len(name)]) + name


class Crowd:
    """The connections, and what has come on all of their streams."""

    def __init__(self, where: Listening, count: int) -> None:
        self.where = where
        self.answers: dict[Key, Answer] = {}
        #: How many of them are over.
        self.over = 0
        #: Called with the connection when the server has answered a ping.
        self.on_pong: Callable[[Connection], None] | None = None
        self._heads: dict[bytes, dict[bytes, bytes]] = {}
        self._poll = select.epoll()
        self._by_fd: dict[int, Connection] = {}
        self.connections: list[Connection] = []
        for _ in range(count):
            self.add()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for connection in self.connections:
            connection.socket.close()
        self._poll.close()

    def add(self) -> Connection:
        """Opens one connection more."""
        connection = Connection(self.where, len(self.connections))
        self.connections.append(connection)
        self._by_fd[connection.socket.fileno()] = connection
        self._poll.register(connection.socket.fileno(), select.EPOLLIN)
        self.flush(connection)
        return connection

    def drop(self, connection: Connection) -> None:
        """Closes a connection without a word."""
        if not connection.is_over:
            self._ended(connection)

    # ---- to the server ----

    def ask(self, connection: Connection, path: str, *, body: bytes | None = None, end: bool = True) -> Key:
        """Writes a request behind what is to be flushed."""
        stream = connection.next_stream
        connection.next_stream += 2
        key = (connection.place, stream)
        self.answers[key] = Answer()
        flags = END_HEADERS | (END_STREAM if end and body is None else 0)
        connection.output += frame(HEADERS, flags, stream, connection.head(path, post=body is not None))
        if body is not None:
            connection.window -= len(body)
            pieces = [body[at : at + 16_384] for at in range(0, len(body), 16_384)]
            for piece in pieces:
                last = end and piece is pieces[-1]
                connection.output += frame(DATA, END_STREAM if last else 0, stream, piece)
        return key

    def reset(self, key: Key) -> None:
        """Resets a stream; what still comes on it is ignored."""
        connection = self.connections[key[0]]
        connection.output += frame(RST_STREAM, 0, key[1], struct.pack(">I", CANCEL))
        self.answers.pop(key, None)

    def ping(self, connection: Connection) -> None:
        """Asks for a sign that all before it was read."""
        connection.output += frame(PING, 0, 0, bytes(8))

    def flush(self, connection: Connection) -> None:
        """Writes as much as the socket takes."""
        if not connection.output or connection.is_over:
            return
        try:
            sent = connection.socket.send(connection.output)
        except BlockingIOError:
            sent = 0
        except (BrokenPipeError, ConnectionResetError):
            return self._ended(connection)
        del connection.output[:sent]
        self._poll.modify(
            connection.socket.fileno(), select.EPOLLIN | (select.EPOLLOUT if connection.output else 0)
        )

    # ---- from the server ----

    def run(
        self, until: Callable[[], object], what: str, deadline: float = DEADLINE, *, pause: float = 1.0
    ) -> None:
        """Writes and reads until something is so, which is looked at after each turn and each pause."""
        end = time.monotonic() + deadline
        for connection in self.connections:
            self.flush(connection)
        while not until():
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"waited {deadline:g} s in vain for {what}: {self.summary()}")
            for fd, events in self._poll.poll(min(left, pause)):
                if fd not in self._by_fd:
                    continue
                connection = self._by_fd[fd]
                if events & ~select.EPOLLOUT:
                    self._read(connection)
                self.flush(connection)

    def summary(self) -> str:
        """How many answers there are of each kind."""
        counts: dict[str, int] = {}
        for answer in self.answers.values():
            kind = str(answer.status or "none") if answer.over_at else "none yet"
            counts[kind] = counts.get(kind, 0) + 1
        closed = sum(connection.is_over for connection in self.connections)
        return f"{counts}, {closed} of {len(self.connections)} connections closed"

    def _ended(self, connection: Connection) -> None:
        connection.is_over = True
        self._poll.unregister(connection.socket.fileno())
        del self._by_fd[connection.socket.fileno()]
        connection.socket.close()

    def _read(self, connection: Connection) -> None:
        try:
            data = connection.socket.recv(1 << 18)
        except BlockingIOError:
            return
        except ConnectionResetError:
            data = b""
        if not data:
            return self._ended(connection)
        input_ = connection.input
        input_ += data
        at = 0
        while len(input_) - at >= 9:
            length = int.from_bytes(input_[at : at + 3], "big")
            if len(input_) - at < 9 + length:
                break
            kind, flags = input_[at + 3], input_[at + 4]
            stream = int.from_bytes(input_[at + 5 : at + 9], "big")
            payload = bytes(input_[at + 9 : at + 9 + length])
            at += 9 + length
            self._take(connection, kind, flags, stream, payload)
        del input_[:at]

    def _take(self, connection: Connection, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if stream:
            answer = self.answers.get((connection.place, stream))
            if answer is None:
                return
            if kind == HEADERS:
                assert flags & END_HEADERS, "a head of one frame"
                head = self._head(payload)
                answer.status, answer.retry_after = int(head[b":status"]), head.get(b"retry-after")
            elif kind == DATA:
                answer.body += payload
            elif kind == RST_STREAM:
                answer.reset = int.from_bytes(payload, "big")
            else:
                return
            if not answer.over_at and (kind == RST_STREAM or flags & END_STREAM):
                answer.over_at = time.monotonic()
                self.over += 1
        elif kind == PING and flags & ACK:
            connection.pings += 1
            if self.on_pong is not None:
                self.on_pong(connection)
        elif kind == PING:
            connection.output += frame(PING, ACK, 0, payload)
        elif kind == SETTINGS and not flags & ACK:
            connection.output += frame(SETTINGS, ACK, 0)
        elif kind == WINDOW_UPDATE:
            connection.window += int.from_bytes(payload, "big")
        elif kind == GOAWAY:
            connection.goaway = int.from_bytes(payload[4:8], "big")

    def _head(self, block: bytes) -> dict[bytes, bytes]:
        head = self._heads.get(block)
        if head is None:
            head = self._heads[block] = dict(hpack.Decoder().decode(block, raw=True))
        return head


def start_and_reset(crowd: Crowd, cycles: int, paths: Iterator[str], body: bytes | None = None) -> int:
    """Starts ``cycles`` requests on each connection and resets each. Returns the number of resets.

    Pings pace that: a request is reset when the server has read it, and the next one is sent when it has read the reset.
    """
    left = dict.fromkeys((connection.place for connection in crowd.connections), cycles)
    under_way: dict[int, tuple[int, int]] = {}

    def step(connection: Connection) -> None:
        key = under_way.pop(connection.place, None)
        if key is not None:
            crowd.reset(key)
        elif left[connection.place]:
            left[connection.place] -= 1
            under_way[connection.place] = crowd.ask(connection, next(paths), body=body, end=body is None)
        else:
            del left[connection.place]
            return
        crowd.ping(connection)

    for connection in crowd.connections:
        step(connection)
    crowd.on_pong = step
    crowd.run(lambda: not left, "the resets", deadline=300)
    lost = [connection for connection in crowd.connections if connection.is_over or connection.goaway is not None]
    assert not lost, "within the budgets no connection is ended"
    return cycles * len(crowd.connections)
