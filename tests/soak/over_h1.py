"""A connection of HTTP/1.1, with TLS or without."""

import asyncio
import collections
import socket
import ssl
import struct

from tally import Lost

# For close(): the peer gets a reset instead of an orderly end.
ABORT = struct.pack("ii", 1, 0)


class H1:
    """One request at a time."""

    name = "h1"

    def __init__(self, port: int, tls: ssl.SSLContext | None) -> None:
        self.port, self.tls = port, tls
        self.is_open = False
        #: The last requests on it and their status, for the words of a failure.
        self.history: collections.deque[str] = collections.deque(maxlen=3)

    async def open(self) -> None:
        """Connects, if it is not."""
        if not self.is_open:
            name = "localhost" if self.tls else None
            self.reader, self.writer = await asyncio.open_connection(
                "127.0.0.1", self.port, ssl=self.tls, server_hostname=name, limit=1 << 17
            )
            self.is_open = True
            self.history.clear()

    def close(self, *, abort: bool = False) -> None:
        """Closes it; ``abort`` by a reset."""
        if not self.is_open:
            return
        self.is_open = False
        if abort and not self.writer.is_closing():
            self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
            self.writer.transport.abort()
        else:
            self.writer.close()

    async def send_head(self, method: str, target: str, number: int, headers: str = "") -> None:
        """The request's head."""
        self.history.append(target)
        await self.send(f"{method} {target} HTTP/1.1\r\nhost: localhost\r\nx-number: {number}\r\n{headers}\r\n".encode())

    async def send(self, data: bytes) -> None:
        """Bytes as they are."""
        try:
            self.writer.write(data)
            await self.writer.drain()
        except ConnectionError as error:
            raise Lost(f"while sending: {error!r}; asked on it: {', '.join(self.history)}") from None

    async def head(self) -> tuple[int, dict[str, str]]:
        """The response's head."""
        try:
            lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            self.close()
            raise Lost(f"no head: {error!r}; asked on it: {', '.join(self.history)}") from None
        fields = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
        self.closes = fields.get("connection") == "close"
        status = int(lines[0].split(" ")[1])
        self.history[-1] += f" {status} {fields.get('connection', '')}"
        return status, fields

    async def pieces(self, fields: dict[str, str]):
        """The response's body as it comes; the connection is closed at its end if the server says so."""
        try:
            if fields.get("transfer-encoding") == "chunked":
                while True:
                    size = int(await self.reader.readuntil(b"\r\n"), 16)
                    left = size
                    while left:
                        piece = await self.reader.read(min(left, 1 << 16))
                        if not piece:
                            raise Lost("the connection has ended in a chunk")
                        left -= len(piece)
                        yield piece
                    await self.reader.readexactly(2)
                    if not size:
                        break
            else:
                left = int(fields["content-length"])
                while left:
                    piece = await self.reader.read(min(left, 1 << 16))
                    if not piece:
                        raise Lost(f"the connection has ended {left} bytes before the body's end")
                    left -= len(piece)
                    yield piece
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            self.close()
            raise Lost(f"in the body: {error!r}") from None
        except Lost:
            self.close()
            raise
        if self.closes:
            self.close()
