"""A small HTTP/1.1 server of a test's own, behind a route with ``upstream``: the test decides about every byte."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from end_to_end.server import DEADLINE, wait_until

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass
class Request:
    """A request as it has arrived."""

    method: str
    target: str
    version: str
    headers: list[tuple[str, str]]
    body: bytes = b""
    trailers: list[tuple[str, str]] = field(default_factory=list)
    #: The number of the connection, counted from 1.
    connection: int = 0

    def header(self, name: str) -> str | None:
        """The one value of a field, if it has one."""
        values = [value for key, value in self.headers if key.lower() == name]
        assert len(values) < 2, (name, values)
        return values[0] if values else None


class Gone(Exception):
    """The other end has closed the connection."""


class Peer:
    """A connection, as the handler of a request has it."""

    def __init__(self, server: Upstream, connected: socket.socket, number: int) -> None:
        self.server, self.socket, self.number = server, connected, number
        self._input = bytearray()

    def send(self, data: bytes | str) -> None:
        """Sends bytes as they are."""
        self.socket.sendall(data.encode() if isinstance(data, str) else data)

    def answer(self, body: bytes | str = b"", status: str = "200 OK", headers: str = "") -> None:
        """Sends a response with ``content-length``."""
        content = body.encode() if isinstance(body, str) else body
        self.send(f"HTTP/1.1 {status}\r\n{headers}content-length: {len(content)}\r\n\r\n".encode() + content)

    def reset(self) -> None:
        """Closes the connection at once, by RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.socket.close()

    def leave(self) -> None:
        """Ends the connection in order, by FIN."""
        self.socket.shutdown(socket.SHUT_WR)

    def read_head(self) -> Request:
        """Reads a head."""
        lines = self.until(b"\r\n\r\n").decode("latin-1").split("\r\n")[:-2]
        method, target, version = lines[0].split(" ")
        fields = [line.partition(":") for line in lines[1:]]
        headers = [(name, value.strip()) for name, _, value in fields]
        return Request(method, target, version, headers, connection=self.number)

    def read_body(self, request: Request) -> None:
        """Reads the body of a request."""
        if request.header("transfer-encoding") == "chunked":
            while size := int(self.until(b"\r\n"), 16):
                request.body += self.exactly(size)
                assert self.exactly(2) == b"\r\n"
            while (line := self.until(b"\r\n")) != b"\r\n":
                name, _, value = line.decode().partition(":")
                request.trailers.append((name, value.strip()))
        else:
            request.body = self.exactly(int(request.header("content-length") or 0))

    def exactly(self, count: int) -> bytes:
        """Reads ``count`` bytes."""
        while len(self._input) < count:
            self._receive()
        data = bytes(self._input[:count])
        del self._input[:count]
        return data

    def until(self, mark: bytes) -> bytes:
        """Reads to the end of the mark."""
        while mark not in self._input:
            self._receive()
        return self.exactly(self._input.index(mark) + len(mark))

    def wait_until_gone(self) -> int:
        """Reads until the other end has closed the connection. Returns the number of bytes."""
        count = 0
        with contextlib.suppress(Gone):
            while True:
                self._receive()
                count += len(self._input)
                self._input.clear()
        return count

    def _receive(self) -> None:
        try:
            piece = self.socket.recv(1 << 16)
        except (ConnectionResetError, BrokenPipeError):
            piece = b""
        if not piece:
            raise Gone
        self._input += piece


Handler = Callable[[Peer, Request], None]


def say_ok(peer: Peer, request: Request) -> None:
    """Answers each request after its body, with the number of the connection."""
    peer.read_body(request)
    peer.answer(str(peer.number))


class Upstream:
    """The server. Each connection has a thread, which calls the handler for each head."""

    def __init__(
        self, handler: Handler = say_ok, *, tls: ssl.SSLContext | None = None, path: str | None = None, port: int = 0
    ) -> None:
        self.handler = handler
        self.requests: list[Request] = []
        #: The number of connections so far, and of those that are open.
        self.connections = 0
        self.open = 0
        self._tls = tls
        self._changed = threading.Lock()
        self._peers: set[socket.socket] = set()
        self._path = path
        if path is None:
            self._listener = socket.create_server(("127.0.0.1", port), backlog=1024)
            self.port: int = self._listener.getsockname()[1]
        else:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(path)
            self._listener.listen(1024)
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """As a route names it."""
        if self._path is not None:
            return f"unix:{self._path}"
        return f"https://localhost:{self.port}" if self._tls else f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the listener and all connections."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(DEADLINE)
        self.drop_connections()

    def drop_connections(self) -> None:
        """Closes all connections."""
        with self._changed:
            peers = list(self._peers)
        for peer in peers:
            with contextlib.suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)
        wait_until(lambda: self.open == 0, "the connections to be closed")

    def _accept(self) -> None:
        while True:
            try:
                connected, _ = self._listener.accept()
            except OSError:
                return
            with self._changed:
                self.connections += 1
                self.open += 1
                self._peers.add(connected)
                number = self.connections
            threading.Thread(target=self._serve, args=(connected, number), daemon=True).start()

    def _serve(self, connected: socket.socket, number: int) -> None:
        try:
            connected.settimeout(60)
            if self._tls is not None:
                wrapped = self._tls.wrap_socket(connected, server_side=True)
                with self._changed:
                    self._peers.discard(connected)
                    self._peers.add(wrapped)
                connected = wrapped
            peer = Peer(self, connected, number)
            while True:
                request = peer.read_head()
                self.requests.append(request)
                self.handler(peer, request)
        except (Gone, OSError):
            pass
        finally:
            connected.close()
            with self._changed:
                self.open -= 1
                self._peers.discard(connected)
