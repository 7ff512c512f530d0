"""Bodies that flow: promptly, in both directions, with back-pressure, and the news that the client is gone."""

from __future__ import annotations

import ast
import hashlib
import json
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

import pytest

from end_to_end.h1_client import H1Client
from end_to_end.server import DEADLINE, Server, wait_until

MIB = 1 << 20


@pytest.fixture
def ask(plain: Server, connect_h1: Callable[..., H1Client]) -> Callable[..., Any]:
    """A second connection, for notes and gates."""
    client = connect_h1(plain.listeners[1])
    return lambda target: client.get(target).body


def where(plain: Server, protocol: str) -> Any:
    return plain.listener_for(protocol)


def test_large_upload_comes_back_as_it_goes(
    plain: Server, protocol: str, connect_h1: Callable[..., Any], connect_multiplexed: Callable[..., Any]
) -> None:
    body = hashlib.shake_128(b"upload").digest(4 * MIB)
    if not protocol.startswith("h1"):
        client = connect_multiplexed(where(plain, protocol))
        stream = client.request("POST", "/echo", body=body)
        assert client.response(stream).body == body
    else:
        client = connect_h1(where(plain, protocol))
        client.send(f"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n")
        got, sent = bytearray(), 0
        while sent < len(body):
            client.send(body[sent : sent + 65536])
            sent += 65536
            if sent == 65536:
                assert client.head().status == 200, "the response begins before the request ends"
            while len(got) < sent:
                got += client.chunk()
        assert client.chunk() == b""
        assert bytes(got) == body


def test_large_upload_reaches_the_app_whole(
    plain: Server, protocol: str, connect_h1: Callable[..., Any], connect_multiplexed: Callable[..., Any]
) -> None:
    body = hashlib.shake_128(b"digest").digest(16 * MIB)
    if not protocol.startswith("h1"):
        client = connect_multiplexed(where(plain, protocol))
        text = client.response(client.request("POST", "/digest", body=body)).body
    else:
        client = connect_h1(where(plain, protocol))
        client.request("POST", "/digest", body=body)
        text = client.response().body
    assert json.loads(text) == {"sha256": hashlib.sha256(body).hexdigest(), "bytes": len(body)}


@pytest.mark.parametrize("piece", [1, 1000, 65_536, 3 * MIB])
def test_large_download_arrives_whole(
    plain: Server, protocol: str, connect_h1: Callable[..., Any], connect_multiplexed: Callable[..., Any], piece: Any
) -> None:
    size = min(16 * MIB, piece * 2000) + 1
    target = f"/download?size={size}&piece={piece}&length"
    if not protocol.startswith("h1"):
        client = connect_multiplexed(where(plain, protocol))
        response = client.get(target + "=1")
        assert response.header(b"content-length") == str(size).encode()
        assert response.ended
    else:
        response = connect_h1(where(plain, protocol)).get(target + "=1")
        assert response.header("content-length") == str(size)
    assert response.body == bytes(size)


def test_event_arrives_before_the_next_is_made(
    plain: Server,
    protocol: str,
    connect_h1: Callable[..., Any],
    connect_multiplexed: Callable[..., Any],
    ask: Callable[..., Any],
    key: str,
) -> None:
    if not protocol.startswith("h1"):
        client = connect_multiplexed(where(plain, protocol))
        stream = client.streams[client.request("GET", f"/events?key={key}")]
        client.wait(lambda: stream.body == b"data: 0\n\n", "the first event")
        ask(f"/go?key={key}")
        client.wait(lambda: stream.ended, "the end")
        assert stream.body == b"data: 0\n\ndata: 1\n\n"
    else:
        client = connect_h1(where(plain, protocol))
        client.request("GET", f"/events?key={key}")
        assert client.head().header("content-type") == "text/event-stream"
        assert client.chunk() == b"data: 0\n\n"
        ask(f"/go?key={key}")
        assert client.chunk() == b"data: 1\n\n"
        assert client.chunk() == b""


def test_head_arrives_before_there_is_a_body(
    plain: Server,
    protocol: str,
    connect_h1: Callable[..., Any],
    connect_multiplexed: Callable[..., Any],
    ask: Callable[..., Any],
    key: str,
) -> None:
    if not protocol.startswith("h1"):
        client = connect_multiplexed(where(plain, protocol))
        stream = client.request("GET", f"/head-first?key={key}")
        assert client.head(stream).status == 202
        ask(f"/go?key={key}")
        assert client.response(stream).body == b"late"
    else:
        client = connect_h1(where(plain, protocol))
        client.request("GET", f"/head-first?key={key}")
        assert client.head().status == 202
        ask(f"/go?key={key}")
        assert (client.chunk(), client.chunk()) == (b"late", b"")


DISCONNECT = [{"type": "http.disconnect"}] * 2


@pytest.mark.parametrize("protocol", ["h2", "h2c", "h3"], indirect=True)
@pytest.mark.parametrize("start", ["", "&start=1"], ids=["before-the-response", "in-the-response"])
def test_app_receives_the_reset_of_its_stream_at_once(
    plain: Server, protocol: str, connect_multiplexed: Callable[..., Any], ask: Callable[..., Any], key: str, start: str
) -> None:
    client = connect_multiplexed(where(plain, protocol))
    stream = client.request("GET", f"/until-disconnect?key={key}{start}")
    assert ask(f"/note?key={key}-begun") == b"begun"
    client.reset(stream)
    assert ast.literal_eval(ask(f"/note?key={key}").decode()) == DISCONNECT
    assert client.get().body == b"hello", "the connection and the other streams go on"


#: How a connection ends. One of QUIC has one way, if its client says a word.
ENDS = [(protocol, how) for protocol in ("h1", "h1-tls", "h2", "h2c") for how in ("close", "reset", "half-close")]


@pytest.mark.parametrize("start", ["", "&start=1"], ids=["before-the-response", "in-the-response"])
@pytest.mark.parametrize(("protocol", "how"), [*ENDS, ("h3", "close")], indirect=["protocol"])
def test_app_receives_the_end_of_its_connection_at_once(
    plain: Server, protocol: str, connect_h1: Callable[..., Any], connect_multiplexed: Callable[..., Any], ask: Callable[..., Any], key: str, start: str, how: str
) -> None:
    target = f"/until-disconnect?key={key}{start}"
    if not protocol.startswith("h1"):
        client = connect_multiplexed(where(plain, protocol))
        client.request("GET", target)
    else:
        client = connect_h1(where(plain, protocol))
        client.request("GET", target)
    assert ask(f"/note?key={key}-begun") == b"begun"
    if how == "half-close":
        client.socket.shutdown(socket.SHUT_WR)
    else:
        if how == "reset":
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
    assert ast.literal_eval(ask(f"/note?key={key}").decode()) == DISCONNECT


def test_response_still_reaches_a_client_that_has_closed_its_side(
    plain: Server, connect_h1: Callable[..., H1Client], ask: Callable[..., Any], key: str
) -> None:
    client = connect_h1(plain.listeners[1])
    client.request("GET", f"/gate?key={key}")
    assert ask(f"/note?key={key}-begun") == b"begun"
    client.half_close()
    ask(f"/go?key={key}")
    response = client.response()
    assert (response.body, response.header("connection")) == (b"through", "close")
    client.assert_closed()


def test_a_client_that_has_closed_its_side_in_a_response_need_not_wait_for_the_keep_alive_timeout(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client]
) -> None:
    server = serve("plain.py:app", keep_alive_timeout=3600, workers=1)
    client = connect_h1(server.listener)
    client.request("GET", "/events?key=k")
    assert client.head().header("connection") is None
    assert client.chunk() == b"data: 0\n\n"
    client.half_close()
    with connect_h1(server.listener) as other:
        assert other.get("/go?key=k").status == 200
    assert (client.chunk(), client.chunk()) == (b"data: 1\n\n", b"")
    client.assert_closed()


def test_app_receives_a_disconnect_in_the_middle_of_a_body(
    plain: Server, connect_h1: Callable[..., H1Client], ask: Callable[..., Any], key: str
) -> None:
    client = connect_h1(plain.listeners[1])
    client.send(f"POST /until-disconnect?key={key} HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nabc")
    assert ask(f"/note?key={key}-begun") == b"begun"
    client.close()
    assert ast.literal_eval(ask(f"/note?key={key}").decode()) == DISCONNECT


def test_send_waits_while_the_client_does_not_read(
    plain: Server,
    protocol: str,
    connect_h1: Callable[..., Any],
    connect_multiplexed: Callable[..., Any],
    ask: Callable[..., Any],
    key: str,
) -> None:
    size = 32 * MIB
    target = f"/download?size={size}&key={key}"
    if not protocol.startswith("h1"):
        client = connect_multiplexed(where(plain, protocol), window=65_535)
        stream = client.request("GET", target)
        client.held.add(stream)
        client.counted.add(stream)
        client.wait(lambda: client.is_full(stream), "the window to be filled")
    else:
        client = connect_h1(where(plain, protocol), receive_buffer=1 << 16)
        client.request("GET", target)
        assert client.head().status == 200
    stopped = standstill(lambda: int(ask(f"/progress?key={key}")))
    assert 0 < stopped < size / 2, f"the app could send {stopped} bytes that nobody reads"
    if not protocol.startswith("h1"):
        client.release(stream)
        assert client.response(stream).length == size
    else:
        length = 0
        while chunk := client.chunk():
            length += len(chunk)
        assert length == size
    assert ask(f"/note?key={key}") == b"sent"


def standstill(read: Callable[[], int]) -> int:
    """Waits until a figure has not changed for a while, and returns it."""
    last, since = read(), time.monotonic()

    def is_still() -> bool:
        nonlocal last, since
        now = read()
        if now != last:
            last, since = now, time.monotonic()
        return time.monotonic() - since > 0.3

    wait_until(is_still, "the app to stand still", DEADLINE)
    return last


def test_upload_waits_while_the_app_does_not_read(
    plain: Server,
    protocol: str,
    connect_h1: Callable[..., Any],
    connect_multiplexed: Callable[..., Any],
    ask: Callable[..., Any],
    key: str,
) -> None:
    target = f"/digest?gate={key}&pieces=1"
    size, sent = 8 * MIB, 0
    if not protocol.startswith("h1"):
        client = connect_multiplexed(where(plain, protocol))
        stream = client.request("POST", target, end=False)
        client.send(stream, bytes(1000))
        sent = 1000
        ask(f"/note?key={key}")
        client.ping()
        while room := client.room(stream):
            client.send(stream, bytes(room))
            sent += room
            client.ping()
        assert sent < 2 * MIB
        ask(f"/go?key={key}")
        client.send(stream, bytes(size - sent), end=True)
        text = client.response(stream).body
    else:
        client = connect_h1(where(plain, protocol))
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
        client.send(f"POST {target} HTTP/1.1\r\nhost: x\r\ncontent-length: {size}\r\n\r\n")
        client.send(bytes(1000))
        sent = 1000
        ask(f"/note?key={key}")
        client.socket.settimeout(0.5)
        with pytest.raises(TimeoutError):
            while True:
                sent += client.socket.send(bytes(1 << 16))
        client.socket.settimeout(DEADLINE)
        assert sent < size / 2
        ask(f"/go?key={key}")
        client.send(bytes(size - sent))
        text = client.response().body
    assert json.loads(text) == {"sha256": hashlib.sha256(bytes(size)).hexdigest(), "bytes": size}


@pytest.mark.parametrize("protocol", ["h2", "h2c", "h3"], indirect=True)
def test_downloads_side_by_side_do_not_mix(plain: Server, protocol: str, connect_multiplexed: Callable[..., Any]) -> None:
    """More of them than the link has blocks of shared memory, some of them given up midway."""
    client = connect_multiplexed(where(plain, protocol), window=MIB)
    streams = {
        client.request("GET", f"/download?size={MIB + number}&byte={number}&piece={20_000 + 3000 * number}"): number
        for number in range(40)
    }
    given_up = [stream for stream, number in streams.items() if number % 5 == 0]
    for stream in given_up:
        client.reset(stream)
    for stream, number in streams.items():
        if stream not in given_up:
            assert client.response(stream).body == bytes([number]) * (MIB + number)


@pytest.mark.parametrize("protocol", ["h2", "h2c", "h3"], indirect=True)
def test_stream_that_is_not_read_does_not_hold_up_the_others(
    plain: Server, protocol: str, connect_multiplexed: Callable[..., Any], key: str
) -> None:
    client = connect_multiplexed(where(plain, protocol), window=65_535)
    stuck = [client.request("GET", f"/download?size={8 * MIB}&key={key}-{number}") for number in range(20)]
    client.held.update(stuck)
    client.wait(lambda: all(map(client.is_full, stuck)), "full windows")
    for _ in range(20):
        assert client.get(deadline=5).body == b"hello"
    assert client.get(f"/download?size={4 * MIB}").length == 4 * MIB
    for stream in stuck:
        client.reset(stream)
