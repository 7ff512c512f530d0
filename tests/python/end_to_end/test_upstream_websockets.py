"""WebSockets through upstreams, also through other servers."""

from __future__ import annotations

import base64
import hashlib
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from end_to_end.h1_client import H1Client
from end_to_end.h2_client import H2Client
from end_to_end.h3_client import H3Client
from end_to_end.server import APPS, START_DEADLINE, Server, wait_until
from end_to_end.upstream import Peer, Request, Upstream
from end_to_end.ws_client import WsClient, ask_over_h1, ask_over_h2, open_over_h1, open_over_h2

Serve = Callable[..., Server]


@pytest.fixture(params=["h1", "h2", "h3"])
def open_websocket(
    request: pytest.FixtureRequest,
    connect_h1: Callable[..., H1Client],
    connect_multiplexed: Callable[..., H2Client | H3Client],
) -> Callable[..., WsClient]:
    """Opens a WebSocket over any protocol."""

    def opened(server: Server, path: str, **options: Any) -> WsClient:
        if request.param == "h1":
            return open_over_h1(connect_h1(server.listeners[1]), path, **options)
        return open_over_h2(connect_multiplexed(server.listener_speaking(request.param)), path, **options)

    return opened


def test_a_websocket_through_an_upstream(
    proxy: Callable[..., Server], serve: Serve, open_websocket: Callable[..., WsClient]
) -> None:
    inner = serve("sockets.py:app")
    server = proxy(inner.listener.url)
    client = open_websocket(server, "/echo", headers=[("sec-websocket-extensions", "permessage-deflate")])
    assert client.extension.startswith("permessage-deflate"), "the upstream and the client agree on it"
    messages: list[str | bytes] = ["hello", b"\0\1\2", "x" * 100]
    for message in messages:
        client.send(message)
        assert client.receive() == message
    client.send(b"0123456789" * 100_000)
    assert len(client.receive_payload()[1]) > 0
    client.close(1000, "bye")
    assert client.closed()[0] == 1000
    client.ended()


def test_subprotocols_and_refusals_come_from_the_upstream(
    proxy: Callable[..., Server], serve: Serve, connect_h1: Callable[..., H1Client],
    connect_multiplexed: Callable[..., H2Client | H3Client], open_websocket: Callable[..., WsClient],
) -> None:
    inner = serve("sockets.py:app")
    server = proxy(inner.listener.url)
    client = open_websocket(server, "/choose?chat", headers=[("sec-websocket-protocol", "other, chat")])
    assert client.closed() == (4000, "chosen")
    refused = ask_over_h1(connect_h1(server.listeners[1]), "/deny", whole=True)
    assert (refused.status, refused.body) == (418, b"no tea")
    for where in (server.listener, server.quic):
        multiplexed = connect_multiplexed(where)
        stream = multiplexed.response(ask_over_h2(multiplexed, "/deny"))
        assert (stream.status, stream.body) == (418, b"no tea")


def test_an_upstream_that_knows_no_websockets(
    proxy: Callable[..., Server], connect_h1: Callable[..., H1Client],
    connect_multiplexed: Callable[..., H2Client | H3Client], upstream: Upstream,
) -> None:
    server = proxy(upstream.url)
    assert ask_over_h1(connect_h1(server.listeners[1]), "/", whole=True).status == 200
    for where in (server.listener, server.quic):
        multiplexed = connect_multiplexed(where)
        response = multiplexed.response(ask_over_h2(multiplexed, "/"))
        assert response.status == 502, "200 would mean that the WebSocket is open"


def test_a_websocket_ends_with_either_side(
    proxy: Callable[..., Server], open_websocket: Callable[..., WsClient], upstream: Upstream
) -> None:
    gone: list[str] = []

    def switch(peer: Peer, request: Request) -> None:
        assert request.header("upgrade") == "websocket" and request.header("connection") == "upgrade"
        peer.send(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
            f"sec-websocket-accept: {accept_of(request)}\r\n\r\n"
        )
        if request.target == "/mine":
            peer.send(b"\x81\x02hi")
            peer.exactly(1)
            peer.socket.shutdown(socket.SHUT_WR)
        peer.wait_until_gone()
        gone.append(request.target)

    upstream.handler = switch
    server = proxy(upstream.url)
    client = open_websocket(server, "/mine")
    assert client.receive() == "hi"
    client.send("x")
    client.ended()
    wait_until(lambda: gone == ["/mine"], "the upstream's connection to be closed")
    client = open_websocket(server, "/theirs")
    client.transport.end()
    wait_until(lambda: gone == ["/mine", "/theirs"], "the upstream's connection to be closed")


def test_a_silent_websocket_is_given_up(
    proxy: Callable[..., Server], serve: Serve, open_websocket: Callable[..., WsClient]
) -> None:
    inner = serve("sockets.py:app")
    server = proxy(inner.listener.url, read_timeout=0.3)
    client = open_websocket(server, "/echo")
    client.send("hello")
    assert client.receive() == "hello"
    client.ended()


def test_a_drain_closes_websockets(
    proxy: Callable[..., Server], serve: Serve, open_websocket: Callable[..., WsClient]
) -> None:
    inner = serve("sockets.py:app")
    server = proxy(inner.listener.url, keys={"graceful_timeout": 20})
    client = open_websocket(server, "/echo")
    client.send("hello")
    assert client.receive() == "hello"
    server.signal(signal.SIGTERM)
    assert client.closed() == (1001, "")
    client.close(1001)
    client.ended()
    assert server.wait_for_exit() == 0


def accept_of(request: Request) -> str:
    """The answer to the key of a handshake (RFC 6455 §4.2.2)."""
    key = request.header("sec-websocket-key")
    assert key is not None
    digest = hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()
    return base64.b64encode(digest).decode()


@pytest.mark.parametrize(
    ("command", "upstream_protocol"),
    [
        (["uvicorn", "--app-dir", "{apps}", "sockets:app", "--uds", "{socket}"], "auto"),
        (["hypercorn", "{apps}/sockets.py:app", "--bind", "unix:{socket}"], "auto"),
        (["hypercorn", "{apps}/sockets.py:app", "--bind", "unix:{socket}"], "h2"),
    ],
)
def test_other_servers_as_upstreams(
    proxy: Callable[..., Server], open_websocket: Callable[..., WsClient], browse: Callable[..., httpx.Client],
    tmp_path: Path, command: list[str], upstream_protocol: str,
) -> None:
    path = tmp_path / "inner.sock"
    words = [word.format(apps=APPS, socket=path) for word in command]
    with subprocess.Popen([sys.executable, "-m", *words], stderr=subprocess.DEVNULL) as inner:
        try:
            wait_until(path.exists, "the server to start", START_DEADLINE)
            server = proxy(f"unix:{path}", upstream_protocol=upstream_protocol)
            client = browse(server)
            wait_until(lambda: client.get("/").status_code == 200, "the first answer")
            assert [client.get("/").text for _ in range(3)] == ["hello"] * 3
            websocket = open_websocket(server, "/choose?chat", headers=[("sec-websocket-protocol", "chat")])
            assert websocket.closed() == (4000, "chosen")
            websocket.close(4000)
            websocket.ended()
        finally:
            inner.terminate()
