"""Connections of the steady load: HTTP/1.1, HTTP/2, and WebSockets over both, with TLS, on asyncio.

What ends an exchange before its answer is whole is one of the exceptions here. They say what a client can know: whether it
may ask again without harm, and what came in place of the answer.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import ssl
import struct
from typing import Any

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions

CONTINUATION, TEXT, CLOSE, PING, PONG = 0, 1, 8, 9, 10
#: Close codes by which a server asks a client to come again (RFC 6455 section 7.4.1, and 1012 of IANA's registry).
COME_AGAIN = (1001, 1012)


class Failed(Exception):
    """The answer does not come, or not whole; says what came in its place."""


class AskAgain(Exception):
    """The server says that it has not looked at the request, or that a WebSocket has to be opened anew."""


class H1:
    """A connection of HTTP/1.1."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        #: Whether another request may be sent.
        self.is_usable = True

    @classmethod
    async def open(cls, port: int, tls: ssl.SSLContext | None) -> H1:
        """Connects."""
        try:
            return cls(*await asyncio.open_connection("127.0.0.1", port, ssl=tls))
        except ConnectionRefusedError:
            raise Failed("refused") from None
        except OSError as error:
            raise Failed(f"no connection: {type(error).__name__}") from None

    @property
    def has_ended(self) -> bool:
        """Whether the server has closed its side, as far as the client knows."""
        return self.reader.at_eof() or self.writer.is_closing()

    def close(self) -> None:
        """Closes it without a word."""
        self.is_usable = False
        self.writer.close()

    async def send(self, data: bytes) -> None:
        """Sends bytes as they are."""
        try:
            self.writer.write(data)
            await self.writer.drain()
        except OSError as error:
            raise Failed(_how_it_ended(error)) from None

    async def head(self) -> tuple[int, dict[str, str]]:
        """Reads a response's head."""
        lines = (await self._read(self.reader.readuntil(b"\r\n\r\n"))).decode("latin-1").split("\r\n")
        fields = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
        return int(lines[0].split(" ")[1]), fields

    async def get(self, target: str) -> tuple[int, bytes]:
        """A whole exchange. The connection is closed if the server says so."""
        await self.send(f"GET {target} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
        status, fields = await self.head()
        try:
            body = await self._body(fields)
        except Failed as failure:
            raise Failed("reset" if str(failure) == "reset" else "cut") from None
        if fields.get("connection") == "close":
            self.close()
        return status, body

    async def _body(self, fields: dict[str, str]) -> bytes:
        body = b""
        if fields.get("transfer-encoding") == "chunked":
            while size := int(await self._read(self.reader.readuntil(b"\r\n")), 16):
                body += await self._read(self.reader.readexactly(size))
                await self._read(self.reader.readexactly(2))
            await self._read(self.reader.readexactly(2))
        elif "content-length" in fields:
            body = await self._read(self.reader.readexactly(int(fields["content-length"])))
        else:
            body = await self._read(self.reader.read())
            self.is_usable = False
        return body

    async def receive(self) -> bytes:
        """Reads what comes next; nothing at the end."""
        try:
            return await self.reader.read(1 << 16)
        except OSError as error:
            raise Failed(_how_it_ended(error)) from None

    async def _read(self, reading: Any) -> bytes:
        try:
            return bytes(await reading)
        except (asyncio.IncompleteReadError, OSError) as error:
            raise Failed(_how_it_ended(error)) from None


def _how_it_ended(error: Exception) -> str:
    if isinstance(error, asyncio.IncompleteReadError):
        return "cut" if error.partial else "closed"
    return "reset"


class Stream:
    """A stream of HTTP/2."""

    def __init__(self) -> None:
        self.status = 0
        self.pieces: list[bytes] = []
        self.has_ended = False
        self.failure: Exception | None = None
        self._changed = asyncio.Event()

    def change(self) -> None:
        """Wakes the task that waits for the stream."""
        self._changed.set()

    async def wait(self) -> None:
        """Waits for anything new. Raises what has ended the stream."""
        if self.failure is None:
            self._changed.clear()
            await self._changed.wait()
        if self.failure is not None:
            raise self.failure


class H2(asyncio.Protocol):
    """A connection of HTTP/2 that many tasks share. It takes no more requests once the server has sent GOAWAY."""

    def __init__(self) -> None:
        self.protocol = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding=None))
        self.streams: dict[int, Stream] = {}
        self.is_usable = True
        self.has_extended_connect = asyncio.Event()
        self.settled = asyncio.Event()
        self._input = b""
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def open(cls, port: int, tls: ssl.SSLContext | None) -> H2:
        """Connects, and waits for the server's settings."""
        try:
            _, made = await asyncio.get_running_loop().create_connection(cls, "127.0.0.1", port, ssl=tls)
        except ConnectionRefusedError:
            raise Failed("refused") from None
        except OSError as error:
            raise Failed(f"no connection: {type(error).__name__}") from None
        await made.settled.wait()
        return made

    def close(self) -> None:
        """Closes it without a word."""
        self.is_usable = False
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self.protocol.initiate_connection()
        self.protocol.increment_flow_control_window(1 << 24)
        self.flush()

    def connection_lost(self, error: Exception | None) -> None:
        self.is_usable = False
        self.settled.set()
        for stream in self.streams.values():
            stream.failure = stream.failure or Failed("reset" if error else "closed")
            stream.change()

    def flush(self) -> None:
        """Writes what the protocol has to say."""
        assert self._transport is not None
        data = self.protocol.data_to_send()
        if data and not self._transport.is_closing():
            self._transport.write(data)

    def data_received(self, data: bytes) -> None:
        self._input += data
        while len(self._input) >= 9:
            length = 9 + int.from_bytes(self._input[:3], "big")
            if len(self._input) < length:
                break
            frame, self._input = self._input[:length], self._input[length:]
            try:
                for event in self.protocol.receive_data(frame):
                    self._take(event)
            except h2.exceptions.ProtocolError:
                self.close()
                return
        self.flush()

    def _take(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.RemoteSettingsChanged):
            self.settled.set()
            return
        if isinstance(event, h2.events.ConnectionTerminated):
            self.is_usable = False
            # hyper-h2 takes GOAWAY for the end, but it only ends the making of streams (RFC 9113 section 6.8).
            self.protocol.state_machine.state = h2.connection.ConnectionState.CLIENT_OPEN
            last = event.last_stream_id or 0
            for unseen in [stream for number, stream in self.streams.items() if number > last]:
                unseen.failure = AskAgain("GOAWAY")
                unseen.change()
            return
        stream = self.streams.get(getattr(event, "stream_id", None) or 0)
        if stream is None:
            return
        if isinstance(event, h2.events.ResponseReceived):
            assert event.headers is not None
            stream.status = int(dict(event.headers)[b":status"])
        elif isinstance(event, h2.events.DataReceived):
            stream.pieces.append(event.data)
            assert event.stream_id is not None
            self.protocol.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            stream.has_ended = True
        elif isinstance(event, h2.events.StreamReset):
            refused = event.error_code == h2.errors.ErrorCodes.REFUSED_STREAM
            stream.failure = AskAgain("REFUSED_STREAM") if refused else Failed("stream reset")
        stream.change()

    def ask(self, target: str, *, websocket: bool = False) -> tuple[int, Stream]:
        """Sends a request: a GET, or the handshake of a WebSocket (RFC 8441)."""
        if not self.is_usable:
            raise AskAgain("closed before")
        number = self.protocol.get_next_available_stream_id()
        head = [(":method", "CONNECT" if websocket else "GET"), (":scheme", "https"), (":path", target), (":authority", "localhost")]
        if websocket:
            head += [(":protocol", "websocket"), ("sec-websocket-version", "13")]
        stream = self.streams[number] = Stream()
        try:
            self.protocol.send_headers(number, head, end_stream=not websocket)
        except h2.exceptions.ProtocolError:
            del self.streams[number]
            raise AskAgain("closed before") from None
        self.flush()
        return number, stream

    async def get(self, target: str) -> tuple[int, bytes]:
        """A whole exchange."""
        number, stream = self.ask(target)
        try:
            while not stream.has_ended:
                await stream.wait()
        finally:
            self.leave(number, stream)
        return stream.status, b"".join(stream.pieces)

    def leave(self, number: int, stream: Stream) -> None:
        """Forgets a stream, and resets it if it is open."""
        self.streams.pop(number, None)
        if not stream.has_ended and stream.failure is None:
            with contextlib.suppress(h2.exceptions.ProtocolError):
                self.protocol.reset_stream(number, h2.errors.ErrorCodes.CANCEL)
                self.flush()


class OverH1:
    """The bytes of a WebSocket that has a connection of its own."""

    def __init__(self, connection: H1) -> None:
        self._connection = connection

    @classmethod
    async def open(cls, connection: H1, target: str) -> OverH1:
        """Sends the handshake and reads its answer."""
        key = base64.b64encode(os.urandom(16)).decode()
        await connection.send(
            f"GET {target} HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
            f"sec-websocket-version: 13\r\nsec-websocket-key: {key}\r\n\r\n".encode()
        )
        status, _ = await connection.head()
        if status != 101:
            raise Failed(f"status {status}")
        return cls(connection)

    async def send(self, data: bytes) -> None:
        with contextlib.suppress(Failed):  # the connection has ended: what came last is still to be read
            await self._connection.send(data)

    async def receive(self) -> bytes:
        return await self._connection.receive()

    def leave(self) -> None:
        self._connection.close()


class OverH2:
    """The bytes of a WebSocket on a stream."""

    def __init__(self, connection: H2, number: int, stream: Stream) -> None:
        self._connection, self._number, self._stream = connection, number, stream

    @classmethod
    async def open(cls, connection: H2, target: str) -> OverH2:
        """Sends the handshake and waits for its answer."""
        number, stream = connection.ask(target, websocket=True)
        try:
            while not stream.status:
                await stream.wait()
            if stream.status != 200:
                raise Failed(f"status {stream.status}")
        except BaseException:
            connection.leave(number, stream)
            raise
        return cls(connection, number, stream)

    async def send(self, data: bytes) -> None:
        if self._stream.failure is not None:
            raise self._stream.failure
        with contextlib.suppress(h2.exceptions.ProtocolError):  # the stream has ended: what came last is still to be read
            self._connection.protocol.send_data(self._number, data)
            self._connection.flush()

    async def receive(self) -> bytes:
        while not self._stream.pieces:
            if self._stream.has_ended:
                return b""
            await self._stream.wait()
        data, self._stream.pieces = b"".join(self._stream.pieces), []
        return data

    def leave(self) -> None:
        self._connection.leave(self._number, self._stream)


class WebSocket:
    """The messages of a WebSocket, each in one frame."""

    def __init__(self, transport: OverH1 | OverH2) -> None:
        self.transport = transport
        self._input = b""

    async def send(self, opcode: int, payload: bytes) -> None:
        """Sends a short frame, with a mask that changes nothing."""
        assert len(payload) < 126
        await self.transport.send(bytes([0x80 | opcode, 0x80 | len(payload)]) + bytes(4) + payload)

    async def echo(self, text: bytes) -> bytes:
        """Sends a message and reads one."""
        await self.send(TEXT, text)
        opcode, payload = await self._frame()
        if opcode == CLOSE:
            code = struct.unpack(">H", payload[:2])[0] if payload else 1005
            with contextlib.suppress(Failed, AskAgain):
                await self.send(CLOSE, payload[:2])
            raise AskAgain(f"close {code}") if code in COME_AGAIN else Failed(f"close {code}")
        if opcode != TEXT:
            raise Failed(f"frame {opcode}")
        return payload

    async def close(self) -> None:
        """Closes it, and reads up to the server's Close frame."""
        await self.send(CLOSE, struct.pack(">H", 1000))
        while (await self._frame())[0] != CLOSE:
            pass

    async def _frame(self) -> tuple[int, bytes]:
        while True:
            head = await self._exactly(2)
            length = head[1]
            if length == 126:
                length = struct.unpack(">H", await self._exactly(2))[0]
            payload = await self._exactly(length)
            if head[0] & 15 == PING:
                await self.send(PONG, payload)
            else:
                return head[0] & 15, payload

    async def _exactly(self, length: int) -> bytes:
        while len(self._input) < length:
            data = await self.transport.receive()
            if not data:
                raise Failed("closed without a Close frame")
            self._input += data
        taken, self._input = self._input[:length], self._input[length:]
        return taken
