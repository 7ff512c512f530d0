"""A blocking WebSocket client (RFC 6455) that hides nothing, over HTTP/1.1 or a stream of HTTP/2 (RFC 8441)."""

from __future__ import annotations

import base64
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from end_to_end.h1_client import H1Client, Response
from end_to_end.h2_client import H2Client

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


@dataclass
class Frame:
    """A frame as it came."""

    opcode: int
    payload: bytes
    fin: bool
    rsv: int

    @property
    def close(self) -> tuple[int, str]:
        """Code and reason of a Close frame; 1005 if it has none."""
        assert self.opcode == CLOSE, self
        if not self.payload:
            return 1005, ""
        return struct.unpack(">H", self.payload[:2])[0], self.payload[2:].decode()


class Ended(Exception):
    """The transport has ended."""


class Bytes(Protocol):
    """What carries the frames."""

    def send(self, data: bytes) -> None: ...
    def receive(self) -> bytes: ...
    def end(self) -> None: ...


class OverH1:
    """A connection that has switched."""

    def __init__(self, client: H1Client) -> None:
        self.client = client
        self.early = bytes(client._input)

    def send(self, data: bytes) -> None:
        self.client.send(data)

    def receive(self) -> bytes:
        early, self.early = self.early, b""
        try:
            return early or self.client.socket.recv(1 << 16)
        except ConnectionResetError:
            return b""

    def end(self) -> None:
        self.client.close()


class OverH2:
    """A stream of a connection."""

    def __init__(self, client: H2Client, stream: int) -> None:
        self.client, self.stream, self.taken = client, stream, 0

    def send(self, data: bytes) -> None:
        self.client.send(self.stream, data)

    def receive(self) -> bytes:
        stream = self.client.streams[self.stream]
        self.client.wait(lambda: stream.length > self.taken or stream.is_over, "bytes of the WebSocket")
        body = stream.body
        new, self.taken = body[self.taken :], len(body)
        return new

    def end(self) -> None:
        self.client.reset(self.stream)


class WsClient:
    """A WebSocket whose handshake is done."""

    def __init__(self, transport: Bytes, head: Response | object) -> None:
        self.transport, self.head = transport, head
        self._input = b""

    def send_frame(
        self, opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, mask: bool = True
    ) -> None:
        """Sends a frame as it is described, allowed or not."""
        self.transport.send(frame(opcode, payload, fin=fin, rsv=rsv, mask=mask))

    def send(self, message: str | bytes) -> None:
        """Sends a message."""
        text = isinstance(message, str)
        self.send_frame(TEXT if text else BINARY, message.encode() if isinstance(message, str) else message)

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Sends a Close frame."""
        self.send_frame(CLOSE, struct.pack(">H", code) + reason.encode())

    def receive_frame(self) -> Frame:
        """Reads a frame."""
        head = self._exactly(2)
        assert not head[1] & 0x80, "a server does not mask"
        length = head[1] & 0x7F
        if length == 126:
            length = struct.unpack(">H", self._exactly(2))[0]
        elif length == 127:
            length = struct.unpack(">Q", self._exactly(8))[0]
        return Frame(head[0] & 15, self._exactly(length), bool(head[0] & 0x80), head[0] >> 4 & 7)

    def receive(self) -> str | bytes:
        """Reads a message, in however many frames."""
        first = self.receive_frame()
        assert first.opcode in (TEXT, BINARY), first
        payload, last = first.payload, first
        while not last.fin:
            last = self.receive_frame()
            assert last.opcode == 0, last
            payload += last.payload
        return payload.decode() if first.opcode == TEXT else payload

    def closed(self) -> tuple[int, str]:
        """Reads a Close frame; then its code and reason."""
        return self.receive_frame().close

    def ended(self) -> None:
        """Reads the end of the transport."""
        try:
            rest = self._exactly(1)
        except Ended:
            return
        raise AssertionError(f"there is more: {rest!r}{self._input!r}")

    def _exactly(self, length: int) -> bytes:
        while len(self._input) < length:
            data = self.transport.receive()
            if not data:
                raise Ended
            self._input += data
        taken, self._input = self._input[:length], self._input[length:]
        return taken


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, mask: bool = True) -> bytes:
    """The bytes of a frame."""
    head = bytes([fin << 7 | rsv << 4 | opcode])
    masked = 0x80 if mask else 0
    if len(payload) < 126:
        head += bytes([masked | len(payload)])
    elif len(payload) < 1 << 16:
        head += bytes([masked | 126]) + struct.pack(">H", len(payload))
    else:
        head += bytes([masked | 127]) + struct.pack(">Q", len(payload))
    if not mask:
        return head + payload
    key = os.urandom(4)
    length = len(payload)
    repeated = (key * (length // 4 + 1))[:length]
    mixed = int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")
    return head + key + mixed.to_bytes(length, "big")


def ask_over_h1(
    client: H1Client, target: str, headers: Sequence[tuple[str, str]] = (), *, whole: bool = False
) -> Response:
    """Sends the handshake, with each field of ``headers`` in place of its default; gives the answer's head, or the
    ``whole`` answer."""
    fields = {
        "upgrade": "websocket",
        "connection": "Upgrade",
        "sec-websocket-version": "13",
        "sec-websocket-key": base64.b64encode(os.urandom(16)).decode(),
        **{name: value for name, value in headers},
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value)
    client.request("GET", target, lines)
    return client.response() if whole else client.head()


def open_over_h1(client: H1Client, target: str, headers: Sequence[tuple[str, str]] = ()) -> WsClient:
    """A WebSocket that takes the whole connection."""
    head = ask_over_h1(client, target, headers)
    assert head.status == 101, head
    return WsClient(OverH1(client), head)


def ask_over_h2(client: H2Client, target: str, headers: Sequence[tuple[str, str]] = ()) -> int:
    """Sends the handshake on a stream of its own."""
    fields = {"sec-websocket-version": "13", **dict(headers)}
    extra = [(":protocol", "websocket"), *((name, value) for name, value in fields.items() if value)]
    return client.request("CONNECT", target, extra, end=False)


def open_over_h2(client: H2Client, target: str, headers: Sequence[tuple[str, str]] = ()) -> WsClient:
    """A WebSocket on a stream of its own."""
    stream = ask_over_h2(client, target, headers)
    head = client.head(stream)
    assert head.status == 200, head
    return WsClient(OverH2(client, stream), head)
