"""WebSockets over a connection of HTTP/1.1 or a stream of HTTP/2 or HTTP/3. wsproto knows the frames of all."""

import base64
import os

import wsproto.frame_protocol as frames

from over_h1 import H1
from over_h2 import H2, Stream
from over_h3 import H3, Stream3
from tally import Lost, Overloaded

HANDSHAKE = "upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\nsec-websocket-key: {}\r\n"


class OverH1:
    """The bytes of a connection that has switched."""

    def __init__(self, connection: H1) -> None:
        self.connection = connection

    async def send(self, data: bytes) -> None:
        await self.connection.send(data)

    async def receive(self) -> bytes:
        try:
            return await self.connection.reader.read(1 << 16)
        except ConnectionError as error:
            raise Lost(repr(error)) from None

    def leave(self, *, abort: bool) -> None:
        self.connection.close(abort=abort)


class OverStream:
    """The bytes of a stream."""

    def __init__(self, stream: Stream | Stream3) -> None:
        self.stream = stream

    async def send(self, data: bytes) -> None:
        await self.stream.send(data)

    async def receive(self) -> bytes:
        return await self.stream.receive()

    def leave(self, *, abort: bool) -> None:
        self.stream.reset()


class WebSocket:
    """Messages, one after the other."""

    def __init__(self, over: OverH1 | OverStream) -> None:
        self.over = over
        self.frames = frames.FrameProtocol(client=True, extensions=[])
        self.pending: list[frames.Frame] = []

    @classmethod
    async def over_h1(cls, connection: H1, target: str, number: int) -> "WebSocket":
        """Takes the whole connection."""
        key = base64.b64encode(os.urandom(16)).decode()
        await connection.send_head("GET", target, number, HANDSHAKE.format(key))
        status, fields = await connection.head()
        check(status, 101, fields, number)
        return cls(OverH1(connection))

    @classmethod
    async def over_stream(cls, connection: H2 | H3, target: str, number: int) -> "WebSocket":
        """On a stream of its own."""
        headers = [(":protocol", "websocket"), ("sec-websocket-version", "13")]
        stream = connection.ask("CONNECT", target, number, headers, end=False)
        status, fields = await stream.head()
        check(status, 200, fields, number)
        return cls(OverStream(stream))

    async def send(self, data: bytes) -> None:
        """A message of bytes."""
        await self.over.send(self.frames.send_data(data, fin=True))

    async def receive(self) -> bytes | None:
        """The next message; None once the server has closed it in order."""
        pieces: list[bytes] = []
        while True:
            while self.pending:
                frame = self.pending.pop(0)
                if frame.opcode is frames.Opcode.CLOSE:
                    code, reason = frame.payload
                    await self.over.send(self.frames.close(code=1000))
                    if code == 1000:
                        return None
                    raise Lost(f"closed with {int(code)} {reason!r}")
                if frame.opcode is frames.Opcode.PING:
                    await self.over.send(self.frames.pong(frame.payload))
                elif frame.opcode is not frames.Opcode.PONG:
                    pieces.append(bytes(frame.payload))
                    if frame.message_finished:
                        return b"".join(pieces)
            data = await self.over.receive()
            if not data:
                raise Lost("the WebSocket has ended without a Close frame")
            self.frames.receive_bytes(data)
            self.pending += self.frames.received_frames()

    async def close(self) -> None:
        """By the handshake."""
        await self.over.send(self.frames.close(code=1000))
        while data := await self.over.receive():
            self.frames.receive_bytes(data)
            if any(frame.opcode is frames.Opcode.CLOSE for frame in self.frames.received_frames()):
                return
        raise Lost("the close was not answered")


def check(status: int, wanted: int, fields: dict[str, str], number: int) -> None:
    """The answer to a handshake."""
    if status == 503:
        raise Overloaded
    if status != wanted:
        raise Lost(f"status {status}")
    if fields.get("x-number") != str(number):
        raise AssertionError(f"the answer of {fields.get('x-number')} came to {number}")
