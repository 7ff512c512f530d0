"""Routes to upstreams: other HTTP servers answer, through the edge, over every protocol."""

from __future__ import annotations

import base64
import gzip
import hashlib
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from end_to_end.certificates import Pki
from end_to_end.h1_client import Closed, H1Client
from end_to_end.h2_client import H2Client, Stream
from end_to_end.key_rows import shows
from end_to_end.server import APPS, START_DEADLINE, Server, to_toml, wait_until
from end_to_end.upstream import Peer, Request, Upstream
from end_to_end.ws_client import WsClient, ask_over_h1, ask_over_h2, open_over_h1, open_over_h2

Serve = Callable[..., Server]


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """An upstream, whose handler the test sets."""
    with Upstream() as started:
        yield started


@pytest.fixture
def proxy(serve: Serve, tmp_path: Path, certificate: dict[str, str]) -> Callable[..., Server]:
    """Starts an edge thread that passes all requests on to these servers, with keys of the route. The first listener has
    TLS and the second has not."""

    def start(*urls: str, keys: dict[str, Any] | None = None, **route: Any) -> Server:
        file = tmp_path / "proxy.toml"
        write(file, *urls, keys={**certificate, "insecure_bind": "127.0.0.1:0", **(keys or {})}, **route)
        return serve(None, config_file=file, **certificate, insecure_bind="127.0.0.1:0")

    return start


def write(file: Path, *urls: str, keys: dict[str, Any], **route: Any) -> None:
    """Writes a configuration with one route."""
    table = "[[hcrs.routes]]\n" + to_toml({"upstream": list(urls), **route})
    file.write_text(to_toml({"bind": "127.0.0.1:0", "loglevel": "info", "hcrs": {"io_threads": 1}, **keys}) + table)


@pytest.fixture
def client_of(
    protocol: str, connect_h1: Callable[..., H1Client], connect_h2: Callable[..., H2Client]
) -> Callable[[Server], Client]:
    """Clients over every protocol."""

    def of(server: Server) -> Client:
        where = server.listener_for(protocol)
        return Client(connect_h1(where) if protocol.startswith("h1") else connect_h2(where))

    return of


class Client:
    """A client over any protocol."""

    def __init__(self, connection: H1Client | H2Client) -> None:
        self.connection = connection

    def ask(
        self, path: str = "/", method: str = "GET", headers: tuple[tuple[str, str], ...] = (), body: bytes | None = None
    ) -> Answer:
        """A whole exchange."""
        if isinstance(self.connection, H1Client):
            fields = "".join(f"{name}: {value}\r\n" for name, value in headers)
            self.connection.request(method, path, fields, body or b"")
            hints = []
            while (h1 := self.connection.response(to_head=method == "HEAD")).status < 200:
                hints.append([(name.lower(), value) for name, value in h1.headers])
            pairs = [(name.lower(), value) for name, value in h1.headers]
            return Answer(h1.status, pairs, h1.body, h1.trailers, hints)
        h2 = self.connection.response(self.connection.request(method, path, headers, body))
        assert h2.status is not None and h2.reset is None, h2
        text = [(name.decode(), value.decode()) for name, value in h2.headers if not name.startswith(b":")]
        trailers = [(name.decode(), value.decode()) for name, value in h2.trailers or []]
        hints = [[(name.decode(), value.decode()) for name, value in hint] for hint in h2.informational]
        return Answer(h2.status, text, h2.body, trailers, hints)


class Answer:
    """A response over any protocol."""

    def __init__(
        self,
        status: int,
        headers: list[tuple[str, str]],
        body: bytes,
        trailers: list[tuple[str, str]],
        hints: list[list[tuple[str, str]]],
    ) -> None:
        self.status, self.headers, self.body, self.trailers, self.hints = status, headers, body, trailers, hints

    def header(self, name: str) -> str | None:
        """The one value of a field, if it has one."""
        values = [value for key, value in self.headers if key == name]
        assert len(values) < 2, (name, values)
        return values[0] if values else None


def status_of(server: Server, path: str = "/", **request: Any) -> int:
    """The status of a request over a connection of its own."""
    return httpx.request(request.pop("method", "GET"), server.listeners[1].url + path, timeout=30, **request).status_code


# ---- requests and responses ----


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


def send_with_trailers(connection: H1Client | H2Client, trailers: list[tuple[str, str]], path: str = "/") -> None:
    """Sends a request whose body has trailers."""
    if isinstance(connection, H1Client):
        lines = "".join(f"{name}: {value}\r\n" for name, value in trailers)
        connection.request("POST", path, "transfer-encoding: chunked\r\n")
        connection.send(f"5\r\nhello\r\n0\r\n{lines}\r\n")
    else:
        stream = connection.request("POST", path, (("content-length", "5"), ("trailer", "x-sum")), b"hello", end=False)
        connection.protocol.send_headers(stream, trailers, end_stream=True)
        connection.flush()


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


def last_answer(connection: H1Client | H2Client) -> tuple[int | None, bytes]:
    """The status and the body of the response to the last request."""
    if isinstance(connection, H1Client):
        h1 = connection.response()
        return h1.status, h1.body
    h2 = connection.response(max(connection.streams))
    return h2.status, h2.body


def test_streams_pass_piece_by_piece(
    proxy: Callable[..., Server], connect_h1: Callable[..., H1Client], connect_h2: Callable[..., H2Client],
    upstream: Upstream,
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
    over_h2 = connect_h2(server.listener)
    stream = over_h2.streams[over_h2.request()]
    for number in range(3):
        go.release()
        over_h2.wait(has_length(stream, 9 * (number + 1)))
    assert over_h2.response(stream.id).body == b"".join(f"data: {number}\n\n".encode() for number in range(3))


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


@pytest.mark.parametrize("client_protocol", ["h1", "h2"])
def test_a_slow_client_holds_a_bounded_amount(
    proxy: Callable[..., Server], connect_h1: Callable[..., H1Client], connect_h2: Callable[..., H2Client],
    upstream: Upstream, client_protocol: str,
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
        h2 = connect_h2(server.listener, window=64 << 10)
        stream = h2.request()
        h2.held.add(stream)
        h2.head(stream)
    wait_until_still(lambda: sent[0])
    assert sent[0] < 8 << 20, "what the sockets and the windows hold"
    assert server.memory()[1] - before < 8 << 20
    if client_protocol == "h1":
        assert len(h1.exactly(size)) == size
    else:
        h2.counted.add(stream)
        h2.release(stream)
        h2.response(stream, 60)
        assert h2.streams[stream].length == size


def wait_until_still(value: Callable[[], int]) -> None:
    """Waits until a value has not changed for a while."""
    last, since = value(), time.monotonic()

    def is_still() -> bool:
        nonlocal last, since
        if value() != last:
            last, since = value(), time.monotonic()
        return time.monotonic() - since > 0.5

    wait_until(is_still, "nothing more to be sent")


@pytest.mark.parametrize("client_protocol", ["h1", "h2"])
def test_a_slow_upstream_holds_a_bounded_amount_of_an_upload(
    proxy: Callable[..., Server], connect_h1: Callable[..., H1Client], connect_h2: Callable[..., H2Client],
    upstream: Upstream, client_protocol: str,
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

    def upload_over_h2() -> None:
        client = connect_h2(server.listener, deadline=60)
        stream = client.request("POST", headers=[("content-length", str(size))], end=False)
        for _ in range(size // len(piece)):
            client.send(stream, piece)
            sent[0] += len(piece)
        client.send(stream, b"", end=True)
        answers.append(client.response(stream).body)

    thread = threading.Thread(target=upload_over_h1 if client_protocol == "h1" else upload_over_h2)
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


# ---- where requests go ----


def test_paths_below_that_of_the_url(
    proxy: Callable[..., Server], connect_h1: Callable[..., H1Client], upstream: Upstream
) -> None:
    client = connect_h1(proxy(f"{upstream.url}/base", path="/api", strip_path=True).listeners[1])
    for path, target in [
        ("/api/x%20y?q=1", "/base/x%20y?q=1"), ("/api", "/base"), ("/api/../api/./z", "/base/z"), ("/%61pi/a", "/base/a"),
    ]:
        assert client.get(path).status == 200
        assert upstream.requests[-1].target == target
        assert upstream.requests[-1].header("x-forwarded-prefix") == "/api"


def test_the_host_that_upstreams_see(serve: Serve, tmp_path: Path, upstream: Upstream) -> None:
    routes = [
        {"path": "/client", "upstream": upstream.url},
        {"path": "/upstream", "upstream": upstream.url, "upstream_host": "upstream"},
        {"path": "/named", "upstream": upstream.url, "upstream_host": "inner.test:81"},
    ]
    file = tmp_path / "hosts.toml"
    tables = "".join("[[hcrs.routes]]\n" + to_toml(route) for route in routes)
    file.write_text(to_toml({"bind": "127.0.0.1:0"}) + tables)
    server = serve(None, config_file=file)
    for path, host in [("/client", "a.test"), ("/upstream", f"127.0.0.1:{upstream.port}"), ("/named", "inner.test:81")]:
        assert httpx.get(server.listener.url + path, headers={"host": "a.test"}).status_code == 200
        assert upstream.requests[-1].header("host") == host
        assert upstream.requests[-1].header("x-forwarded-host") == "a.test"


@pytest.mark.parametrize("is_trusted", [True, False])
def test_what_is_said_about_the_client(proxy: Callable[..., Server], upstream: Upstream, is_trusted: bool) -> None:
    trusted = ["127.0.0.1"] if is_trusted else ["192.0.2.9"]
    keys = {"hcrs": {"io_threads": 1, "proxy_mode": "legacy", "forwarded_allow_ips": trusted}}
    server = proxy(upstream.url, keys=keys)
    theirs = {"x-forwarded-for": "192.0.2.1", "x-forwarded-proto": "https", "x-forwarded-host": "outer.test"}
    httpx.get(server.listeners[1].url, headers={"host": "a.test", "forwarded": "for=192.0.2.1", **theirs})
    request = upstream.requests[-1]
    if is_trusted:
        assert request.header("x-forwarded-for") == "192.0.2.1, 127.0.0.1"
        assert request.header("x-forwarded-proto") == "https"
        assert request.header("x-forwarded-host") == request.header("host") == "outer.test"
        assert request.header("forwarded") == 'for=192.0.2.1, for=127.0.0.1;host="outer.test";proto=https'
    else:
        assert request.header("x-forwarded-for") == "127.0.0.1"
        assert request.header("x-forwarded-proto") == "http"
        assert request.header("x-forwarded-host") == request.header("host") == "a.test"
        assert request.header("forwarded") == 'for=127.0.0.1;host="a.test";proto=http'


def test_a_unix_socket(proxy: Callable[..., Server], tmp_path: Path) -> None:
    with Upstream(path=str(tmp_path / "up.sock")) as upstream:
        server = proxy(upstream.url)
        assert [status_of(server) for _ in range(3)] == [200] * 3
        assert upstream.connections == 1


def test_requests_are_spread(proxy: Callable[..., Server], connect_h1: Callable[..., H1Client]) -> None:
    with Upstream() as first, Upstream() as second:
        client = connect_h1(proxy(first.url, second.url).listeners[1])
        for _ in range(10):
            assert client.get().status == 200
        assert (len(first.requests), len(second.requests)) == (5, 5)


@pytest.mark.parametrize("by", ["path", "x-user"])
def test_the_same_upstream_for_the_same_value(
    proxy: Callable[..., Server], connect_h1: Callable[..., H1Client], by: str
) -> None:
    ups = [Upstream() for _ in range(3)]
    try:
        client = connect_h1(proxy(*(up.url for up in ups), hash_by=by).listeners[1])
        for _ in range(3):
            for number in range(12):
                value = f"/{number}"
                assert client.get(value if by == "path" else "/", f"x-user: {value}\r\n").status == 200
        used = [{(r.target if by == "path" else r.header("x-user")) for r in up.requests} for up in ups]
        assert sum(map(len, used)) == 12, "each value has one upstream"
        assert all(used)
    finally:
        for up in ups:
            up.close()


# ---- HTTP/2 and TLS ----


@pytest.mark.parametrize("scheme", ["h2c", "tls"])
def test_http2_with_an_upstream(
    proxy: Callable[..., Server], serve: Serve, client_of: Callable[[Server], Client], certificate: dict[str, str],
    scheme: str,
) -> None:
    inner = serve("plain.py:app", tls=scheme == "tls")
    where = inner.listener
    url = f"https://localhost:{where.port}" if scheme == "tls" else where.url
    keys = {"upstream_ca": certificate["certfile"]} if scheme == "tls" else {"upstream_protocol": "h2"}
    client = client_of(proxy(url, **keys))
    assert b"'http_version': '2'" in client.ask("/scope").body
    body = b"0123456789" * 200_000
    answer = client.ask("/echo", "POST", body=body)
    assert answer.status == 200 and answer.body == body
    assert client.ask("/status?status=404").status == 404


def test_an_upstream_with_another_certificate_is_refused(
    proxy: Callable[..., Server], serve: Serve, pki: Pki, certificate: dict[str, str]
) -> None:
    inner = serve("plain.py:app", tls=True)
    url = f"https://localhost:{inner.listener.port}"
    server = proxy(url, upstream_ca=pki / "ca.pem")
    assert status_of(server) == 502
    server.wait_for_log(rf"Upstream {url} is down: TLS: .*(UnknownIssuer|certificate)")


def test_authorities_are_read_again(
    proxy: Callable[..., Server], serve: Serve, pki: Pki, certificate: dict[str, str], tmp_path: Path
) -> None:
    inner = serve("plain.py:app", tls=True)
    authorities = tmp_path / "authorities.pem"
    authorities.write_bytes(Path(pki / "ca.pem").read_bytes())
    server = proxy(f"https://localhost:{inner.listener.port}", upstream_ca=str(authorities))
    assert status_of(server) == 502
    authorities.write_bytes(Path(certificate["certfile"]).read_bytes())
    server.signal(signal.SIGHUP)
    wait_until(lambda: status_of(server) == 200, "the new authorities to be used")
    authorities.write_text("none")
    server.signal(signal.SIGHUP)
    server.wait_for_log("authorities.pem")
    assert status_of(server) == 200, "the old ones stay"


def test_a_certificate_that_is_not_verified(proxy: Callable[..., Server], serve: Serve) -> None:
    inner = serve("plain.py:app", tls=True)
    server = proxy(f"https://127.0.0.1:{inner.listener.port}", upstream_verify=False)
    assert status_of(server) == 200


def test_http11_over_tls(proxy: Callable[..., Server], certificate: dict[str, str]) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate["certfile"], certificate["keyfile"])
    with Upstream(tls=context) as upstream:
        server = proxy(upstream.url, upstream_ca=certificate["certfile"])
        assert [status_of(server) for _ in range(4)] == [200] * 4
        assert upstream.connections == 1 and upstream.requests[0].version == "HTTP/1.1"


# ---- upstreams that fail ----


def test_the_next_upstream_takes_what_one_cannot(proxy: Callable[..., Server], upstream: Upstream) -> None:
    with Upstream() as other:
        pass
    server = proxy(other.url, upstream.url)
    for method in ["GET", "POST"] * 4:
        assert status_of(server, method=method, content=b"x" if method == "POST" else None) == 200
    assert len(upstream.requests) == 8
    assert len(server.wait_for_log(rf"\[WARNING\] Upstream {other.url} is down: ")) == 1, "it is logged once"


def test_a_kept_connection_that_was_closed_is_replaced(proxy: Callable[..., Server], upstream: Upstream) -> None:
    server = proxy(upstream.url)
    assert status_of(server) == 200
    upstream.drop_connections()
    assert [status_of(server, method="POST", content=b"x") for _ in range(2)] == [200, 200]

    used: set[int] = set()

    def close_late(peer: Peer, request: Request) -> None:
        """Closes a kept connection when the next request has arrived on it."""
        if peer.number in used:
            peer.reset()
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


def test_the_limit_of_a_body(proxy: Callable[..., Server], upstream: Upstream) -> None:
    server = proxy(upstream.url, max_body_size=1000)
    assert status_of(server, method="POST", content=bytes(1000)) == 200
    assert status_of(server, method="POST", content=bytes(1001)) == 413
    assert status_of(server, method="POST", content=iter([bytes(600)] * 3)) == 413
    assert len([request for request in upstream.requests if request.header("content-length") == "1001"]) == 0


# ---- health ----


def test_an_upstream_that_is_up_again_is_used_again(proxy: Callable[..., Server], upstream: Upstream) -> None:
    with Upstream() as other:
        port = other.port
    server = proxy(other.url, upstream.url)
    for _ in range(4):
        assert status_of(server) == 200
    server.wait_for_log(rf"Upstream {other.url} is down: ")
    with Upstream(port=port) as back:
        wait_until(lambda: status_of(server) == 200 and back.requests, "the upstream to be used again")
        server.wait_for_log(rf"\[INFO\] Upstream {other.url} is up again")


def test_checks_take_an_upstream_out_and_in(proxy: Callable[..., Server]) -> None:
    is_well = [True]

    def show(peer: Peer, request: Request) -> None:
        if request.target == "/health" and not is_well[0]:
            peer.answer(status="503 Service Unavailable")
        else:
            peer.answer()

    with Upstream(show) as first, Upstream() as second:
        server = proxy(first.url, second.url, health_path="/health", health_interval=0.1)

        def used() -> int:
            first.requests.clear()
            for _ in range(4):
                assert status_of(server, "/page") == 200
            return len([request for request in first.requests if request.target == "/page"])

        assert used() == 2
        is_well[0] = False
        server.wait_for_log(rf"\[WARNING\] Upstream {first.url} is down: its check is answered with 503")
        assert used() == 0
        is_well[0] = True
        server.wait_for_log(rf"\[INFO\] Upstream {first.url} is up again")
        assert used() == 2


def test_metrics_of_upstreams(proxy: Callable[..., Server], upstream: Upstream, tmp_path: Path) -> None:
    with Upstream() as other:
        pass
    server = proxy(other.url, upstream.url, keys={"hcrs": {"io_threads": 1, "admin_bind": f"unix:{tmp_path}/admin"}})
    for _ in range(6):
        assert status_of(server) == 200
    transport = httpx.HTTPTransport(uds=f"{tmp_path}/admin")
    with httpx.Client(transport=transport, base_url="http://localhost") as admin:
        lines = admin.get("/metrics").text.splitlines()
    samples = [line.rpartition(" ") for line in lines if line.startswith("hcrs_upstream_")]
    values = {name: int(value) for name, _, value in samples}
    assert values[f'hcrs_upstream_requests_total{{upstream="{upstream.url}"}}'] == 6
    assert values[f'hcrs_upstream_connections{{upstream="{upstream.url}"}}'] == 1
    assert values[f'hcrs_upstream_failures_total{{upstream="{upstream.url}"}}'] == 0
    assert values[f'hcrs_upstream_failures_total{{upstream="{other.url}"}}'] >= 1
    assert values[f'hcrs_upstream_connections{{upstream="{other.url}"}}'] == 0


# ---- ends ----


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


def test_pools_live_on_when_their_settings_are_the_same(
    proxy: Callable[..., Server], upstream: Upstream, tmp_path: Path, certificate: dict[str, str]
) -> None:
    server = proxy(upstream.url)
    assert status_of(server) == 200
    keys: dict[str, Any] = {**certificate, "insecure_bind": "127.0.0.1:0"}
    write(tmp_path / "proxy.toml", upstream.url, keys={**keys, "graceful_timeout": 7})
    server.signal(signal.SIGHUP)
    server.wait_for_log("graceful_timeout")
    assert status_of(server) == 200
    assert upstream.connections == 1
    with Upstream() as other:
        write(tmp_path / "proxy.toml", other.url, keys=keys)
        server.signal(signal.SIGHUP)
        wait_until(lambda: status_of(server) == 200 and other.requests, "requests to go to the other upstream")
        wait_until(lambda: upstream.open == 0, "the old upstream's connections to be closed")


# ---- WebSockets ----


@pytest.fixture(params=["h1", "h2"])
def open_websocket(
    request: pytest.FixtureRequest, connect_h1: Callable[..., H1Client], connect_h2: Callable[..., H2Client]
) -> Callable[..., WsClient]:
    """Opens a WebSocket over either protocol."""

    def opened(server: Server, path: str, **options: Any) -> WsClient:
        if request.param == "h1":
            return open_over_h1(connect_h1(server.listeners[1]), path, **options)
        return open_over_h2(connect_h2(server.listener), path, **options)

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
    proxy: Callable[..., Server], serve: Serve, connect_h1: Callable[..., H1Client], connect_h2: Callable[..., H2Client],
    open_websocket: Callable[..., WsClient],
) -> None:
    inner = serve("sockets.py:app")
    server = proxy(inner.listener.url)
    client = open_websocket(server, "/choose?chat", headers=[("sec-websocket-protocol", "other, chat")])
    assert client.closed() == (4000, "chosen")
    refused = ask_over_h1(connect_h1(server.listeners[1]), "/deny", whole=True)
    assert (refused.status, refused.body) == (418, b"no tea")
    h2 = connect_h2(server.listener)
    stream = h2.response(ask_over_h2(h2, "/deny"))
    assert (stream.status, stream.body) == (418, b"no tea")


def test_an_upstream_that_knows_no_websockets(
    proxy: Callable[..., Server], connect_h1: Callable[..., H1Client], connect_h2: Callable[..., H2Client],
    upstream: Upstream,
) -> None:
    server = proxy(upstream.url)
    assert ask_over_h1(connect_h1(server.listeners[1]), "/", whole=True).status == 200
    h2 = connect_h2(server.listener)
    assert h2.response(ask_over_h2(h2, "/")).status == 502, "200 would mean that the WebSocket is open"


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


def test_connections_of_http2_that_the_upstream_ends_are_replaced(
    proxy: Callable[..., Server], serve: Serve, connect_h2: Callable[..., H2Client]
) -> None:
    inner = serve("plain.py:app", keep_alive_max_requests=5)
    server = proxy(inner.listener.url, upstream_protocol="h2")
    client = connect_h2(server.listener)
    for _ in range(5):
        streams = [client.request("POST", "/echo", body=b"x" * 1000) for _ in range(12)]
        assert [client.response(stream).status for stream in streams] == [200] * 12


def test_authorities_that_cannot_be_read_are_a_mistake(launch: Serve, tmp_path: Path) -> None:
    file = tmp_path / "proxy.toml"
    write(file, "https://localhost:1", keys={}, upstream_ca=str(tmp_path / "none.pem"))
    server = launch(None, config_file=file)
    assert server.wait_for_exit() != 0
    assert f"cannot read {tmp_path / 'none.pem'}: No such file or directory" in server.log


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
