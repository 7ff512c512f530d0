"""A blocking HTTP/1.1 client over a plain socket that hides nothing: what is sent is written by the test itself,
and a response is read strictly."""

from __future__ import annotations

import contextlib
import socket
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from end_to_end.server import DEADLINE, Listening

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass
class Response:
    """One response, its head as it stood on the wire."""

    version: str
    status: int
    reason: str
    headers: list[tuple[str, str]]
    body: bytes = b""
    chunks: list[bytes] = field(default_factory=list)
    trailers: list[tuple[str, str]] = field(default_factory=list)

    def all(self, name: str) -> list[str]:
        """The values of a field."""
        return [value for key, value in self.headers if key.lower() == name]

    def header(self, name: str) -> str | None:
        """The one value of a field, if it has one."""
        values = self.all(name)
        assert len(values) < 2, (name, values)
        return values[0] if values else None


class Closed(Exception):
    """The server has closed the connection where a response was expected."""


class H1Client:
    """A connection."""

    def __init__(
        self,
        where: Listening,
        *,
        tls: ssl.SSLContext | None = None,
        deadline: float = DEADLINE,
        receive_buffer: int = 0,
        name: str = "localhost",
    ) -> None:
        self.where = where
        if where.path is not None:
            self.socket = socket.socket(socket.AF_UNIX)
        else:
            self.socket = socket.socket(socket.AF_INET6 if ":" in where.host else socket.AF_INET)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(deadline)
        self.socket.connect(where.path or (where.host.strip("[]"), where.port))
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_hostname=name)
        self._input = bytearray()
        #: Those of the last chunked body.
        self.trailers: list[tuple[str, str]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection without a word."""
        self.socket.close()

    def send(self, data: bytes | str) -> None:
        """Sends bytes as they are."""
        self.socket.sendall(data.encode() if isinstance(data, str) else data)

    def request(self, method: str = "GET", target: str = "/", headers: str = "", body: bytes = b"") -> None:
        """Sends a request with ``host`` and, if there is a body, ``content-length``."""
        length = f"content-length: {len(body)}\r\n" if body else ""
        self.send(f"{method} {target} HTTP/1.1\r\nhost: {self.where.authority}\r\n{length}{headers}\r\n".encode() + body)

    def get(self, target: str = "/", headers: str = "") -> Response:
        """A whole exchange."""
        self.request("GET", target, headers)
        return self.response()

    def response(self, *, to_head: bool = False) -> Response:
        """Reads one response; ``to_head`` if it answers a HEAD request."""
        response = self.head()
        if to_head or response.status < 200 or response.status in (204, 304):
            return response
        coding = response.header("transfer-encoding")
        length = response.header("content-length")
        if coding is not None:
            assert coding == "chunked" and length is None, response
            while chunk := self.chunk():
                response.chunks.append(chunk)
            response.trailers = self.trailers
            response.body = b"".join(response.chunks)
        elif length is not None:
            response.body = self.exactly(int(length))
        else:
            assert response.header("connection") == "close", response
            response.body = self.until_closed()
        return response

    def head(self) -> Response:
        """Reads a head only."""
        lines = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")[:-2]
        version, status, reason = lines[0].split(" ", 2)
        fields = [line.partition(":") for line in lines[1:]]
        return Response(version, int(status), reason, [(name, value.strip()) for name, _, value in fields])

    def chunk(self) -> bytes:
        """Reads a chunk; the last one is empty, and what follows it is kept in ``trailers``."""
        size = int(self._until(b"\r\n"), 16)
        if size == 0:
            lines = list(iter(lambda: self._until(b"\r\n").decode("latin-1"), "\r\n"))
            fields = [line.removesuffix("\r\n").partition(": ") for line in lines]
            self.trailers = [(name, value) for name, _, value in fields]
            return b""
        data = self.exactly(size)
        assert self.exactly(2) == b"\r\n"
        return data

    def exactly(self, count: int) -> bytes:
        """Reads ``count`` bytes."""
        while len(self._input) < count:
            self._receive()
        data = bytes(self._input[:count])
        del self._input[:count]
        return data

    def until_closed(self) -> bytes:
        """Reads all that comes until the server closes its side."""
        pieces = [bytes(self._input)]
        self._input.clear()
        while piece := self.socket.recv(1 << 16):
            pieces.append(piece)
        return b"".join(pieces)

    def assert_closed(self) -> None:
        """Waits until the server has closed its side without another byte."""
        assert self.until_closed() == b""

    def assert_cut(self) -> None:
        """Waits until the server has ended the connection, in whatever way."""
        with contextlib.suppress(ConnectionResetError, ssl.SSLError):
            self.until_closed()

    def half_close(self) -> None:
        """Says that nothing more will be sent."""
        self.socket.shutdown(socket.SHUT_WR)

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._input:
            self._receive()
        at = self._input.index(mark) + len(mark)
        data = bytes(self._input[:at])
        del self._input[:at]
        return data

    def _receive(self) -> None:
        piece = self.socket.recv(1 << 16)
        if not piece:
            raise Closed(f"after {self._input[:200]!r}")
        self._input += piece
