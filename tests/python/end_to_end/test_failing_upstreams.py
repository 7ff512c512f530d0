"""Routes to upstreams that lie, break off, hang or leave, and to which clients leave."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Callable

import httpx
import pytest

from end_to_end.h1_client import Closed, H1Client
from end_to_end.h2_client import H2Client
from end_to_end.proxying import Client, status_of
from end_to_end.server import Server, wait_until
from end_to_end.upstream import Peer, Request, Upstream


@pytest.mark.parametrize("how", ["reset", "leave"])
def test_a_kept_connection_that_was_closed_is_replaced(
    proxy: Callable[..., Server], upstream: Upstream, how: str
) -> None:
    server = proxy(upstream.url)
    assert status_of(server) == 200
    upstream.drop_connections()
    assert [status_of(server, method="POST", content=b"x") for _ in range(2)] == [200, 200]

    used: set[int] = set()

    def close_late(peer: Peer, request: Request) -> None:
        """Closes a kept connection when the next request has arrived on it."""
        if peer.number in used:
            getattr(peer, how)()
        else:
            used.add(peer.number)
            peer.answer()

    upstream.handler = close_late
    upstream.drop_connections()
    upstream.requests.clear()
    assert status_of(server) == 200
    assert status_of(server) == 200, "a GET is sent again"
    assert len(upstream.requests) == 3
    upstream.requests.clear()
    assert status_of(server, method="POST", content=b"x") == 502, "a POST is not"
    assert [request.method for request in upstream.requests] in (["POST"], ["POST", "POST"])


@pytest.mark.parametrize(
    "wire",
    [
        b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n", b"HTTP/1.1 999999 X\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello", b"\0" * 100, b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"a" * (70 << 10) + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 300 + b"\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\ncontent-length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: a\r\n b\r\ncontent-length: 0\r\n\r\n", b"HTTP/1.1 200 OK\ncontent-length: 0\n\n",
        b"HTTP/1.1 200 OK\r\nx: a\rset-cookie: b\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 100, b"HTTP/1.1 103 Early Hints\r\n\r\n", b"HTTP/2.0 200 OK\r\n\r\n",
    ],
)
def test_what_is_no_response_is_answered_with_502(
    proxy: Callable[..., Server], upstream: Upstream, wire: bytes, client_of: Callable[[Server], Client]
) -> None:
    def show(peer: Peer, request: Request) -> None:
        if request.target == "/bad":
            peer.send(wire)
            peer.socket.shutdown(socket.SHUT_WR)
            peer.wait_until_gone()
        else:
            peer.answer("well")

    upstream.handler = show
    client = client_of(proxy(upstream.url))
    answer = client.ask("/bad")
    assert (answer.status, answer.body) == (502, b"")
    assert client.ask("/good").body == b"well", "the client's connection goes on"


@pytest.mark.parametrize(
    "wire",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nshort\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nshort\r\nnonsense\r\n",
    ],
)
def test_a_body_that_breaks_off_is_no_whole_one(
    proxy: Callable[..., Server], connect_h1: Callable[..., H1Client], connect_h2: Callable[..., H2Client],
    upstream: Upstream, wire: bytes,
) -> None:
    def show(peer: Peer, request: Request) -> None:
        peer.send(wire)
        peer.socket.shutdown(socket.SHUT_WR)
        peer.wait_until_gone()

    upstream.handler = show
    server = proxy(upstream.url)
    client = connect_h1(server.listeners[1])
    client.request()
    with pytest.raises(Closed):
        client.response()
    h2 = connect_h2(server.listener)
    assert h2.response(h2.request()).reset == 2  # INTERNAL_ERROR


def test_bytes_behind_a_response_are_not_the_next_one(proxy: Callable[..., Server], upstream: Upstream) -> None:
    def show(peer: Peer, request: Request) -> None:
        peer.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nwrong")

    upstream.handler = show
    server = proxy(upstream.url)
    for _ in range(5):
        assert httpx.get(server.listeners[1].url).text == "ok"


def test_bytes_that_were_not_asked_for_end_a_kept_connection(proxy: Callable[..., Server], upstream: Upstream) -> None:
    def show(peer: Peer, request: Request) -> None:
        peer.answer("ok")
        time.sleep(0.05)
        peer.send("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nwrong")

    upstream.handler = show
    server = proxy(upstream.url)
    for number in range(1, 4):
        assert httpx.get(server.listeners[1].url).text == "ok"
        wait_until(lambda: upstream.open == 0, "the connection to be closed")
        assert upstream.connections == number


def test_a_response_that_arrives_byte_by_byte(
    proxy: Callable[..., Server], client_of: Callable[[Server], Client], upstream: Upstream
) -> None:
    wires = [
        b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nx-sum: 1\r\n\r\n",
    ]

    def show(peer: Peer, request: Request) -> None:
        peer.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(len(wires[0])):
            peer.send(wires[0][at : at + 1])

    upstream.handler = show
    client = client_of(proxy(upstream.url))
    while wires:
        answer = client.ask("/")
        assert (answer.status, answer.body) == (200, b"hello")
        del wires[0]
    assert upstream.connections == 1


def test_a_response_that_ends_with_its_connection(proxy: Callable[..., Server], upstream: Upstream) -> None:
    def show(peer: Peer, request: Request) -> None:
        peer.send(b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * 100_000)
        peer.socket.shutdown(socket.SHUT_WR)

    upstream.handler = show
    server = proxy(upstream.url)
    assert httpx.get(server.listeners[1].url).content == b"x" * 100_000


def test_an_upstream_that_hangs_is_given_up(proxy: Callable[..., Server], upstream: Upstream) -> None:
    gone: list[int] = []

    def show(peer: Peer, request: Request) -> None:
        if request.target == "/body":
            peer.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12345")
        gone.append(peer.wait_until_gone())

    upstream.handler = show
    server = proxy(upstream.url, read_timeout=0.3, send_timeout=0.3)
    assert status_of(server) == 504
    with pytest.raises(httpx.RemoteProtocolError):
        status_of(server, "/body")
    wait_until(lambda: len(gone) == 2, "the connections to be closed")

    def take_nothing(peer: Peer, request: Request) -> None:
        time.sleep(0.1)
        gone.append(0)
        peer.socket.recv(1, socket.MSG_PEEK)
        threading.Event().wait(3)

    upstream.handler = take_nothing
    assert status_of(server, method="POST", content=bytes(32 << 20)) == 504


def test_a_connection_that_takes_too_long(proxy: Callable[..., Server]) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        port = listener.getsockname()[1]
        fillers = [socket.socket() for _ in range(4)]
        try:
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(("127.0.0.1", port))
            server = proxy(f"http://127.0.0.1:{port}", connect_timeout=0.3)
            assert status_of(server) == 504
        finally:
            for filler in fillers:
                filler.close()


def test_an_early_answer_ends_an_upload(proxy: Callable[..., Server], upstream: Upstream) -> None:
    def show(peer: Peer, request: Request) -> None:
        peer.answer("too much", status="413 Content Too Large")
        peer.wait_until_gone()

    upstream.handler = show
    server = proxy(upstream.url)
    answer = httpx.post(server.listeners[1].url, content=bytes(300_000))
    assert (answer.status_code, answer.text) == (413, "too much")


def test_an_upstream_hears_when_the_client_leaves(
    proxy: Callable[..., Server], connect_h1: Callable[..., H1Client], connect_h2: Callable[..., H2Client],
    upstream: Upstream,
) -> None:
    gone: list[str] = []

    def show(peer: Peer, request: Request) -> None:
        if request.target == "/begun":
            peer.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12345")
        peer.wait_until_gone()
        gone.append(request.target)

    upstream.handler = show
    server = proxy(upstream.url)
    h2 = connect_h2(server.listener)
    stream = h2.request("GET", "/h2")
    wait_until(lambda: len(upstream.requests) == 1, "the request")
    h2.reset(stream)
    wait_until(lambda: gone == ["/h2"], "the upstream's connection to be closed")
    h1 = connect_h1(server.listeners[1])
    h1.request("GET", "/h1")
    wait_until(lambda: len(upstream.requests) == 2, "the request")
    h1.close()
    wait_until(lambda: gone == ["/h2", "/h1"], "the upstream's connection to be closed")
    begun = h2.request("GET", "/begun")
    h2.head(begun)
    h2.close()
    wait_until(lambda: gone[2:] == ["/begun"], "the upstream's connection to be closed")


def test_a_client_that_closes_its_side_gets_its_response(
    proxy: Callable[..., Server], connect_h1: Callable[..., H1Client], upstream: Upstream
) -> None:
    def show(peer: Peer, request: Request) -> None:
        time.sleep(0.2)
        peer.answer("late")

    upstream.handler = show
    client = connect_h1(proxy(upstream.url).listeners[1])
    client.request()
    client.half_close()
    assert client.response().body == b"late"


def test_a_drain_waits_for_responses(
    proxy: Callable[..., Server], connect_h1: Callable[..., H1Client], upstream: Upstream
) -> None:
    go = threading.Event()

    def show(peer: Peer, request: Request) -> None:
        assert go.wait(20)
        peer.answer("done")

    upstream.handler = show
    server = proxy(upstream.url, keys={"graceful_timeout": 20})
    client = connect_h1(server.listeners[1])
    client.request()
    wait_until(lambda: len(upstream.requests) == 1, "the request")
    server.signal(signal.SIGTERM)
    server.wait_for_log("Shutting down")
    go.set()
    assert client.response().body == b"done"
    assert server.wait_for_exit() == 0
