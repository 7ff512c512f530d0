"""Routes to upstreams: requests and responses pass through the edge, over every protocol."""

from __future__ import annotations

import gzip
import hashlib
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from end_to_end.h1_client import H1Client
from end_to_end.h2_client import H2Client, Stream
from end_to_end.h3_client import H3Client
from end_to_end.key_rows import shows
from end_to_end.proxying import Client, status_of, write
from end_to_end.server import Server, wait_until
from end_to_end.upstream import Peer, Request, Upstream

Serve = Callable[..., Server]


@shows("plain.py:app", routes=[{"path": "/gone", "upstream": "http://127.0.0.1:1"}])
def test_a_route_passes_requests_on(server: Server, connect_h1: Callable[..., H1Client]) -> None:
    client = connect_h1(server.listener)
    assert client.get("/gone").status == 502
    assert client.get("/pid").body.isdigit()
    server.wait_for_log(r"\[WARNING\] Upstream http://127.0.0.1:1 is down: Connection refused")


def test_requests_and_responses_over_every_protocol(
    proxy: Callable[..., Server], client_of: Callable[[Server], Client], upstream: Upstream, protocol: str
) -> None:
    def show(peer: Peer, request: Request) -> None:
        peer.read_body(request)
        fields = "x-own: 1\r\nconnection: x-hop\r\nx-hop: 1\r\nkeep-alive: timeout=5\r\nset-cookie: a=1\r\nset-cookie: b=2\r\n"
        peer.answer(hashlib.sha256(request.body).hexdigest(), headers=fields)

    upstream.handler = show
    client = client_of(proxy(upstream.url))
    for body in [None, b"x", b"0123456789" * 100_000]:
        answer = client.ask("/a%20b/c?d=e&f", "POST" if body else "GET", (("x-mine", "2"), ("cookie", "c=d")), body)
        assert answer.status == 200
        assert answer.body.decode() == hashlib.sha256(body or b"").hexdigest()
        assert answer.header("x-own") == "1"
        assert [value for name, value in answer.headers if name == "set-cookie"] == ["a=1", "b=2"]
        assert answer.header("x-hop") is None and answer.header("keep-alive") is None
        request = upstream.requests[-1]
        assert (request.target, request.version) == ("/a%20b/c?d=e&f", "HTTP/1.1")
        assert request.header("x-mine") == "2" and request.header("cookie") == "c=d"
        assert request.header("host") == client.connection.where.authority
        assert request.header("x-forwarded-for") == "127.0.0.1"
        assert request.header("x-forwarded-proto") == ("http" if protocol in ("h1", "h2c") else "https")
    assert upstream.connections == 1, "one connection is enough for requests that follow each other"


def test_bodyless_responses(
    proxy: Callable[..., Server], client_of: Callable[[Server], Client], upstream: Upstream
) -> None:
    def show(peer: Peer, request: Request) -> None:
        if request.method == "HEAD":
            peer.send("HTTP/1.1 200 OK\r\ncontent-length: 1234\r\n\r\n")
        elif request.target == "/204":
            peer.send("HTTP/1.1 204 No Content\r\n\r\n")
        elif request.target == "/304":
            peer.send('HTTP/1.1 304 Not Modified\r\netag: "a"\r\ncontent-length: 99\r\n\r\n')
        else:
            peer.answer(b"")

    upstream.handler = show
    client = client_of(proxy(upstream.url))
    head = client.ask("/", "HEAD")
    assert (head.status, head.body, head.header("content-length")) == (200, b"", "1234")
    for path, status in [("/204", 204), ("/304", 304), ("/", 200)]:
        answer = client.ask(path)
        assert (answer.status, answer.body) == (status, b"")
    assert upstream.connections == 1


def test_interim_heads_chunks_and_trailers(
    proxy: Callable[..., Server], client_of: Callable[[Server], Client], upstream: Upstream, protocol: str
) -> None:
    def show(peer: Peer, request: Request) -> None:
        peer.send("HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload\r\n\r\n")
        peer.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n")
        peer.send("5\r\nhello\r\n6\r\n world\r\n0\r\nx-sum: 7\r\n\r\n")

    upstream.handler = show
    client = client_of(proxy(upstream.url))
    answer = client.ask("/", headers=(("te", "trailers"),))
    assert (answer.status, answer.body) == (200, b"hello world")
    assert answer.trailers == [("x-sum", "7")]
    assert [dict(hint)["link"] for hint in answer.hints] == ["</style.css>; rel=preload"]
    assert client.ask("/").trailers == [], "the client has not asked for them"


def send_with_trailers(connection: H1Client | H2Client | H3Client, trailers: list[tuple[str, str]], path: str = "/") -> None:
    """Sends a request whose body has trailers."""
    if isinstance(connection, H1Client):
        lines = "".join(f"{name}: {value}\r\n" for name, value in trailers)
        connection.request("POST", path, "transfer-encoding: chunked\r\n")
        connection.send(f"5\r\nhello\r\n0\r\n{lines}\r\n")
    else:
        stream = connection.request("POST", path, (("content-length", "5"), ("trailer", "x-sum")), b"hello", end=False)
        connection.trailers(stream, trailers)


@pytest.mark.parametrize("hops", [1, 2])
def test_trailers_of_requests(
    proxy: Callable[..., Server], serve: Serve, client_of: Callable[[Server], Client], upstream: Upstream, tmp_path: Path,
    hops: int,
) -> None:
    if hops == 1:
        server = proxy(upstream.url)
    else:
        file = tmp_path / "inner.toml"
        write(file, upstream.url, keys={})
        server = proxy(serve(None, config_file=file).listener.url, upstream_protocol="h2")
    connection = client_of(server).connection
    mine = [("x-sum", "7"), ("x-empty", ""), ("host", "other.test"), ("x-forwarded-for", "192.0.2.1"), ("x_y", "1")]
    for _ in range(2):
        send_with_trailers(connection, mine)
        assert last_answer(connection)[0] == 200
    assert len(upstream.requests) == 2
    for request in upstream.requests:
        assert (request.header("transfer-encoding"), request.body) == ("chunked", b"hello")
        assert request.trailers == [("x-sum", "7"), ("x-empty", "")], "those that frame, route or describe are dropped"
        assert len([key for key, _ in request.headers if key == "via"]) == hops


def test_apps_get_no_trailers(
    serve: Serve, client_of: Callable[[Server], Client], certificate: dict[str, str]
) -> None:
    server = serve("plain.py:app", **certificate, insecure_bind="127.0.0.1:0")
    connection = client_of(server).connection
    for _ in range(2):
        send_with_trailers(connection, [("x-sum", "7")], "/echo")
        assert last_answer(connection) == (200, b"hello")


def last_answer(connection: H1Client | H2Client | H3Client) -> tuple[int | None, bytes]:
    """The status and the body of the response to the last request."""
    if isinstance(connection, H1Client):
        h1 = connection.response()
        return h1.status, h1.body
    h2 = connection.response(max(connection.streams))
    return h2.status, h2.body


def test_streams_pass_piece_by_piece(
    proxy: Callable[..., Server], connect_h1: Callable[..., H1Client],
    connect_multiplexed: Callable[..., H2Client | H3Client], upstream: Upstream,
) -> None:
    go = threading.Semaphore(0)

    def show(peer: Peer, request: Request) -> None:
        peer.send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        for number in range(3):
            assert go.acquire(timeout=20)
            peer.send(f"9\r\ndata: {number}\n\n\r\n")
        peer.send("0\r\n\r\n")

    upstream.handler = show
    server = proxy(upstream.url)
    client = connect_h1(server.listeners[1])
    client.request()
    assert client.head().header("content-type") == "text/event-stream"
    for number in range(3):
        go.release()
        assert client.chunk() == f"data: {number}\n\n".encode()
    assert client.chunk() == b""
    for where in (server.listener, server.quic):
        multiplexed = connect_multiplexed(where)
        stream = multiplexed.streams[multiplexed.request()]
        for number in range(3):
            go.release()
            multiplexed.wait(has_length(stream, 9 * (number + 1)))
        assert multiplexed.response(stream.id).body == b"".join(f"data: {number}\n\n".encode() for number in range(3))


def test_a_body_passes_as_it_arrives(
    proxy: Callable[..., Server], connect_h1: Callable[..., H1Client], upstream: Upstream
) -> None:
    arrived: list[bytes] = []

    def show(peer: Peer, request: Request) -> None:
        assert request.header("transfer-encoding") == "chunked"
        while size := int(peer.until(b"\r\n"), 16):
            arrived.append(peer.exactly(size))
            peer.exactly(2)
        peer.exactly(2)
        peer.answer(b"".join(arrived))

    upstream.handler = show
    client = connect_h1(proxy(upstream.url).listeners[1])
    client.request("POST", headers="transfer-encoding: chunked\r\nexpect: 100-continue\r\n")
    assert client.head().status == 100
    for number in range(1, 4):
        client.send(b"3\r\nabc\r\n")
        wait_until(has_arrived(arrived, 3 * number), "the piece to arrive")
    client.send(b"0\r\n\r\n")
    assert client.response().body == b"abcabcabc"


def has_length(stream: Stream, length: int) -> Callable[[], bool]:
    """Whether so many bytes of a body have come."""
    return lambda: stream.length >= length


def has_arrived(pieces: list[bytes], length: int) -> Callable[[], bool]:
    """Whether so many bytes have come."""
    return lambda: sum(map(len, pieces)) == length


@pytest.mark.parametrize("client_protocol", ["h1", "h2", "h3"])
def test_a_slow_client_holds_a_bounded_amount(
    proxy: Callable[..., Server], connect_h1: Callable[..., H1Client],
    connect_multiplexed: Callable[..., H2Client | H3Client], upstream: Upstream, client_protocol: str,
) -> None:
    sent = [0]
    size = 64 << 20

    def show(peer: Peer, request: Request) -> None:
        peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 << 10)
        peer.send(f"HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n")
        piece = bytes(64 << 10)
        for _ in range(size // len(piece)):
            peer.send(piece)
            sent[0] += len(piece)

    upstream.handler = show
    server = proxy(upstream.url)
    before = server.memory()[0]
    if client_protocol == "h1":
        h1 = connect_h1(server.listeners[1], receive_buffer=16 << 10)
        h1.request()
        h1.head()
    else:
        multiplexed = connect_multiplexed(server.listener_speaking(client_protocol), window=64 << 10)
        stream = multiplexed.request()
        multiplexed.held.add(stream)
        multiplexed.head(stream)
    wait_until_still(lambda: sent[0])
    assert sent[0] < 8 << 20, "what the sockets and the windows hold"
    assert server.memory()[1] - before < 8 << 20
    if client_protocol == "h1":
        assert len(h1.exactly(size)) == size
    else:
        multiplexed.counted.add(stream)
        multiplexed.release(stream)
        multiplexed.response(stream, 60)
        assert multiplexed.streams[stream].length == size


def wait_until_still(value: Callable[[], int]) -> None:
    """Waits until a value has not changed for a while."""
    last, since = value(), time.monotonic()

    def is_still() -> bool:
        nonlocal last, since
        if value() != last:
            last, since = value(), time.monotonic()
        return time.monotonic() - since > 0.5

    wait_until(is_still, "nothing more to be sent")


@pytest.mark.parametrize("client_protocol", ["h1", "h2", "h3"])
def test_a_slow_upstream_holds_a_bounded_amount_of_an_upload(
    proxy: Callable[..., Server], connect_h1: Callable[..., H1Client],
    connect_multiplexed: Callable[..., H2Client | H3Client], upstream: Upstream, client_protocol: str,
) -> None:
    go = threading.Event()
    size = 32 << 20

    def show(peer: Peer, request: Request) -> None:
        assert go.wait(30)
        peer.read_body(request)
        peer.answer(str(len(request.body)))

    upstream.handler = show
    server = proxy(upstream.url)
    before = server.memory()[0]
    sent = [0]
    piece = bytes(64 << 10)
    answers: list[bytes] = []

    def upload_over_h1() -> None:
        client = connect_h1(server.listeners[1], deadline=60)
        client.send(f"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {size}\r\n\r\n")
        for _ in range(size // len(piece)):
            client.send(piece)
            sent[0] += len(piece)
        answers.append(client.response().body)

    def upload_over_streams() -> None:
        client = connect_multiplexed(server.listener_speaking(client_protocol), deadline=60)
        stream = client.request("POST", headers=[("content-length", str(size))], end=False)
        for _ in range(size // len(piece)):
            client.send(stream, piece)
            sent[0] += len(piece)
        client.send(stream, b"", end=True)
        answers.append(client.response(stream).body)

    thread = threading.Thread(target=upload_over_h1 if client_protocol == "h1" else upload_over_streams)
    thread.start()
    wait_until_still(lambda: sent[0])
    assert sent[0] < 12 << 20
    assert server.memory()[1] - before < 8 << 20
    go.set()
    thread.join(60)
    assert answers == [str(size).encode()]


def test_many_requests_at_a_time_share_a_bounded_number_of_connections(
    proxy: Callable[..., Server], connect_h2: Callable[..., H2Client], upstream: Upstream
) -> None:
    gate = threading.Event()

    def show(peer: Peer, request: Request) -> None:
        assert gate.wait(20)
        peer.answer(request.target)

    upstream.handler = show
    client = connect_h2(proxy(upstream.url, upstream_connections=8).listener)
    streams = [client.request("GET", f"/{number}") for number in range(60)]
    wait_until(lambda: len(upstream.requests) == 8, "as many requests as there are connections")
    gate.set()
    for number, stream in enumerate(streams):
        assert client.response(stream).body == f"/{number}".encode()
    assert upstream.connections == 8


def test_requests_that_wait_too_long_for_a_connection_are_refused(
    proxy: Callable[..., Server], connect_h2: Callable[..., H2Client], upstream: Upstream
) -> None:
    gate = threading.Event()

    def show(peer: Peer, request: Request) -> None:
        assert gate.wait(20)
        peer.answer()

    upstream.handler = show
    client = connect_h2(proxy(upstream.url, upstream_connections=1, connect_timeout=0.2).listener)
    first, second = client.request(), client.request()
    refused = client.response(second)
    assert (refused.status, refused.header(b"retry-after")) == (503, b"1")
    gate.set()
    assert client.response(first).status == 200


def test_the_limit_of_a_body(proxy: Callable[..., Server], upstream: Upstream) -> None:
    server = proxy(upstream.url, max_body_size=1000)
    assert status_of(server, method="POST", content=bytes(1000)) == 200
    assert status_of(server, method="POST", content=bytes(1001)) == 413
    assert status_of(server, method="POST", content=iter([bytes(600)] * 3)) == 413
    assert len([request for request in upstream.requests if request.header("content-length") == "1001"]) == 0


@pytest.mark.parametrize("inner_protocol", ["http/1.1", "h2"])
def test_both_directions_flow_at_the_same_time(
    proxy: Callable[..., Server], serve: Serve, connect_h2: Callable[..., H2Client], inner_protocol: str
) -> None:
    inner = serve("plain.py:app")
    client = connect_h2(proxy(inner.listener.url, upstream_protocol=inner_protocol).listener)
    stream = client.request("POST", "/echo", end=False)
    for number in range(1, 6):
        client.send(stream, b"x" * 1000)
        client.wait(has_length(client.streams[stream], number * 1000))
    client.send(stream, b"", end=True)
    assert client.response(stream).length == 5000


def test_responses_of_upstreams_are_compressed(
    proxy: Callable[..., Server], client_of: Callable[[Server], Client], upstream: Upstream
) -> None:
    text = b"the same words over and over, " * 50_000

    def show(peer: Peer, request: Request) -> None:
        peer.answer(text, headers="content-type: text/plain\r\n")

    upstream.handler = show
    client = client_of(proxy(upstream.url, compress=["gzip"]))
    answer = client.ask("/", headers=(("accept-encoding", "gzip"),))
    assert answer.header("content-encoding") == "gzip" and len(answer.body) < len(text) // 10
    assert gzip.decompress(answer.body) == text
    assert client.ask("/").body == text
