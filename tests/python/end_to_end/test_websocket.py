"""WebSockets over every protocol: handshakes, messages, ends, faults, and what neither side can break."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import ssl
import time
import zlib
from collections.abc import Callable
from typing import Any

import pytest
import websockets.asyncio.client
import websockets.exceptions

from end_to_end.h1_client import H1Client
from end_to_end.h2_client import H2Client
from end_to_end.h3_client import H3Client
from end_to_end.server import Listening, Server, wait_until
from end_to_end.ws_client import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    OverH2,
    WsClient,
    ask_over_h1,
    ask_over_h2,
    frame,
    open_over_h1,
    open_over_h2,
)

MIB = 1 << 20


@pytest.fixture(scope="module")
def sockets(share: Callable[..., Server]) -> Server:
    """One worker for all tests of this module."""
    return share("sockets.py:app", tls=True, keep_alive_timeout=30, keep_alive_max_requests=100_000)


@pytest.fixture
def listener(sockets: Server, protocol: str) -> Listening:
    return sockets.listener_for(protocol)


@pytest.fixture
def open_ws(
    listener: Listening, protocol: str, connect_h1: Callable[..., Any], connect_multiplexed: Callable[..., Any]
) -> Callable[..., WsClient]:
    """Opens a WebSocket over the protocol at hand."""

    def open_ws(target: str = "/echo", headers: Any = ()) -> WsClient:
        if not protocol.startswith("h1"):
            return open_over_h2(connect_multiplexed(listener), target, headers)
        return open_over_h1(connect_h1(listener), target, headers)

    return open_ws


@pytest.fixture
def ask(sockets: Server, connect_h1: Callable[..., H1Client]) -> Callable[..., Any]:
    client = connect_h1(sockets.listeners[1])
    return lambda target: client.get(target).body.decode()


def status_of_refusal(
    listener: Listening,
    protocol: str,
    connect_h1: Callable[..., Any],
    connect_multiplexed: Callable[..., Any],
    target: Any,
    headers: Any = (),
) -> Any:
    """The answer to a handshake that is refused: status, a field getter, the body."""
    if not protocol.startswith("h1"):
        client = connect_multiplexed(listener)
        response = client.response(ask_over_h2(client, target, headers))
        return response.status, lambda name: (response.header(name.encode()) or b"").decode() or None, response.body
    client = connect_h1(listener)
    head = ask_over_h1(client, target, headers)
    return head.status, head.header, client


# ---- the handshake ----


def test_handshake_over_http1_has_the_key_of_the_rfc(sockets: Server, connect_h1: Callable[..., H1Client]) -> None:
    head = ask_over_h1(
        connect_h1(sockets.listeners[1]), "/echo", [("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")]
    )
    assert head.status == 101
    assert head.header("sec-websocket-accept") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert (head.header("upgrade") or "").lower() == "websocket"
    assert (head.header("connection") or "").lower() == "upgrade"
    assert head.header("content-length") is None and head.header("transfer-encoding") is None


@pytest.mark.parametrize("protocol", ["h2", "h3"], indirect=True)
def test_extended_connect_is_offered(
    listener: Listening, connect_multiplexed: Callable[..., H2Client | H3Client]
) -> None:
    assert connect_multiplexed(listener).offers_extended_connect()


def test_wrong_version_is_answered_with_the_right_one(
    listener: Listening, protocol: str, connect_h1: Callable[..., Any], connect_multiplexed: Callable[..., Any]
) -> None:
    wrong = [("sec-websocket-version", "8")]
    status, header, _ = status_of_refusal(listener, protocol, connect_h1, connect_multiplexed, "/echo", wrong)
    assert (status, header("sec-websocket-version")) == (426, "13")


@pytest.mark.parametrize("key", ["", "short", base64.b64encode(bytes(15)).decode()])
def test_bad_key_is_refused(sockets: Server, connect_h1: Callable[..., H1Client], key: Any) -> None:
    head = ask_over_h1(connect_h1(sockets.listeners[1]), "/echo", [("sec-websocket-key", key)])
    assert head.status == 400


def test_what_does_not_ask_for_a_websocket_is_an_ordinary_request(
    sockets: Server, connect_h1: Callable[..., H1Client]
) -> None:
    client = connect_h1(sockets.listeners[1])
    upgrade = "upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n"
    client.request("POST", "/", upgrade, b"body")
    assert client.response().body == b"hello"
    assert client.get("/", "upgrade: websocket\r\n").body == b"hello"


@pytest.mark.parametrize("protocol", ["h2", "h3"], indirect=True)
@pytest.mark.parametrize("extra", [[(":protocol", "foo")], []])
def test_other_connects_are_refused(
    listener: Listening, connect_multiplexed: Callable[..., H2Client | H3Client], extra: Any
) -> None:
    client = connect_multiplexed(listener)
    if isinstance(client, H2Client):
        client.protocol.config.validate_outbound_headers = False
    stream = client.request("CONNECT", "/echo", extra, end=False)
    assert client.head(stream).status in (400, 405) or client.streams[stream].is_over
    assert client.get("/").body == b"hello"


def test_scope_is_exact(open_ws: Callable[..., WsClient], protocol: str, listener: Listening) -> None:
    ws = open_ws("/scope?a=%20b", [("sec-websocket-protocol", "one, two"), ("x-mine", "1")])
    field = ws.head.header("x-seen") if protocol.startswith("h1") else ws.head.header(b"x-seen").decode()
    assert field == "yes"
    scope = json.loads(ws.receive())
    assert ws.closed() == (1000, "")
    headers = [tuple(part["bytes"] for part in pair["tuple"]) for pair in scope.pop("headers")]
    assert ("x-mine", "1") in headers
    assert ("host", listener.authority) in headers
    client = scope.pop("client")["tuple"]
    assert client[0] == "127.0.0.1" and isinstance(client[1], int)
    extensions = scope.pop("extensions")
    assert extensions["websocket.http.response"] == {}
    assert scope == {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1" if protocol.startswith("h1") else protocol[1],
        "scheme": "ws" if protocol in ("h1", "h2c") else "wss",
        "path": "/scope",
        "raw_path": {"bytes": "/scope"},
        "query_string": {"bytes": "a=%20b"},
        "root_path": "",
        "server": {"tuple": ["127.0.0.1", listener.port]},
        "subprotocols": ["one", "two"],
        "state": {},
    }


def test_subprotocol_is_the_one_that_the_app_chose(open_ws: Callable[..., WsClient], protocol: str) -> None:
    ws = open_ws("/choose?two", [("sec-websocket-protocol", "one, two")])
    name = "sec-websocket-protocol"
    chosen = ws.head.header(name) if protocol.startswith("h1") else ws.head.header(name.encode()).decode()
    assert chosen == "two"
    assert ws.closed() == (4000, "chosen")


def test_close_before_accept_is_403(
    listener: Listening,
    protocol: str,
    connect_h1: Callable[..., Any],
    connect_multiplexed: Callable[..., Any],
    ask: Callable[..., Any],
    key: str,
) -> None:
    status, _, _ = status_of_refusal(listener, protocol, connect_h1, connect_multiplexed, f"/refuse?{key}")
    assert status == 403
    assert json.loads(ask(f"/note?{key}"))["type"] == "websocket.disconnect"


def test_denial_is_an_ordinary_response(
    sockets: Server, connect_h1: Callable[..., Any], connect_multiplexed: Callable[..., Any]
) -> None:
    over_h1 = connect_h1(sockets.listeners[1])
    response = ask_over_h1(over_h1, "/deny", whole=True)
    assert (response.status, response.header("x-why"), response.body) == (418, "because", b"no tea")
    assert over_h1.get("/").body == b"hello", "the connection lives on"
    for where in (sockets.listener, sockets.quic):
        client = connect_multiplexed(where)
        response = client.response(ask_over_h2(client, "/deny"))
        assert (response.status, response.header(b"x-why"), response.body) == (418, b"because", b"no tea")


def test_app_that_fails_before_accept_is_500(
    listener: Listening, protocol: str, connect_h1: Callable[..., Any], connect_multiplexed: Callable[..., Any]
) -> None:
    status, _, _ = status_of_refusal(listener, protocol, connect_h1, connect_multiplexed, "/fail-before")
    assert status == 500


# ---- messages ----


def test_messages_come_back_as_they_went(open_ws: Callable[..., WsClient]) -> None:
    ws = open_ws()
    random = hashlib.shake_128(b"message").digest(3 * MIB)
    messages: list[str | bytes] = ["", b"", "hi", b"\0\xff", "é" * 70_000, random, "x" * 125, "x" * 126, "x" * 65_535, "x" * 65_536]
    for message in messages:
        ws.send(message)
        assert ws.receive() == message
    ws.close(4001, "done")
    assert ws.closed()[0] == 4001
    ws.ended()


def test_fragments_are_joined_and_pings_between_them_answered(open_ws: Callable[..., WsClient]) -> None:
    ws = open_ws()
    ws.send_frame(TEXT, b"frag", fin=False)
    ws.send_frame(PING, b"are you there?")
    ws.send_frame(0, "mé".encode()[:2], fin=False)
    ws.send_frame(0, "mé".encode()[2:] + b"nted")
    pong = ws.receive_frame()
    assert (pong.opcode, pong.payload) == (PONG, b"are you there?")
    assert ws.receive() == "fragmé" + "nted"


def test_many_small_messages_in_one_piece(open_ws: Callable[..., WsClient]) -> None:
    ws = open_ws()
    count = 5000
    ws.transport.send(b"".join(frame(TEXT, str(number).encode()) for number in range(count)))
    assert [ws.receive() for _ in range(count)] == [str(number) for number in range(count)]


@pytest.mark.parametrize("protocol", ["h2", "h3"], indirect=True)
def test_websockets_and_requests_share_a_connection(
    listener: Listening, connect_multiplexed: Callable[..., H2Client | H3Client]
) -> None:
    client = connect_multiplexed(listener)
    both = [open_over_h2(client, "/echo") for _ in range(20)]
    for number, ws in enumerate(both):
        ws.send(f"message {number}")
    assert client.get("/").body == b"hello"
    assert [ws.receive() for ws in both] == [f"message {number}" for number in range(20)]


@pytest.mark.parametrize("protocol", ["h2", "h2c", "h3"], indirect=True)
def test_early_messages_wait_for_the_app_to_accept(
    listener: Listening, connect_multiplexed: Callable[..., H2Client | H3Client]
) -> None:
    """A client of HTTP/1.1 has to wait for 101, others need not."""
    client = connect_multiplexed(listener)
    stream = ask_over_h2(client, "/echo")
    ws = WsClient(OverH2(client, stream), None)
    ws.send("early")
    assert client.head(stream).status == 200
    assert ws.receive() == "early"


# ---- how it ends ----


def test_client_that_goes_without_a_word_is_1006(
    open_ws: Callable[..., WsClient], ask: Callable[..., Any], key: str
) -> None:
    ws = open_ws(f"/echo?{key}")
    ws.send("hello")
    assert ws.receive() == "hello"
    ws.transport.end()
    assert json.loads(ask(f"/note?{key}")) == {"type": "websocket.disconnect", "code": 1006, "reason": ""}


@pytest.mark.parametrize("code, reason", [(1000, ""), (1001, "leaving"), (4999, "é" * 61)])
def test_app_receives_the_clients_close(
    open_ws: Callable[..., WsClient], ask: Callable[..., Any], key: str, code: int, reason: str
) -> None:
    ws = open_ws(f"/echo?{key}")
    ws.close(code, reason)
    assert json.loads(ask(f"/note?{key}")) == {"type": "websocket.disconnect", "code": code, "reason": reason}
    assert ws.closed()[0] == code


def test_close_without_a_code_is_1005(open_ws: Callable[..., WsClient], ask: Callable[..., Any], key: str) -> None:
    ws = open_ws(f"/echo?{key}")
    ws.send_frame(CLOSE)
    assert json.loads(ask(f"/note?{key}"))["code"] == 1005
    assert ws.closed() == (1005, "")


@pytest.mark.parametrize("path", ["/fail-after", "/leave"])
def test_app_that_leaves_it_open_is_1011(open_ws: Callable[..., WsClient], path: str) -> None:
    ws = open_ws(path)
    assert ws.closed()[0] == 1011


@pytest.mark.parametrize(
    "frames, code",
    [
        ([(TEXT, b"bare", {"mask": False})], 1002),
        ([(3, b"", {})], 1002),
        ([(TEXT, b"", {"rsv": 4})], 1002),
        ([(PING, bytes(126), {})], 1002),
        ([(0, b"nothing to continue", {})], 1002),
        ([(TEXT, b"\xff", {})], 1007),
        ([(TEXT, b"\xc3", {"fin": False}), (0, b"\xff", {"fin": False})], 1007),
        ([(CLOSE, b"\x03", {})], 1002),
        ([(CLOSE, b"\x03\xed", {})], 1002),
        ([(CLOSE, b"\x03\xe8\xff", {})], 1007),
    ],
)
def test_breach_of_the_protocol_ends_it_with_its_code(
    open_ws: Callable[..., WsClient], ask: Callable[..., Any], key: str, frames: Any, code: int
) -> None:
    ws = open_ws(f"/echo?{key}")
    for opcode, payload, how in frames:
        ws.send_frame(opcode, payload, **how)
    assert ws.closed()[0] == code
    ws.ended()
    assert json.loads(ask(f"/note?{key}"))["code"] == code


def test_message_too_large_is_1009_at_its_announcement(open_ws: Callable[..., WsClient]) -> None:
    ws = open_ws()
    ws.transport.send(b"\x82\xff" + (16 * MIB + 1).to_bytes(8, "big") + bytes(4))
    assert ws.closed()[0] == 1009


def test_wrong_messages_raise_in_the_app(open_ws: Callable[..., WsClient], ask: Callable[..., Any], key: str) -> None:
    ws = open_ws(f"/nonsense?{key}", [("sec-websocket-protocol", "offered")])
    assert json.loads(ws.receive()) == [
        "UnexpectedMessageError",
        "UnexpectedMessageError",
        "ValueError",
        "ValueError",
        "ValueError",
        "UnexpectedMessageError",
        "ValueError",
        "TypeError",
        "TypeError",
        "ValueError",
        "ValueError",
    ]
    assert ws.closed() == (1000, "")
    assert json.loads(ask(f"/note?{key}")) == "UnexpectedMessageError"


# ---- back-pressure ----


def test_send_waits_for_a_client_that_does_not_read(
    sockets: Server,
    protocol: str,
    listener: Listening,
    connect_h1: Callable[..., Any],
    connect_multiplexed: Callable[..., Any],
    ask: Callable[..., Any],
    key: str,
) -> None:
    if not protocol.startswith("h1"):
        client = connect_multiplexed(listener, window=1 << 18, receive_buffer=1 << 16)
        stream = ask_over_h2(client, f"/flood?{key}")
        client.held.add(stream)
        assert client.head(stream).status == 200
    else:
        ask_over_h1(connect_h1(listener, receive_buffer=1 << 16), f"/flood?{key}")
    wait_until(lambda: int(ask(f"/progress?{key}")) > 0, "the first message")
    before = -1
    while before != (now := int(ask(f"/progress?{key}"))):
        before = now
        time.sleep(0.2)  # nothing tells that nothing happens
    assert now < 16 * MIB
    assert sockets.memory()[0] < 100 * MIB


def test_slow_app_holds_the_client_back_and_answers_pings(
    protocol: str,
    listener: Listening,
    connect_h1: Callable[..., Any],
    connect_multiplexed: Callable[..., Any],
    ask: Callable[..., Any],
    key: str,
) -> None:
    piece, sent = bytes(50_000), 0
    if protocol == "h3":
        ws = open_over_h2(connect_multiplexed(listener), f"/slow?{key}")
        # What is beyond the stream's window for unread bodies waits in QUIC, and with it a PING.
        for _ in range(2):
            ws.send(piece)
            sent += len(piece)
    elif protocol.startswith("h2"):
        client = connect_multiplexed(listener)
        ws = open_over_h2(client, f"/slow?{key}")
        # As much as the windows take, and a PING still fits in what is left.
        while client.window_left(ws.transport.stream) > 60_000:
            ws.send(piece)
            sent += len(piece)
            client.ping()
            assert sent < 8 * MIB, "the window is never closed"
    else:
        ws = open_over_h1(connect_h1(listener), f"/slow?{key}")
        for _ in range(4):
            ws.send(piece)
            sent += len(piece)
    ws.send_frame(PING, b"still there?")
    pong = ws.receive_frame()
    assert (pong.opcode, pong.payload) == (PONG, b"still there?")
    ask(f"/go?{key}")
    wait_until(lambda: int(ask(f"/progress?{key}")) == sent, "all messages")


def test_message_that_inflates_for_long_arrives_though_nothing_follows_it(
    open_ws: Callable[..., WsClient], ask: Callable[..., Any], key: str
) -> None:
    ws = open_ws(f"/slow?{key}", [("sec-websocket-extensions", "permessage-deflate")])
    ask(f"/go?{key}")
    size = 15 * MIB
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(bytes(size)) + packer.flush(zlib.Z_SYNC_FLUSH)
    ws.send_frame(BINARY, packed.removesuffix(b"\0\0\xff\xff"), rsv=4)
    wait_until(lambda: int(ask(f"/progress?{key}")) == size, "the whole message")


def test_pings_of_a_client_that_reads_nothing_cost_nothing(
    sockets: Server, connect_h1: Callable[..., H1Client]
) -> None:
    before = sockets.memory()[0]
    client = connect_h1(sockets.listeners[1], receive_buffer=1 << 14)
    ws = open_over_h1(client, "/echo")
    many = frame(PING, bytes(125)) * 2000
    client.socket.settimeout(0.5)
    try:
        for _ in range(100):
            client.send(many)
    except TimeoutError:
        pass  # the server reads no more, or it does and drops all pings but the latest
    assert sockets.memory()[0] < before + 20 * MIB
    del ws


# ---- with others' clients ----


def over_websockets(sockets: Server, trust: Callable[..., ssl.SSLContext], tls: Any, talk: Any, **options: Any) -> None:
    """Runs a talk of the `websockets` package."""
    listener = sockets.listeners[0 if tls else 1]
    context: ssl.SSLContext | None = trust("http/1.1") if tls else None

    async def run() -> None:
        url = f"{'wss' if tls else 'ws'}://localhost:{listener.port}"
        async with websockets.asyncio.client.connect(
            url + "/echo", ssl=context, host="127.0.0.1", max_size=None, **options
        ) as ws:
            await talk(ws)

    asyncio.run(run())


@pytest.mark.parametrize("tls", [True, False], ids=["tls", "cleartext"])
def test_compression_with_the_websockets_package(
    sockets: Server, trust: Callable[..., ssl.SSLContext], tls: bool
) -> None:
    async def talk(ws: Any) -> None:
        assert [extension.name for extension in ws.protocol.extensions] == ["permessage-deflate"]
        for message in ["a" * 2 * MIB, os.urandom(MIB), "short", b"", json.dumps(list(range(50_000)))]:
            await ws.send(message)
            assert await ws.recv() == message

    over_websockets(sockets, trust, tls, talk)


def test_without_compression_with_the_websockets_package(sockets: Server, trust: Callable[..., ssl.SSLContext]) -> None:
    async def talk(ws: Any) -> None:
        assert ws.protocol.extensions == []
        await ws.send(["frag", "ments"])
        assert await ws.recv() == "fragments"
        await (await ws.ping())

    over_websockets(sockets, trust, False, talk, compression=None)
