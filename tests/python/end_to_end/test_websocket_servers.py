"""WebSockets of servers of their own: what can be set, deadlines, ends of servers and workers, other kinds of apps."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from end_to_end.h1_client import H1Client
from end_to_end.h2_client import H2Client
from end_to_end.h3_client import H3Client
from end_to_end.key_rows import shows
from end_to_end.server import Server
from end_to_end.ws_client import (
    BINARY,
    PING,
    PONG,
    TEXT,
    Ended,
    WsClient,
    ask_over_h1,
    ask_over_h2,
    frame,
    open_over_h1,
    open_over_h2,
)


@pytest.mark.parametrize("version", ["h1", "h2", "h3"])
def test_denial_takes_as_long_as_its_app_does(
    serve: Callable[..., Server], connect_h1: Callable[..., Any], connect_multiplexed: Callable[..., Any], version: str
) -> None:
    server = serve("sockets.py:app", read_timeout=0.2)
    if version == "h1":
        response = ask_over_h1(connect_h1(server.listener), "/deny-slowly", whole=True)
    else:
        client = connect_multiplexed(server.listener_speaking(version))
        response = client.response(ask_over_h2(client, "/deny-slowly"))
    assert (response.status, response.body) == (418, b"no tea")


def test_drain_closes_with_1001(
    serve: Callable[..., Server], protocol: str, connect_h1: Callable[..., Any], connect_multiplexed: Callable[..., Any]
) -> None:
    server = serve("sockets.py:app", tls=protocol in ("h1-tls", "h2"))
    if not protocol.startswith("h1"):
        ws = open_over_h2(connect_multiplexed(server.listener_speaking(protocol)), "/echo")
    else:
        ws = open_over_h1(connect_h1(server.listener), "/echo")
    ws.send("hello")
    assert ws.receive() == "hello"
    server.signal(signal.SIGTERM)
    assert ws.closed()[0] == 1001
    ws.close(1001)
    ws.ended()
    assert server.wait_for_exit() == 0


@pytest.mark.parametrize("version", ["h2", "h3"])
def test_worker_that_dies_is_1012_and_the_connection_lives(
    serve: Callable[..., Server], connect_multiplexed: Callable[..., H2Client | H3Client], version: str
) -> None:
    server = serve("sockets.py:app", tls=True)
    client = connect_multiplexed(server.listener_speaking(version))
    ws = open_over_h2(client, "/echo")
    (pid,) = server.worker_pids()
    os.kill(pid, signal.SIGKILL)
    assert ws.closed()[0] == 1012
    assert client.get("/").body == b"hello"


def test_wsgi_app_has_no_websockets(serve: Callable[..., Server], connect_h1: Callable[..., H1Client]) -> None:
    server = serve("wsgi:wsgi.py:app")
    assert ask_over_h1(connect_h1(server.listener), "/").status == 403


def test_no_app_has_no_websockets(
    serve: Callable[..., Server], connect_h1: Callable[..., Any], connect_h2: Callable[..., Any]
) -> None:
    server = serve(None)
    head = ask_over_h1(connect_h1(server.listener), "/")
    assert head.status == 200, "the welcome page"
    client = connect_h2(server.listener)
    assert client.response(ask_over_h2(client, "/")).status == 405


@shows(websocket_close_timeout=0.5)
def test_client_that_never_answers_the_close_is_let_go(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client]
) -> None:
    server = serve("sockets.py:app", hcrs={"websocket_close_timeout": 0.5})
    ws = open_over_h1(connect_h1(server.listener), "/choose?x", [("sec-websocket-protocol", "x")])
    assert ws.closed() == (4000, "chosen")
    began = time.monotonic()
    with pytest.raises(Ended):
        ws.receive_frame()
    assert 0.4 < time.monotonic() - began < 5


def test_breach_is_answered_in_time_though_the_app_takes_no_messages(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client], key: str
) -> None:
    """It could still answer the message before; for that it has the time of a Close frame."""
    server = serve("sockets.py:app", hcrs={"websocket_close_timeout": 0.5})
    ws = open_over_h1(connect_h1(server.listener), f"/slow?{key}")
    ws.send(b"waits")
    began = time.monotonic()
    ws.send_bytes(b"\xff")
    assert ws.closed()[0] == 1002
    assert 0.4 < time.monotonic() - began < 5
    ws.ended()
    connect_h1(server.listener).get(f"/go?{key}")


def over(serve: Callable[..., Server], connect_h1: Callable[..., H1Client], offer: str = "", **keys: Any) -> Any:
    """A WebSocket of a server with these keys in its table."""
    server = serve("sockets.py:app", hcrs=keys)
    headers = [("sec-websocket-extensions", offer)] if offer else []
    return open_over_h1(connect_h1(server.listener), "/echo", headers)


FULL_OFFER = "permessage-deflate; client_max_window_bits"

NO_TAKEOVER = "; server_no_context_takeover; client_no_context_takeover"


@shows(
    websocket_compression=False,
    websocket_server_max_window_bits=9,
    websocket_client_max_window_bits=10,
    websocket_server_context_takeover=True,
    websocket_client_context_takeover=True,
)
@pytest.mark.parametrize(
    "keys, answer",
    [
        ({}, "permessage-deflate" + NO_TAKEOVER),
        ({"websocket_compression": False}, ""),
        ({"websocket_compression": False, "websocket_compression_level": 9}, ""),
        ({"websocket_server_max_window_bits": 9}, f"permessage-deflate{NO_TAKEOVER}; server_max_window_bits=9"),
        ({"websocket_client_max_window_bits": 10}, f"permessage-deflate{NO_TAKEOVER}; client_max_window_bits=10"),
        ({"websocket_server_context_takeover": True}, "permessage-deflate; client_no_context_takeover"),
        ({"websocket_client_context_takeover": True}, "permessage-deflate; server_no_context_takeover"),
    ],
    ids=lambda value: ",".join(value) or "default" if isinstance(value, dict) else None,
)
def test_terms_of_compression_are_the_configured_ones(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client], keys: Any, answer: str
) -> None:
    assert over(serve, connect_h1, FULL_OFFER, **keys).extension == answer


def echoed_size(ws: Any, payload: bytes) -> tuple[bool, int]:
    """Whether an echo came compressed, and its bytes on the wire."""
    ws.send_frame(BINARY, payload)
    rsv, echo = ws.receive_payload()
    return rsv == 4, len(echo)


@shows(websocket_compression_min_size=100)
def test_shortest_message_that_is_compressed_is_the_configured_one(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client]
) -> None:
    ws = over(serve, connect_h1, FULL_OFFER, websocket_compression_min_size=100)
    assert echoed_size(ws, bytes(99)) == (False, 99)
    assert echoed_size(ws, bytes(100))[0]


@shows(websocket_compression_level=9)
def test_effort_of_compression_is_the_configured_one(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client]
) -> None:
    text = json.dumps([{"id": number, "name": f"item {number * 7919 % 1000}"} for number in range(4000)]).encode()
    fast, small = (
        echoed_size(over(serve, connect_h1, FULL_OFFER, websocket_compression_level=level), text)[1] for level in (1, 9)
    )
    assert small < fast * 0.9


@shows(websocket_compression_mem_level=9)
def test_memory_of_compression_is_the_configured_one(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client]
) -> None:
    """With little memory for symbols blocks are short, and each has a header of its own."""
    text = b"".join(hashlib.sha256(b"%d" % number).hexdigest().encode() for number in range(4000))
    small, large = (
        echoed_size(
            over(serve, connect_h1, FULL_OFFER, websocket_compression_level=6, websocket_compression_mem_level=level), text
        )[1]
        for level in (1, 9)
    )
    assert large < small


@shows(websocket_compression_max_contexts=1)
def test_no_more_compressors_are_kept_than_configured(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client]
) -> None:
    keys = {"websocket_server_context_takeover": True, "websocket_compression_max_contexts": 1}
    server = serve("sockets.py:app", hcrs={**keys, "io_threads": 1})
    random = os.urandom(4000)

    def shrinks_when_repeated() -> bool:
        ws = open_over_h1(connect_h1(server.listener), "/echo", [("sec-websocket-extensions", FULL_OFFER)])
        held.append(ws)
        echoed_size(ws, random)
        return echoed_size(ws, random)[1] < 1000

    held: list[WsClient] = []
    assert [shrinks_when_repeated() for _ in range(3)] == [True, False, False]


@shows(websocket_max_fragments=2)
def test_message_of_too_many_fragments_is_1008(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client]
) -> None:
    ws = over(serve, connect_h1, websocket_max_fragments=2)
    pieces = [frame(TEXT, b"a", fin=False), frame(0, b"b")]
    ws.send_bytes(b"".join(pieces))
    assert ws.receive() == "ab"
    ws.send_bytes(b"".join([pieces[0], frame(0, b"b", fin=False), frame(0, b"c")]))
    assert ws.closed()[0] == 1008


@shows(websocket_ping_timeout=0.5)
def test_client_that_answers_no_ping_is_let_go(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client], key: str
) -> None:
    server = serve("sockets.py:app", websocket_ping_interval=60, hcrs={"websocket_ping_timeout": 0.5})
    ws = open_over_h1(connect_h1(server.listener), f"/echo?{key}")
    began = time.monotonic()
    assert ws.receive_frame().opcode == PING
    ws.ended()
    assert 0.4 < time.monotonic() - began < 5
    told = json.loads(connect_h1(server.listener).get(f"/note?{key}").body)
    assert told == {"type": "websocket.disconnect", "code": 1006, "reason": ""}


def test_client_that_answers_pings_is_kept(serve: Callable[..., Server], connect_h1: Callable[..., H1Client]) -> None:
    server = serve("sockets.py:app", websocket_ping_interval=0.1, hcrs={"websocket_ping_timeout": 0.5})
    ws = open_over_h1(connect_h1(server.listener), "/echo")
    for _ in range(8):
        ping = ws.receive_frame()
        assert ping.opcode == PING
        ws.send_frame(PONG, ping.payload)
    ws.send("still here")
    while (answer := ws.receive_frame()).opcode == PING:
        ws.send_frame(PONG, answer.payload)
    assert answer.payload == b"still here"


@pytest.mark.parametrize("messages", [[b""] * 3000, [bytes(60_000)] * 6], ids=["empty", "large"])
@pytest.mark.parametrize("version", ["h1", "h2", "h3"])
def test_close_of_an_app_that_has_taken_nothing_is_answered_at_once(
    serve: Callable[..., Server],
    connect_h1: Callable[..., Any],
    connect_multiplexed: Callable[..., Any],
    tmp_path: Any,
    version: str,
    messages: list[bytes],
) -> None:
    """The client's Close frame stands behind more messages than wait for the app."""
    server = serve("numbered.py:app", hcrs={"lifespan": "off"})
    target = f"/deaf?gate={tmp_path}/gate"
    socket = open_over_h1(connect_h1(server.listener), target) if version == "h1" else None
    socket = socket or open_over_h2(connect_multiplexed(server.listener_speaking(version), window=1 << 16), target)
    if version != "h1":
        messages = messages[: len(messages) // 3]  # what its stream's window takes
    for message in messages:
        socket.send(message)
    (tmp_path / "gate").touch()
    began = time.monotonic()
    assert socket.closed()[0] == 1011
    socket.close()
    socket.ended()
    assert time.monotonic() - began < 8, "earlier than by websocket_close_timeout"
