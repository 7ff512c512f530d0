"""The answers of a WebSocket to every kind of frame, right and wrong, over HTTP/1.1 and HTTP/2 alike.

The cases are those that the Autobahn test suite has, by its numbers; ``make autobahn`` runs the suite itself, which
speaks HTTP/1.1 only. Each case is what a client sends, whole or chopped, and what an echo then owes it: the messages
before a fault and the pongs, and the code that it is closed with.
"""

from __future__ import annotations

import itertools
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from end_to_end.server import Server
from end_to_end.ws_client import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    Deflate,
    WsClient,
    frame,
    open_over_h1,
    open_over_h2,
)

CONTINUATION = 0
KIB, MIB = 1 << 10, 1 << 20
NORMAL, PROTOCOL_ERROR, NOT_UTF8, TOO_BIG = 1000, 1002, 1007, 1009
NO_STATUS = 1005
#: The largest message that the server of these tests takes.
MAX_SIZE = 4 * MIB
BYE = frame(CLOSE, struct.pack(">H", NORMAL))
HELLO = "Hello-µ@ßöäüàá-UTF-8!!".encode()


@dataclass(frozen=True)
class Case:
    """Frames that are sent, and their answers. A last :data:`BYE` is sent when everything before it is answered."""

    number: str
    wire: bytes
    messages: tuple[str | bytes, ...] = ()
    pongs: tuple[bytes, ...] = ()
    code: int = NORMAL
    #: Bytes that are sent at a time; 0 is all.
    chop: int = 0


def echoed(number: str, *messages: str | bytes, chop: int = 0) -> Case:
    """Messages that come back."""
    frames = [
        frame(TEXT, message.encode()) if isinstance(message, str) else frame(BINARY, message) for message in messages
    ]
    return Case(number, b"".join(frames) + BYE, messages, chop=chop)


def fragments(payload: bytes, size: int, opcode: int = TEXT) -> bytes:
    """A message in fragments of ``size`` bytes."""
    pieces = [payload[at : at + size] for at in range(0, len(payload), size)] or [b""]
    last = len(pieces) - 1
    return b"".join(
        frame(opcode if at == 0 else CONTINUATION, piece, fin=at == last) for at, piece in enumerate(pieces)
    )


def framing() -> Iterator[Case]:
    sizes = [0, 125, 126, 127, 128, 65_535, 65_536]
    for at, size in enumerate(sizes, 1):
        yield echoed(f"1.1.{at}", "*" * size)
        yield echoed(f"1.2.{at}", b"\xfe" * size)
    yield echoed("1.1.8", "*" * 65_536, chop=997)
    yield echoed("1.2.8", b"\xfe" * 65_536, chop=997)


def pings() -> Iterator[Case]:
    def answered(number: str, *payloads: bytes, chop: int = 0) -> Case:
        return Case(number, b"".join(frame(PING, payload) for payload in payloads) + BYE, (), payloads, chop=chop)

    yield answered("2.1", b"")
    yield answered("2.2", b"Hello, world!")
    yield answered("2.3", bytes([0, 255, 254, 253, 252, 251, 0, 255]))
    yield answered("2.4", b"\xfe" * 125)
    yield Case("2.5", frame(PING, b"\xfe" * 126), code=PROTOCOL_ERROR)
    yield answered("2.6", b"\xfe" * 125, chop=1)
    yield Case("2.7", frame(PONG) + BYE)
    yield Case("2.8", frame(PONG, b"unsolicited pong payload") + BYE)
    yield Case("2.9", frame(PONG, b"unsolicited pong payload") + frame(PING, b"ping payload") + BYE, (), (b"ping payload",))
    yield answered("2.10", *[b"payload-%d" % number for number in range(10)])
    yield answered("2.11", *[b"payload-%d" % number for number in range(10)], chop=1)


def reserved() -> Iterator[Case]:
    """The message before a reserved bit, or opcode, is still echoed, and the ping behind it is not answered."""
    hello, ping = frame(TEXT, b"Hello, world!"), frame(PING)
    yield Case("3.1", frame(TEXT, b"Hello, world!", rsv=1), code=PROTOCOL_ERROR)
    for number, rsv, chop in (("3.2", 2, 0), ("3.3", 3, 0), ("3.4", 4, 1)):
        wire = hello + frame(TEXT, b"Hello, world!", rsv=rsv) + ping
        yield Case(number, wire, ("Hello, world!",), code=PROTOCOL_ERROR, chop=chop)
    yield Case("3.5", frame(BINARY, b"\xff" * 8, rsv=5), code=PROTOCOL_ERROR)
    yield Case("3.6", frame(PING, b"Hello, world!", rsv=6), code=PROTOCOL_ERROR)
    yield Case("3.7", frame(CLOSE, rsv=7), code=PROTOCOL_ERROR)
    for section, opcodes in (("4.1", range(3, 8)), ("4.2", range(11, 16))):
        first, second, *others = opcodes
        yield Case(f"{section}.1", frame(first), code=PROTOCOL_ERROR)
        yield Case(f"{section}.2", frame(second, b"reserved opcode"), code=PROTOCOL_ERROR)
        for at, (opcode, payload, chop) in enumerate(zip(others, (b"", b"payload", b"payload"), (0, 0, 1), strict=True), 3):
            wire = hello + frame(opcode, payload) + ping
            yield Case(f"{section}.{at}", wire, ("Hello, world!",), code=PROTOCOL_ERROR, chop=chop)


def fragmentation() -> Iterator[Case]:
    yield Case("5.1", frame(PING, b"one", fin=False) + frame(CONTINUATION, b"two"), code=PROTOCOL_ERROR)
    yield Case("5.2", frame(PONG, b"one", fin=False) + frame(CONTINUATION, b"two"), code=PROTOCOL_ERROR)
    one, two = frame(TEXT, b"fragment1", fin=False), frame(CONTINUATION, b"fragment2")
    joined = ("fragment1fragment2",)
    for number, chop in (("5.3", 0), ("5.4", 7), ("5.5", 1)):
        yield Case(number, one + two + BYE, joined, chop=chop)
    for number, chop in (("5.6", 0), ("5.7", 7), ("5.8", 1)):
        yield Case(number, one + frame(PING, b"ping") + two + BYE, joined, (b"ping",), chop=chop)
    for at, (fin, chop) in enumerate(itertools.product((True, False), (0, 7, 1)), 9):
        wire = frame(CONTINUATION, b"not begun", fin=fin) + frame(TEXT, b"hello")
        yield Case(f"5.{at}", wire, code=PROTOCOL_ERROR, chop=chop)
    yield Case("5.15", one + two + frame(CONTINUATION, b"not begun", fin=False), joined, code=PROTOCOL_ERROR)
    for number, fin in (("5.16", False), ("5.17", True)):
        wire = (frame(CONTINUATION, b"one", fin=fin) + frame(TEXT, b"two", fin=False) + frame(CONTINUATION, b"three")) * 2
        yield Case(number, wire, code=PROTOCOL_ERROR)
    yield Case("5.18", one + frame(TEXT, b"fragment2"), code=PROTOCOL_ERROR)
    five = [b"fragment%d" % at for at in range(1, 6)]
    for number, chop in (("5.19", 0), ("5.20", 1)):
        wire = frame(TEXT, five[0], fin=False) + frame(CONTINUATION, five[1], fin=False) + frame(PING, b"pongme 1!")
        wire += frame(CONTINUATION, five[2], fin=False) + frame(CONTINUATION, five[3], fin=False)
        wire += frame(PING, b"pongme 2!") + frame(CONTINUATION, five[4])
        yield Case(number, wire + BYE, (b"".join(five).decode(),), (b"pongme 1!", b"pongme 2!"), chop=chop)


def utf8() -> Iterator[Case]:
    hello = HELLO.decode()
    yield echoed("6.1.1", "")
    yield Case("6.1.2", fragments(b"", 1) + fragments(b"", 1) + BYE, ("", ""))
    empty = frame(TEXT, fin=False) + frame(CONTINUATION, b"middle frame payload", fin=False) + frame(CONTINUATION)
    yield Case("6.1.3", empty + BYE, ("middle frame payload",))
    yield echoed("6.2.1", hello)
    middle = HELLO.index("ß".encode())
    for number, size in (("6.2.2", middle), ("6.2.3", 1), ("6.2.4", middle + 1)):
        yield Case(number, fragments(HELLO, size) + BYE, (hello,))
    # The Greek for "cosmos", a surrogate, and more text.
    cosmos, wrong = "κόσμε".encode(), b"\xed\xa0\x80"
    yield Case("6.3.1", frame(TEXT, cosmos + wrong + b"edited"), code=NOT_UTF8)
    yield Case("6.3.2", fragments(cosmos + wrong + b"edited", 1), code=NOT_UTF8)
    # Nothing ends these messages: the fault is told as soon as it shows.
    yield Case("6.4.1", frame(TEXT, cosmos, fin=False) + frame(CONTINUATION, wrong, fin=False), code=NOT_UTF8)
    yield Case("6.4.2", frame(TEXT, cosmos + b"\xf4", fin=False) + frame(CONTINUATION, b"\x90", fin=False), code=NOT_UTF8)
    half = frame(TEXT, cosmos + b"\xf4\x90\x80\x80edited", fin=False)[: -len(b"\x80\x80edited")]
    yield Case("6.4.3", half, code=NOT_UTF8)
    yield Case("6.4.4", half, code=NOT_UTF8, chop=1)
    good = {
        "6.5": ["κόσμε"],
        "6.7": ["\0", "\x80", "\u0800", "\U00010000"],
        "6.9": ["\x7f", "\u07ff", "\uffff", "\U0010ffff"],
        "6.11": ["\ud7ff", "\ue000", "\ufffd", "\U0010ffff"],
        "6.22": [chr(plane << 16 | last) for plane in range(17) for last in (0xFFFE, 0xFFFF)],
        "6.23": [chr(code) for code in range(0xFFF9, 0x10000)],
    }
    for section, texts in good.items():
        for at, text in enumerate(texts, 1):
            yield echoed(f"{section}.{at}", text)
    bad = {
        "6.6": [cosmos[:cut] for cut in range(1, len(cosmos)) if cosmos[cut] & 0xC0 == 0x80],
        "6.8": [b"\xf8\x88\x80\x80\x80", b"\xfc\x84\x80\x80\x80\x80"],
        "6.10": [b"\xf7\xbf\xbf\xbf", b"\xfb\xbf\xbf\xbf\xbf", b"\xfd\xbf\xbf\xbf\xbf\xbf"],
        "6.11+": [b"\xf4\x90\x80\x80"],
        "6.12": [b"\x80", b"\xbf", b"\x80\xbf", b"\x80\xbf\x80", bytes(range(0x80, 0xC0))],
        "6.13": [b"".join(bytes([lead]) + b" " for lead in range(*bounds)) for bounds in ((0xC0, 0xE0), (0xE0, 0xF0), (0xF0, 0xF8), (0xF8, 0xFC), (0xFC, 0xFE))],
        "6.14": [b"\xc0", b"\xe0\x80", b"\xf0\x80\x80", b"\xdf", b"\xef\xbf", b"\xf7\xbf\xbf", b"\xfb\xbf\xbf\xbf"],
        "6.15": [b"\xc0\xe0\x80\xf0\x80\x80\xdf\xef\xbf"],
        "6.16": [b"\xfe", b"\xff", b"\xfe\xfe\xff\xff"],
        "6.17": [b"\xc0\xaf", b"\xe0\x80\xaf", b"\xf0\x80\x80\xaf", b"\xf8\x80\x80\x80\xaf"],
        "6.18": [b"\xc1\xbf", b"\xe0\x9f\xbf", b"\xf0\x8f\xbf\xbf", b"\xf8\x87\xbf\xbf\xbf"],
        "6.19": [b"\xc0\x80", b"\xe0\x80\x80", b"\xf0\x80\x80\x80"],
        "6.20": [b"\xed" + bytes([second, third]) for second in (0xA0, 0xAD, 0xAE, 0xAF, 0xB0, 0xBE, 0xBF) for third in (0x80, 0xBF)],
        "6.21": [b"\xed\xa0\x80\xed\xb0\x80", b"\xed\xaf\xbf\xed\xbf\xbf"],
    }
    for section, payloads in bad.items():
        for at, payload in enumerate(payloads, 1):
            yield Case(f"{section}.{at}", frame(TEXT, payload), code=NOT_UTF8)


def closing() -> Iterator[Case]:
    yield echoed("7.1.1", "Hello World!")
    yield Case("7.1.2", BYE + BYE)
    yield Case("7.1.3", BYE + frame(PING))
    yield Case("7.1.4", BYE + frame(TEXT, b"Hello World!"))
    yield Case("7.1.5", frame(TEXT, b"fragment1", fin=False) + BYE + frame(CONTINUATION, b"fragment2"))
    yield Case("7.3.1", frame(CLOSE), code=NO_STATUS)
    yield Case("7.3.2", frame(CLOSE, b"a"), code=PROTOCOL_ERROR)
    yield Case("7.3.3", BYE)
    yield Case("7.3.4", frame(CLOSE, struct.pack(">H", NORMAL) + b"Hello World!"))
    yield Case("7.3.5", frame(CLOSE, struct.pack(">H", NORMAL) + b"*" * 123))
    yield Case("7.3.6", frame(CLOSE, struct.pack(">H", NORMAL) + b"*" * 124), code=PROTOCOL_ERROR)
    wrong = "κόσμε".encode() + b"\xed\xa0\x80edited"
    yield Case("7.5.1", frame(CLOSE, struct.pack(">H", NORMAL) + wrong), code=NOT_UTF8)
    for at, code in enumerate((1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999), 1):
        yield Case(f"7.7.{at}", frame(CLOSE, struct.pack(">H", code)), code=code)
    for at, code in enumerate((0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535), 1):
        yield Case(f"7.9.{at}", frame(CLOSE, struct.pack(">H", code)), code=PROTOCOL_ERROR)


def limits() -> Iterator[Case]:
    for at, size in enumerate((64 * KIB, 256 * KIB, MIB, MAX_SIZE), 1):
        yield echoed(f"9.1.{at}", "*" * size)
        yield echoed(f"9.2.{at}", b"\0\xff" * (size // 2))
    yield Case("9.1.+", frame(TEXT, b"*" * (MAX_SIZE + 1)), code=TOO_BIG)
    yield Case("9.2.+", fragments(bytes(MAX_SIZE + 1), 512 * KIB, BINARY), code=TOO_BIG)
    for at, size in enumerate((64, 256, KIB, 4 * KIB, 64 * KIB, MIB), 1):
        # As many fragments as are still quick.
        length = min(MIB, size * 1024)
        yield Case(f"9.3.{at}", fragments(b"*" * length, size) + BYE, ("*" * length,))
        yield Case(f"9.4.{at}", fragments(b"\xfe" * length, size, BINARY) + BYE, (b"\xfe" * length,))
    for at, chop in enumerate((64, 128, 256, 512, KIB, 2 * KIB), 1):
        yield echoed(f"9.5.{at}", "*" * 64 * KIB, chop=chop)
        yield echoed(f"9.6.{at}", b"\xfe" * 64 * KIB, chop=chop)
    for at, size in enumerate((0, 16, 64, 256, KIB, 4 * KIB), 1):
        yield echoed(f"9.7.{at}", *["*" * size] * 200)
        yield echoed(f"9.8.{at}", *[b"\xfe" * size] * 200)
    yield Case("10.1.1", fragments(b"*" * 64 * KIB, 1300) + BYE, ("*" * 64 * KIB,))


CASES = [
    case
    for section in (framing, pings, reserved, fragmentation, utf8, closing, limits)
    for case in section()
]


@pytest.fixture(scope="module")
def server(share: Callable[..., Server]) -> Server:
    """One for all cases."""
    return share(
        "sockets.py:app",
        tls=True,
        keep_alive_max_requests=100_000,
        websocket_max_message_size=MAX_SIZE,
        hcrs={"websocket_compression_min_size": 0},
    )


@pytest.fixture(params=["h1", "h2c", "h3"])
def protocol(request: pytest.FixtureRequest) -> str:
    """Every way to carry a WebSocket; what is around them, such as TLS, does not matter here."""
    return str(request.param)


@pytest.fixture
def open_ws(
    server: Server, protocol: str, connect_h1: Callable[..., Any], connect_multiplexed: Callable[..., Any]
) -> Callable[..., WsClient]:
    where = server.listener_for(protocol)

    def open_ws(headers: Iterable[tuple[str, str]] = ()) -> WsClient:
        if protocol == "h1":
            return open_over_h1(connect_h1(where), "/echo", list(headers))
        return open_over_h2(connect_multiplexed(where), "/echo", list(headers))

    return open_ws


# ---- sections 1 to 10 ----


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.number)
def test_echo_owes_what_the_case_says(open_ws: Callable[..., WsClient], case: Any) -> None:
    ws = open_ws()
    wire = case.wire.removesuffix(BYE)
    ws.send_bytes(wire, chop=case.chop)
    messages, pongs, code = ws.receive_all(len(case.messages) + len(case.pongs) if wire != case.wire else None)
    if code is None:
        ws.send_bytes(BYE)
        code = ws.closed()[0]
    assert (pongs, code) == (list(case.pongs), case.code)
    assert [len(message) for message in messages] == [len(message) for message in case.messages]
    assert messages == list(case.messages)
    ws.ended()


def test_numbers_of_cases_are_given_once() -> None:
    numbers = [case.number for case in CASES]
    assert len(set(numbers)) == len(numbers) > 200


# ---- compression: sections 12 and 13 ----

TEXTS = [
    "",
    "a",
    "the same again and again " * 300,
    "".join(chr(33 + at * at % 600) for at in range(20_000)),
]
OFFERS = {
    "13.1": "permessage-deflate",
    "13.2": "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
    "13.3": "permessage-deflate; server_max_window_bits=9",
    "13.4": "permessage-deflate; server_max_window_bits=15; client_max_window_bits",
    "13.5": "permessage-deflate; server_max_window_bits=9; server_no_context_takeover",
    "13.6": "permessage-deflate; client_max_window_bits=9; server_no_context_takeover",
    "13.7": "permessage-deflate; server_max_window_bits=16, permessage-deflate; server_max_window_bits=10",
}


@pytest.mark.parametrize("size", [1 << 10, 0], ids=["in fragments", "whole"])
@pytest.mark.parametrize("number", OFFERS)
def test_compressed_messages_come_back_compressed_on_the_agreed_terms(
    open_ws: Callable[..., WsClient], number: Any, size: int
) -> None:
    ws = open_ws([("sec-websocket-extensions", OFFERS[number])])
    deflate = Deflate(ws.extension)
    assert "16" not in ws.extension
    for text in TEXTS:
        packed = deflate.pack(text.encode())
        pieces = [packed[at : at + size] for at in range(0, len(packed), size)] if size else [packed]
        for at, piece in enumerate(pieces):
            first, last = at == 0, at == len(pieces) - 1
            ws.send_frame(TEXT if first else CONTINUATION, piece, fin=last, rsv=4 if first else 0)
        rsv, payload = ws.receive_payload()
        # What does not shrink, such as what repeats beyond the window, may come as it is.
        assert rsv == 4 or text is not TEXTS[2]
        assert (deflate.unpack(payload) if rsv else payload).decode() == text
    ws.close()
    assert ws.closed()[0] == NORMAL


@pytest.mark.parametrize(
    "wrong, code",
    [
        pytest.param(frame(TEXT, b"\x07\x07\x07\x07", rsv=4), NOT_UTF8, id="not deflate"),
        pytest.param(frame(TEXT, Deflate("").pack(b"\xc3\x28"), rsv=4), NOT_UTF8, id="not UTF-8 once inflated"),
        pytest.param(frame(BINARY, Deflate("").pack(bytes(MAX_SIZE + 1)), rsv=4), TOO_BIG, id="too big once inflated"),
        pytest.param(
            frame(TEXT, b"a", fin=False, rsv=4) + frame(CONTINUATION, b"b", rsv=4), PROTOCOL_ERROR, id="in a continuation"
        ),
        pytest.param(frame(PING, b"a", rsv=4), PROTOCOL_ERROR, id="in a ping"),
    ],
)
def test_wrong_compression_ends_it(open_ws: Callable[..., WsClient], wrong: Any, code: Any) -> None:
    ws = open_ws([("sec-websocket-extensions", "permessage-deflate")])
    ws.send_bytes(wrong)
    assert ws.receive_all() == ([], [], code)
    ws.ended()


def test_message_that_was_compressed_before_one_that_was_not(open_ws: Callable[..., WsClient]) -> None:
    ws = open_ws([("sec-websocket-extensions", "permessage-deflate")])
    for number in range(20):
        payload = b"%d" % number * 100
        if number % 2:
            ws.send_frame(BINARY, payload)
        else:
            ws.send_frame(BINARY, Deflate("").pack(payload), rsv=4)
        rsv, echo = ws.receive_payload()
        assert (zlib.decompressobj(-15).decompress(echo + b"\0\0\xff\xff") if rsv else echo) == payload


def test_cases_cover_every_section() -> None:
    sections = {case.number.split(".")[0] for case in CASES} | {number.split(".")[0] for number in OFFERS}
    assert sections >= set(map(str, itertools.chain(range(1, 8), (9, 10, 13))))
