"""What RFC 9113 and RFC 7541 forbid to clients, one rule a row, sent as raw frames to the server's socket.

An error of a stream may be answered by RST_STREAM or by the end of the connection, as RFC 9113 section 5.4.2 allows. After
each error that is of one stream alone, another stream is still served.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import hpack
import pytest

from end_to_end.server import Server

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITIZED = 1, 1, 4, 8, 32

PROTOCOL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED, FRAME_SIZE_ERROR = 1, 3, 5, 6
REFUSED_STREAM, COMPRESSION_ERROR, ENHANCE_YOUR_CALM = 7, 9, 11

MAX_31 = (1 << 31) - 1


class Frame(NamedTuple):
    """A frame of the server."""

    kind: int
    flags: int
    stream: int
    payload: bytes


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def number(value: int) -> bytes:
    return value.to_bytes(4, "big")


def settings(*entries: tuple[int, int]) -> bytes:
    return frame(SETTINGS, payload=b"".join(name.to_bytes(2, "big") + number(value) for name, value in entries))


def block(*changes: tuple[str, str | None], method: str = "GET") -> bytes:
    """The header block of a request, with pseudo-header fields replaced or left out, and other fields behind them."""
    line: dict[str, str | None] = {":method": method, ":scheme": "http", ":authority": "a", ":path": "/"}
    others = [(name, value) for name, value in changes if name not in line]
    line.update((name, value) for name, value in changes if name in line)
    fields = [(name, value) for name, value in [*line.items(), *others] if value is not None]
    return bytes(hpack.Encoder().encode(fields, huffman=False))


def raw(*fields: tuple[str, str]) -> bytes:
    """A header block of any fields, as literals without an index."""
    encoded = b""
    for name, value in fields:
        encoded += (
            b"\x00" + bytes((len(name),)) + name.encode("latin-1") + bytes((len(value),)) + value.encode("latin-1")
        )
    return encoded


#: A literal field with the name x-test, in Huffman's code, before its value. That of the value test is 49 50 9f.
X_TEST = b"\x00\x85\xf2\xb2\x4a\x84\xff"

LINE = ((":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/"))


def get(stream: int) -> bytes:
    return frame(HEADERS, END_HEADERS | END_STREAM, stream, block())


def post(stream: int, *fields: tuple[str, str]) -> bytes:
    return frame(HEADERS, END_HEADERS, stream, block(*fields, method="POST"))


def request(payload: bytes, flags: int = END_HEADERS | END_STREAM) -> bytes:
    return frame(HEADERS, flags, 1, payload)


@dataclass
class Raw:
    """A connection of raw frames."""

    socket: socket.socket
    input: bytes = b""
    is_closed: bool = False

    def frames(self) -> Iterator[Frame]:
        """The frames of the server, to the end of the connection."""
        while True:
            while len(self.input) >= 9 and len(self.input) >= 9 + int.from_bytes(self.input[:3], "big"):
                end = 9 + int.from_bytes(self.input[:3], "big")
                found, self.input = self.input[:end], self.input[end:]
                yield Frame(found[3], found[4], int.from_bytes(found[5:9], "big") & MAX_31, found[9:])
            try:
                data = self.socket.recv(1 << 16)
            except ConnectionResetError:
                data = b""
            if not data:
                self.is_closed = True
                return
            self.input += data

    def answer(self, sent: bytes, stream: int) -> tuple[str, int]:
        """Sends bytes, and returns what ends the stream or the connection: ``goaway`` and ``reset`` with their code,
        ``response`` with 0, or ``nothing`` if neither has ended when a PING behind the bytes is answered."""
        with contextlib.suppress(ConnectionError):
            self.socket.sendall(sent + frame(PING, payload=b"conforms"))
        ended = "nothing", 0
        for found in self.frames():
            if found.kind == GOAWAY:
                return "goaway", int.from_bytes(found.payload[4:8], "big")
            if found.kind == RST_STREAM and found.stream == stream:
                ended = "reset", int.from_bytes(found.payload, "big")
            elif found.stream == stream and found.kind in (DATA, HEADERS) and found.flags & END_STREAM:
                ended = ("response", 0) if ended[0] == "nothing" else ended
            elif found.kind == PING and found.flags & ACK and found.payload == b"conforms":
                return ended
        return "closed", 0


@pytest.fixture(scope="module")
def server(share: Callable[..., Server]) -> Server:
    return share("plain.py:app", keep_alive_timeout=30)


@pytest.fixture
def client(server: Server) -> Iterator[Raw]:
    with socket.create_connection(("127.0.0.1", server.listener.port), timeout=20) as opened:
        opened.sendall(PREFACE + settings())
        yield Raw(opened)


#: What ends the connection, by the section that says so, and the codes that it allows.
CONNECTION_ERRORS: dict[str, tuple[bytes, int]] = {
    "4.2 a frame that is larger than allowed": (post(1) + frame(DATA, 0, 1, bytes(16_385)), FRAME_SIZE_ERROR),
    "4.2 a header block that is larger than a frame": (request(block(("x", "y" * 17_000))), FRAME_SIZE_ERROR),
    "4.3 a block that is no HPACK": (request(b"\xff\xff\xff\xff\xff\xff"), COMPRESSION_ERROR),
    "4.3 another frame within a header block": (
        request(block(), END_STREAM) + frame(PRIORITY, 0, 1, number(3) + b"\1"),
        PROTOCOL_ERROR,
    ),
    "4.3 another stream's frame within a header block": (request(block(), END_STREAM) + get(3), PROTOCOL_ERROR),
    "4.3 an unknown frame within a header block": (request(block(), END_STREAM) + frame(0xF0), PROTOCOL_ERROR),
    "5.1 DATA on a stream that is idle": (frame(DATA, END_STREAM, 1, b"x"), PROTOCOL_ERROR),
    "5.1 RST_STREAM on a stream that is idle": (frame(RST_STREAM, 0, 1, number(8)), PROTOCOL_ERROR),
    "5.1 WINDOW_UPDATE on a stream that is idle": (frame(WINDOW_UPDATE, 0, 1, number(1)), PROTOCOL_ERROR),
    "5.1 CONTINUATION on a stream that is idle": (frame(CONTINUATION, END_HEADERS, 1, block()), PROTOCOL_ERROR),
    "5.1.1 an even number": (get(2), PROTOCOL_ERROR),
    "5.1.1 a number that was skipped": (post(5) + get(3), PROTOCOL_ERROR),
    "6.1 DATA on stream 0": (frame(DATA, 0, 0, b"x"), PROTOCOL_ERROR),
    "6.1 DATA with more padding than payload": (post(1) + frame(DATA, PADDED, 1, b"\x06hello"), PROTOCOL_ERROR),
    "6.1 DATA without the length of its padding": (post(1) + frame(DATA, PADDED, 1), FRAME_SIZE_ERROR),
    "6.2 HEADERS on stream 0": (get(0), PROTOCOL_ERROR),
    "6.2 HEADERS with more padding than payload": (
        request(bytes((len(block()) + 1,)) + block(), END_HEADERS | END_STREAM | PADDED),
        PROTOCOL_ERROR,
    ),
    "6.2 HEADERS too short for its priority": (request(b"\0\0\0", END_HEADERS | PRIORITIZED), FRAME_SIZE_ERROR),
    "6.3 PRIORITY on stream 0": (frame(PRIORITY, 0, 0, number(1) + b"\1"), PROTOCOL_ERROR),
    "6.4 RST_STREAM on stream 0": (frame(RST_STREAM, 0, 0, number(8)), PROTOCOL_ERROR),
    "6.4 RST_STREAM of another length": (post(1) + frame(RST_STREAM, 0, 1, b"\0\0\0"), FRAME_SIZE_ERROR),
    "6.5 SETTINGS with ACK and a payload": (frame(SETTINGS, ACK, 0, bytes(6)), FRAME_SIZE_ERROR),
    "6.5 SETTINGS on a stream": (frame(SETTINGS, 0, 1), PROTOCOL_ERROR),
    "6.5 SETTINGS of another length": (frame(SETTINGS, 0, 0, bytes(5)), FRAME_SIZE_ERROR),
    "6.5.2 ENABLE_PUSH that is neither 0 nor 1": (settings((2, 2)), PROTOCOL_ERROR),
    "6.5.2 a window that is too large": (settings((4, 1 << 31)), FLOW_CONTROL_ERROR),
    "6.5.2 a frame size that is too small": (settings((5, 16_383)), PROTOCOL_ERROR),
    "6.5.2 a frame size that is too large": (settings((5, 1 << 24)), PROTOCOL_ERROR),
    "6.6 PUSH_PROMISE of a client": (post(1) + frame(PUSH_PROMISE, END_HEADERS, 1, number(2)), PROTOCOL_ERROR),
    "6.7 PING on a stream": (frame(PING, 0, 1, bytes(8)), PROTOCOL_ERROR),
    "6.7 PING of another length": (frame(PING, 0, 0, bytes(6)), FRAME_SIZE_ERROR),
    "6.8 GOAWAY on a stream": (frame(GOAWAY, 0, 1, bytes(8)), PROTOCOL_ERROR),
    "6.8 GOAWAY that is too short": (frame(GOAWAY, 0, 0, bytes(7)), FRAME_SIZE_ERROR),
    "6.9 WINDOW_UPDATE by 0": (frame(WINDOW_UPDATE, 0, 0, number(0)), PROTOCOL_ERROR),
    "6.9 WINDOW_UPDATE of another length": (frame(WINDOW_UPDATE, 0, 0, b"\0\0\1"), FRAME_SIZE_ERROR),
    "6.9.1 a window of the connection that is too large": (
        frame(WINDOW_UPDATE, 0, 0, number(MAX_31)) * 2,
        FLOW_CONTROL_ERROR,
    ),
    "6.9.2 streams' windows that are too large": (
        post(1) + frame(WINDOW_UPDATE, 0, 1, number(MAX_31 - 65_535)) + settings((4, 65_536)),
        FLOW_CONTROL_ERROR,
    ),
    "6.10 CONTINUATION without HEADERS": (post(1) + frame(CONTINUATION, END_HEADERS, 1, block()), PROTOCOL_ERROR),
    "6.10 CONTINUATION on stream 0": (request(block(), END_STREAM) + frame(CONTINUATION, 4, 0), PROTOCOL_ERROR),
    "6.10 CONTINUATION behind the end of the block": (get(1) + frame(CONTINUATION, END_HEADERS, 1), PROTOCOL_ERROR),
    "7541 2.3.3 an index that no table has": (request(b"\x82\x86\x84\xc6"), COMPRESSION_ERROR),
    "7541 6.1 the index 0": (request(b"\x82\x86\x84\x80"), COMPRESSION_ERROR),
    "7541 4.2 a table that is larger than allowed": (request(b"\x3f\xe2\x1f" + block()), COMPRESSION_ERROR),
    "7541 4.2 a new size behind a field": (request(block() + b"\x20"), COMPRESSION_ERROR),
    "7541 5.2 padding that is longer than seven bits": (
        request(block() + X_TEST + b"\x84\x49\x50\x9f\xff"),
        COMPRESSION_ERROR,
    ),
    "7541 5.2 padding of other bits": (request(block() + X_TEST + b"\x83\x49\x50\x90"), COMPRESSION_ERROR),
    "7541 5.2 the end of the code within a string": (
        request(block() + X_TEST + b"\x87\x49\x51\xff\xff\xff\xfa\x7f"),
        COMPRESSION_ERROR,
    ),
    "8.2.1 a name in upper case": (request(raw(*LINE, ("X-Upper", "1"))), PROTOCOL_ERROR),
    "8.2.1 a value with a line break": (request(raw(*LINE, ("x", "a\r\nb"))), PROTOCOL_ERROR),
}

#: What ends a stream, likewise.
STREAM_ERRORS: dict[str, tuple[bytes, int]] = {
    "5.1 DATA behind END_STREAM": (get(1) + frame(DATA, END_STREAM, 1, b"x"), STREAM_CLOSED),
    "5.1 HEADERS behind END_STREAM": (get(1) + get(1), STREAM_CLOSED),
    "5.3 a stream that depends on itself": (frame(HEADERS, 37, 1, number(1) + b"\1" + block()), PROTOCOL_ERROR),
    "6.3 PRIORITY of another length": (post(1) + frame(PRIORITY, 0, 1, b"\0\0\0\1"), FRAME_SIZE_ERROR),
    "6.9 WINDOW_UPDATE of a stream by 0": (post(1) + frame(WINDOW_UPDATE, 0, 1, number(0)), PROTOCOL_ERROR),
    "6.9.1 a window of a stream that is too large": (
        post(1) + frame(WINDOW_UPDATE, 0, 1, number(MAX_31)) * 2,
        FLOW_CONTROL_ERROR,
    ),
    "8.1 trailers without END_STREAM": (
        post(1) + frame(HEADERS, END_HEADERS, 1, raw(("x", "1"))),
        PROTOCOL_ERROR,
    ),
    "8.1 trailers with a pseudo-header field": (
        post(1) + frame(HEADERS, END_HEADERS | END_STREAM, 1, raw((":method", "GET"))),
        PROTOCOL_ERROR,
    ),
    "8.1.1 a body that is longer than its length": (
        post(1, ("content-length", "1")) + frame(DATA, END_STREAM, 1, b"four"),
        PROTOCOL_ERROR,
    ),
    "8.1.1 a body that is shorter than its length": (
        post(1, ("content-length", "5")) + frame(DATA, 0, 1, b"fo") + frame(DATA, END_STREAM, 1, b"ur"),
        PROTOCOL_ERROR,
    ),
    "8.2.2 a field of the connection": (request(raw(*LINE, ("connection", "keep-alive"))), PROTOCOL_ERROR),
    "8.2.2 te with another coding than trailers": (request(raw(*LINE, ("te", "trailers, deflate"))), PROTOCOL_ERROR),
    "8.3 a pseudo-header field of responses": (request(raw(*LINE, (":status", "200"))), PROTOCOL_ERROR),
    "8.3 a pseudo-header field behind others": (
        request(raw(*LINE[:3], ("x", "1"), (":path", "/"))),
        PROTOCOL_ERROR,
    ),
    "8.3.1 an empty path": (request(block((":path", ""))), PROTOCOL_ERROR),
    "8.3.1 no method": (request(block((":method", None))), PROTOCOL_ERROR),
    "8.3.1 no scheme": (request(block((":scheme", None))), PROTOCOL_ERROR),
    "8.3.1 no path": (request(block((":path", None))), PROTOCOL_ERROR),
    "8.3.1 two methods": (request(raw(*LINE, (":method", "GET"))), PROTOCOL_ERROR),
    "8.3.1 two schemes": (request(raw(*LINE, (":scheme", "http"))), PROTOCOL_ERROR),
    "8.3.1 two paths": (request(raw(*LINE, (":path", "/"))), PROTOCOL_ERROR),
    "8.5 CONNECT with a path": (request(block(method="CONNECT")), PROTOCOL_ERROR),
}

#: What is no error.
LEGAL: dict[str, bytes] = {
    "4.1 a frame of an unknown kind": frame(0xF0, 0xFF, 0, b"grease") + get(1),
    "4.1 reserved bits and unknown flags": frame(PING, 0xFE, 0, bytes(8)) + get(1),
    "4.2 a frame of the largest size": post(1) + frame(DATA, END_STREAM, 1, bytes(16_384)),
    "4.3 a block in pieces": frame(HEADERS, END_STREAM, 1, block()[:3])
    + frame(CONTINUATION, 0, 1)
    + frame(CONTINUATION, END_HEADERS, 1, block()[3:]),
    "5.1 PRIORITY on a stream that is idle": frame(PRIORITY, 0, 7, number(3) + b"\1") + get(1),
    "7541 5.2 a string in Huffman's code": request(block() + X_TEST + b"\x83\x49\x50\x9f"),
    "6.1 padding": post(1) + frame(DATA, PADDED | END_STREAM, 1, b"\x03hello\0\0\0"),
    "6.2 padding and a priority": request(
        b"\x02" + number(3) + b"\1" + block() + b"\0\0", END_HEADERS | END_STREAM | PADDED | PRIORITIZED
    ),
    "6.5.3 a setting that is unknown": settings((0xAAAA, 7)) + get(1),
    "8.1 trailers": post(1) + frame(DATA, 0, 1, b"x") + frame(HEADERS, END_HEADERS | END_STREAM, 1, raw(("x", "1"))),
    "8.1 a body of no bytes": post(1) + frame(DATA, END_STREAM, 1),
    "7541 4.2 a smaller table at the beginning": request(b"\x20" + block()),
    "7541 6.2.3 fields that are never indexed": request(raw(*LINE).replace(b"\x00\x07:method", b"\x10\x07:method")),
}


@pytest.mark.parametrize("rule", CONNECTION_ERRORS)
def test_errors_of_the_connection_end_it(client: Raw, rule: str) -> None:
    sent, code = CONNECTION_ERRORS[rule]
    assert client.answer(sent, 1) == ("goaway", code)
    assert not any(found.kind in (DATA, HEADERS) for found in client.frames()) and client.is_closed


@pytest.mark.parametrize("rule", STREAM_ERRORS)
def test_errors_of_a_stream_end_it_and_no_other(client: Raw, rule: str) -> None:
    sent, code = STREAM_ERRORS[rule]
    assert client.answer(sent, 1) == ("reset", code)
    assert client.answer(get(999), 999)[0] in ("nothing", "response")
    assert not client.is_closed


@pytest.mark.parametrize("rule", LEGAL)
def test_what_is_legal_is_served(client: Raw, rule: str) -> None:
    kind, _ = client.answer(LEGAL[rule], 1)
    while kind == "nothing":
        kind, _ = client.answer(b"", 1)
    assert kind == "response"


def test_frames_on_streams_that_were_reset_are_no_error(client: Raw) -> None:
    late = frame(RST_STREAM, 0, 1, number(8)) + frame(WINDOW_UPDATE, 0, 1, number(9)) + frame(PRIORITY, 0, 1, bytes(5))
    assert client.answer(post(1) + frame(RST_STREAM, 0, 1, number(8)) + late, 1) == ("nothing", 0)


def test_more_streams_than_allowed_are_refused(client: Raw) -> None:
    assert client.answer(b"".join(post(1 + 2 * n) for n in range(100)), 201) == ("nothing", 0)
    assert client.answer(get(201), 201) == ("reset", REFUSED_STREAM)


def test_settings_and_pings_are_answered(client: Raw) -> None:
    client.socket.sendall(settings((3, 100)) + frame(PING, 0, 0, b"12345678"))
    found = []
    for answer in client.frames():
        found.append(answer)
        if answer.kind == PING:
            break
    assert found[-1] == Frame(PING, ACK, 0, b"12345678")
    assert found.count(Frame(SETTINGS, ACK, 0, b"")) == 2
