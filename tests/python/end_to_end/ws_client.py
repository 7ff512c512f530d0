"""A blocking WebSocket client (RFC 6455) that hides nothing, over HTTP/1.1 or a stream of HTTP/2 (RFC
8441) or HTTP/3 (RFC 9220)."""

from __future__ import annotations

import base64
import os
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from end_to_end.h1_client import H1Client, Response
from end_to_end.h2_client import H2Client
from end_to_end.h3_client import H3Client

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
    """The transport of the frames."""

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
    """A stream of a connection, of HTTP/2 or HTTP/3."""

    def __init__(self, client: H2Client | H3Client, stream: int) -> None:
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

    def __init__(self, transport: Bytes, head: Any) -> None:
        self.transport: Any = transport
        #: The answer to the handshake, as the client of its protocol gives it.
        self.head = head
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

    def send_bytes(self, wire: bytes, *, chop: int = 0) -> None:
        """Sends bytes as they are, in pieces of ``chop`` bytes if that is not 0."""
        pieces = [wire[at : at + chop] for at in range(0, len(wire), chop)] if chop else [wire]
        for piece in pieces:
            try:
                self.transport.send(piece)
            except (BrokenPipeError, ConnectionResetError):
                return  # the server has said all that it has to say

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
        payload = self._rest_of(first)
        return payload.decode() if first.opcode == TEXT else payload

    def receive_payload(self) -> tuple[int, bytes]:
        """Reads a message as it is on the wire. Returns its reserved bits and its payload."""
        first = self.receive_frame()
        return first.rsv, self._rest_of(first)

    def receive_all(self, count: int | None = None) -> tuple[list[str | bytes], list[bytes], int | None]:
        """Reads up to the Close frame, or ``count`` messages and pongs. Returns the messages, the payloads of the pongs, and
        the close code."""
        messages: list[str | bytes] = []
        pongs: list[bytes] = []
        while count is None or len(messages) + len(pongs) < count:
            first = self.receive_frame()
            assert first.rsv == 0, first
            if first.opcode == CLOSE:
                return messages, pongs, first.close[0]
            if first.opcode == PONG:
                pongs.append(first.payload)
            else:
                payload = self._rest_of(first)
                messages.append(payload.decode() if first.opcode == TEXT else payload)
        return messages, pongs, None

    def _rest_of(self, first: Frame) -> bytes:
        assert first.opcode in (TEXT, BINARY), first
        pieces, last = [first.payload], first
        while not last.fin:
            last = self.receive_frame()
            assert last.opcode == 0, last
            pieces.append(last.payload)
        return b"".join(pieces)

    @property
    def extension(self) -> str:
        """The extension that the server has agreed to."""
        name = "sec-websocket-extensions"
        if isinstance(self.head, Response):
            return self.head.header(name) or ""
        return str((self.head.header(name.encode()) or b"").decode())

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


class Deflate:
    """The client's compression (RFC 7692), on the terms of the server's answer."""

    def __init__(self, terms: str) -> None:
        given = dict(term.strip().partition("=")[::2] for term in terms.split(";"))
        self._bits = int(given.get("client_max_window_bits") or 15)
        self._server_bits = int(given.get("server_max_window_bits") or 15)
        self._keeps = "client_no_context_takeover" not in given
        self._server_keeps = "server_no_context_takeover" not in given
        self._packer, self._unpacker = self._new_packer(), zlib.decompressobj(-self._server_bits)

    def _new_packer(self) -> zlib._Compress:
        return zlib.compressobj(9, zlib.DEFLATED, -self._bits)

    def pack(self, payload: bytes) -> bytes:
        """A message's payload as it goes over the wire."""
        packed = self._packer.compress(payload) + self._packer.flush(zlib.Z_SYNC_FLUSH)
        if not self._keeps:
            self._packer = self._new_packer()
        return packed.removesuffix(b"\0\0\xff\xff") or b"\0"

    def unpack(self, payload: bytes) -> bytes:
        """A message's payload as it was before the server compressed it; a wider window than agreed is an error."""
        unpacked = self._unpacker.decompress(payload + b"\0\0\xff\xff")
        if not self._server_keeps:
            self._unpacker = zlib.decompressobj(-self._server_bits)
        return unpacked


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
    """Sends the handshake, with each field of ``headers`` in place of its default. Returns the answer's head, or the
    ``whole`` answer."""
    fields = {
        "upgrade": "websocket",
        "connection": "Upgrade",
        "sec-websocket-version": "13",
        "sec-websocket-key": base64.b64encode(os.urandom(16)).decode(),
        **dict(headers),
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value)
    client.request("GET", target, lines)
    return client.response() if whole else client.head()


def open_over_h1(client: H1Client, target: str, headers: Sequence[tuple[str, str]] = ()) -> WsClient:
    """A WebSocket that takes the whole connection."""
    head = ask_over_h1(client, target, headers)
    assert head.status == 101, head
    return WsClient(OverH1(client), head)


def ask_over_h2(client: H2Client | H3Client, target: str, headers: Sequence[tuple[str, str]] = ()) -> int:
    """Sends the handshake on a stream of its own, of HTTP/2 or HTTP/3."""
    fields = {"sec-websocket-version": "13", **dict(headers)}
    extra = [(":protocol", "websocket"), *((name, value) for name, value in fields.items() if value)]
    return client.request("CONNECT", target, extra, end=False)


def open_over_h2(client: H2Client | H3Client, target: str, headers: Sequence[tuple[str, str]] = ()) -> WsClient:
    """A WebSocket on a stream of its own, of HTTP/2 or HTTP/3."""
    stream = ask_over_h2(client, target, headers)
    head = client.head(stream)
    assert head.status == 200, head
    return WsClient(OverH2(client, stream), head)
