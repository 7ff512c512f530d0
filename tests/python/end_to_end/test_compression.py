"""Compression: which responses it changes, what it changes in them, and that it neither holds back nor piles up."""

from __future__ import annotations

import gzip
import random
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlencode

import brotli
import httpx
import pytest
import zstandard

from end_to_end.apps.compressed import text
from end_to_end.h1_client import Closed, H1Client
from end_to_end.h2_client import H2Client, Stream
from end_to_end.h3_client import H3Client
from end_to_end.key_rows import shows
from end_to_end.routed import routes_file
from end_to_end.server import APPS, Server, wait_until
from end_to_end.ws_client import open_over_h1, open_over_h2

APP = str(APPS / "compressed.py:app")
CODINGS = ["zstd", "br", "gzip"]
MIB = 1 << 20

#: Fields that differ from one response to the next.
OF_THE_MOMENT = {"date", "server"}


class Answer(NamedTuple):
    """A response over any protocol, its body as it came."""

    status: int
    fields: list[tuple[str, str]]
    body: bytes

    def field(self, name: str) -> str | None:
        """The one value of a field, if it has one."""
        values = [value for key, value in self.fields if key == name]
        assert len(values) < 2, (name, values)
        return values[0] if values else None

    @property
    def coding(self) -> str | None:
        """Its ``content-encoding``."""
        return self.field("content-encoding")

    @property
    def decoded(self) -> bytes:
        """The body as the app has sent it."""
        return decoded(self.coding, self.body)


class Ask(Protocol):
    """A client."""

    def __call__(self, target: str, accept: str | None = "zstd, br, gzip", method: str = "GET", **fields: str) -> Answer:
        """Makes a request with ``accept-encoding`` and these fields."""


class Decoder(Protocol):
    """What decodes a body as it comes."""

    def __call__(self, data: bytes, /) -> bytes:
        """Decodes all that can be decoded so far."""


def decoder(coding: str | None) -> Decoder:
    if coding == "zstd":
        decompress: Decoder = zstandard.ZstdDecompressor().decompressobj().decompress
        return decompress
    if coding == "br":
        process: Decoder = brotli.Decompressor().process
        return process
    if coding == "gzip":
        return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress
    assert coding is None, coding
    return lambda data: data


def decoded(coding: str | None, body: bytes) -> bytes:
    """Decodes a whole body, and fails if its end is missing."""
    if coding == "zstd":
        decompressor = zstandard.ZstdDecompressor().decompressobj()
        whole: bytes = decompressor.decompress(body)
        assert decompressor.eof and not decompressor.unused_data
        return whole
    if coding == "br":
        return bytes(brotli.decompress(body))
    return gzip.decompress(body) if coding == "gzip" else body


def target(path: str = "/", **query: Any) -> str:
    return f"{path}?{urlencode(query, doseq=True)}"


def over_h1(client: H1Client) -> Ask:
    def ask(target: str, accept: str | None = "zstd, br, gzip", method: str = "GET", **fields: str) -> Answer:
        named = {**({} if accept is None else {"accept-encoding": accept}), **fields}
        lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in named.items())
        client.request(method, target, lines)
        answer = client.response(to_head=method == "HEAD")
        return Answer(answer.status, [(name.lower(), value) for name, value in answer.headers], answer.body)

    return ask


def over_streams(client: H2Client | H3Client) -> Ask:
    def ask(target: str, accept: str | None = "zstd, br, gzip", method: str = "GET", **fields: str) -> Answer:
        named = {**({} if accept is None else {"accept-encoding": accept}), **fields}
        stream = client.request(method, target, [(name.replace("_", "-"), value) for name, value in named.items()])
        answer = client.response(stream)
        assert answer.status is not None and answer.reset is None
        return Answer(answer.status, [(name.decode(), value.decode()) for name, value in answer.headers], answer.body)

    return ask


@pytest.fixture(scope="module")
def compressing(share: Callable[..., Server]) -> Server:
    return share("compressed.py:app", tls=True, hcrs={"compress": True}, keep_alive_timeout=30)


@pytest.fixture(params=["h1", "h2c", "h3"])
def ask(
    request: pytest.FixtureRequest,
    compressing: Server,
    connect_h1: Callable[..., H1Client],
    connect_multiplexed: Callable[..., H2Client | H3Client],
) -> Ask:
    """A client of the app, over one connection."""
    where = compressing.listener_for(request.param)
    return over_h1(connect_h1(where)) if request.param == "h1" else over_streams(connect_multiplexed(where))


# ---- the settings ----


@shows("compressed.py:app", compress=True)
def test_responses_are_compressed_on_request(server: Server, connect_h1: Callable[..., H1Client]) -> None:
    ask = over_h1(connect_h1(server.listener))
    assert ask("/").coding == "zstd"
    assert ask(target(size=1000)).coding is None


@shows("compressed.py:app", compress=["br", "gzip"], compress_types=["image/x"], compress_min_size=200, compress_secrets=True)
def test_the_settings_of_compression(server: Server, connect_h1: Callable[..., H1Client]) -> None:
    ask = over_h1(connect_h1(server.listener))
    assert ask(target(size=200, type="image/x")).coding == "br"
    assert ask(target(size=200, type="image/x"), "zstd").coding is None
    assert ask(target(size=199, type="image/x")).coding is None
    assert ask("/").coding is None
    assert ask(target(type="image/x"), authorization="Basic eA==").coding == "br"
    assert ask(target(type="image/x", field="set-cookie:a=b")).coding == "br"


def test_nothing_is_compressed_unless_it_is_asked_for(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client]
) -> None:
    answer = over_h1(connect_h1(serve("compressed.py:app").listener))("/")
    assert (answer.coding, answer.field("vary"), answer.body) == (None, None, text(5000))


def test_the_flag_compresses(serve: Callable[..., Server], connect_h1: Callable[..., H1Client]) -> None:
    server = serve("compressed.py:app", flags=["--compress"])
    assert over_h1(connect_h1(server.listener))("/").coding == "zstd"


def test_a_route_has_rules_of_its_own(
    serve: Callable[..., Server], tmp_path: Path, connect_h1: Callable[..., H1Client]
) -> None:
    routes: list[dict[str, Any]] = [
        {"path": "/plain", "app": True, "compress": False},
        {"path": "/small", "app": True, "compress_min_size": 10},
        {"path": "/fixed", "status": 404, "text": "not here " * 500},
        {"path": "/redirect", "redirect": "/"},
    ]
    file = routes_file(tmp_path, routes, application_path=APP, hcrs={"compress": ["gzip"]})
    ask = over_h1(connect_h1(serve(None, config_file=file).listener))
    assert ask("/plain").coding is None and ask("/").coding == "gzip"
    assert ask(target("/small", size=100)).coding == "gzip"
    assert (ask("/fixed").coding, ask("/fixed").decoded) == ("gzip", b"not here " * 500)
    assert ask("/redirect").coding is None


# ---- which coding ----


def test_weights_decide_and_nonsense_means_none(ask: Ask) -> None:
    for accept, expected in [
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip, deflate, br", "br"),
        ("gzip;q=1, br;q=0.5", "gzip"),
        ("*", "zstd"),
        ("*;q=0.1, zstd;q=0", "br"),
        ("identity", None),
        ("identity;q=0, gzip", "gzip"),
        ("deflate", None),
        ("gzip;q=0", None),
        ("gzip;q=7", None),
        ("gzip;q=nan, br;q=0.001", "br"),
        ("", None),
        (None, None),
    ]:
        answer = ask("/", accept)
        assert (answer.coding, answer.decoded) == (expected, text(5000)), accept
        assert answer.field("vary") == "accept-encoding", accept


def test_any_accept_encoding_has_an_answer(ask: Ask) -> None:
    chosen = random.Random(5)
    parts = ["gzip", "br", "zstd", "*", "identity", ";", ";q=", "q=0", "0.5", ",", " ", "=", "\t", '"', "-1", "9" * 30]
    for _ in range(150):
        accept = "".join(chosen.choices(parts, k=chosen.randrange(12))).strip()
        answer = ask("/", accept)
        assert answer.coding in (None, *CODINGS) and answer.decoded == text(5000), accept
    many = ",".join(["gzip;q=0.5", "x;q=2"] * 200)
    assert ask("/", many).coding == "gzip"


def test_a_client_that_refuses_bodies_as_they_are_gets_them_compressed(ask: Ask) -> None:
    answer = ask(target(size=50, type="image/png"), "gzip, identity;q=0")
    assert answer.decoded == text(50)


# ---- what it changes ----


@pytest.mark.parametrize("coding", CODINGS)
def test_the_fields_of_a_compressed_response(ask: Ask, coding: str) -> None:
    fields = [
        'etag:"a"', "vary:cookie", "accept-ranges:bytes", "x-own:1", "cache-control:max-age=60", "Last-Modified:x",
    ]
    whole = ask(target(field=fields), coding)
    assert (whole.coding, whole.decoded) == (coding, text(5000)) and len(whole.body) < 1500
    assert whole.field("content-length") == str(len(whole.body))
    assert (whole.field("etag"), whole.field("vary")) == ('W/"a"', "cookie, accept-encoding")
    assert whole.field("accept-ranges") is None and whole.field("x-own") == "1"
    assert ask(target(field='etag:W/"a"'), coding).field("etag") == 'W/"a"'
    streamed = ask(target(field=fields, size=300_000, piece=10_000), coding)
    assert (streamed.coding, streamed.decoded) == (coding, text(300_000))
    assert streamed.field("content-length") is None and streamed.field("etag") == 'W/"a"'
    plain = ask(target(field=fields), None)
    assert (plain.coding, plain.body, plain.field("etag")) == (None, text(5000), '"a"')
    assert (plain.field("vary"), plain.field("content-length")) == ("cookie, accept-encoding", "5000")
    assert plain.field("accept-ranges") == "bytes"


@pytest.mark.parametrize("coding", CODINGS)
def test_head_has_the_fields_of_get(ask: Ask, coding: str) -> None:
    of = target(field=['etag:"a"', "accept-ranges:bytes"], size=300_000, piece=10_000)
    head, get = ask(of, coding, "HEAD"), ask(of, coding)
    relevant = [
        sorted((name, value) for name, value in answer.fields if name not in {*OF_THE_MOMENT, "transfer-encoding"})
        for answer in (head, get)
    ]
    assert head.body == b"" and relevant[0] == relevant[1]
    # Of a short body the compressed length is known only once it was compressed.
    assert ask("/", coding, "HEAD").field("content-length") is None
    small = ask(target(size=10), coding, "HEAD")
    assert (small.coding, small.field("content-length")) == (None, "10")


def test_responses_that_are_left_as_they_are(ask: Ask) -> None:
    for own in ("gzip", "identity"):
        answer = ask(target(field=f"content-encoding:{own}"))
        assert (answer.coding, answer.field("vary"), answer.body) == (own, None, text(5000))
    for of in [
        target(field="cache-control:public, no-transform"),
        target(field="repr-digest:sha-256=:x:"),
        target(type="image/png"),
        target(type="application/octet-stream"),
    ]:
        answer = ask(of)
        assert (answer.coding, answer.field("vary"), answer.body) == (None, None, text(5000)), of
    short = ask(target(size=1023))
    assert (short.coding, short.field("vary"), short.body) == (None, None, text(1023))
    part = ask(target(status=206, field="content-range:bytes 0-4999/6000"))
    assert (part.coding, part.field("vary"), part.body) == (None, "accept-encoding", text(5000))
    for status in (204, 304):
        answer = ask(target(status=status, length="no", size=0))
        assert (answer.status, answer.coding, answer.body) == (status, None, b"")
    assert ask(target(status=500)).coding == "zstd"


def test_responses_with_secrets_are_left_as_they_are(ask: Ask) -> None:
    for answer in [
        ask(target(field="set-cookie:session=1")),
        ask("/", authorization="Bearer x"),
        ask("/", cache_control="no-transform"),
    ]:
        assert (answer.coding, answer.field("vary"), answer.body) == (None, "accept-encoding", text(5000))
    assert ask("/", cookie="session=1").coding == "zstd"


def test_bytes_that_gain_nothing_are_sent_as_they_are(
    serve: Callable[..., Server], tmp_path: Path, connect_h1: Callable[..., H1Client]
) -> None:
    noise = random.Random(1).randbytes(20_000)
    (tmp_path / "noise.txt").write_bytes(noise)
    file = routes_file(tmp_path, [{"path": "/f", "files": str(tmp_path)}], hcrs={"compress": True})
    ask = over_h1(connect_h1(serve(None, config_file=file).listener))
    answer = ask("/f/noise.txt")
    assert answer.decoded == noise and answer.field("vary") == "accept-encoding"


def test_a_not_modified_response_has_the_tag_of_the_compressed_one(ask: Ask) -> None:
    of = target(status=304, field='etag:"a"', length="no", size=0)
    assert (ask(of).field("etag"), ask(of).field("vary")) == ('W/"a"', "accept-encoding")
    assert (ask(of, None).field("etag"), ask(of, None).field("vary")) == ('"a"', None)


# ---- files ----


@pytest.fixture(params=["h1", "h2", "h3"])
def ask_files(
    request: pytest.FixtureRequest,
    serve: Callable[..., Server],
    tmp_path: Path,
    connect_h1: Callable[..., H1Client],
    connect_multiplexed: Callable[..., H2Client | H3Client],
) -> Ask:
    """A client of a folder with a short and a long file and an empty one."""
    folder = tmp_path / "site"
    folder.mkdir()
    for name, content in {"a.json": text(5000), "long.json": text(MIB), "a.png": text(5000), "empty.txt": b""}.items():
        (folder / name).write_bytes(content)
    file = routes_file(tmp_path, [{"path": "/f", "files": str(folder)}], hcrs={"compress": True})
    where = serve(None, config_file=file).listener_speaking(request.param)
    return over_h1(connect_h1(where)) if request.param == "h1" else over_streams(connect_multiplexed(where))


@pytest.mark.parametrize("coding", CODINGS)
def test_files_are_compressed_and_conditions_hold(ask_files: Ask, coding: str) -> None:
    for name, size in [("a.json", 5000), ("long.json", MIB)]:
        answer = ask_files(f"/f/{name}", coding)
        assert (answer.coding, answer.decoded) == (coding, text(size))
        plain = ask_files(f"/f/{name}", None)
        tag = plain.field("etag")
        assert (answer.field("etag"), answer.field("vary"), plain.field("vary")) == (
            f"W/{tag}", "accept-encoding", "accept-encoding",
        )
        assert answer.field("accept-ranges") is None and plain.field("accept-ranges") == "bytes"
        for condition in (f"W/{tag}", str(tag), "*"):
            held = ask_files(f"/f/{name}", coding, if_none_match=condition)
            assert (held.status, held.field("etag"), held.field("vary")) == (304, f"W/{tag}", "accept-encoding")
        assert ask_files(f"/f/{name}", coding, if_none_match='"b"').status == 200
        assert ask_files(f"/f/{name}", coding, if_match=f"W/{tag}").status == 412
        head = ask_files(f"/f/{name}", coding, "HEAD")
        assert (head.coding, head.field("content-length"), head.body) == (coding, None, b"")
    part = ask_files("/f/a.json", coding, range="bytes=10-19")
    assert (part.status, part.coding, part.body) == (206, None, text(5000)[10:20])
    assert ask_files("/f/a.png", coding).coding is None and ask_files("/f/empty.txt", coding).body == b""


# ---- bodies ----


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("piece", [1, 100, 65_536, 1_000_000])
def test_bodies_in_pieces_come_back_as_they_were(ask: Ask, coding: str, piece: int) -> None:
    size = 3000 if piece == 1 else 800_000
    answer = ask(target(size=size, piece=piece, length="no"), coding)
    assert (answer.coding, answer.decoded) == (coding, text(size))


def test_wsgi_responses_are_compressed(serve: Callable[..., Server], connect_h1: Callable[..., H1Client]) -> None:
    ask = over_h1(connect_h1(serve("wsgi:compressed.py:wsgi", hcrs={"compress": True}).listener))
    for coding in CODINGS:
        for piece in (100, 65_536, 300_000):
            answer = ask(target(size=300_000, piece=piece), coding)
            assert (answer.coding, answer.decoded) == (coding, text(300_000))
        assert ask("/", coding).decoded == text(5000)


def test_a_client_of_http_1_0_gets_it_to_the_end_of_the_connection(compressing: Server) -> None:
    for of, has_length in [("/", True), (target(size=300_000, piece=10_000), False)]:
        with H1Client(compressing.listeners[1]) as client:
            client.send(f"GET {of} HTTP/1.0\r\naccept-encoding: gzip\r\n\r\n")
            answer = client.head()
            assert answer.header("content-encoding") == "gzip" and answer.header("transfer-encoding") is None
            assert (answer.header("content-length") is not None) == has_length
            assert gzip.decompress(client.until_closed()) == text(5000 if has_length else 300_000)


@pytest.mark.parametrize("http2", [False, True])
def test_a_common_client_decodes_it(compressing: Server, http2: bool) -> None:
    with httpx.Client(http2=http2, http1=not http2, base_url=compressing.listeners[1].url, trust_env=False) as client:
        for coding in CODINGS:
            answer = client.get(target(size=100_000, piece=7000), headers={"accept-encoding": coding})
            assert (answer.headers["content-encoding"], answer.content) == (coding, text(100_000))


def test_trailers_and_early_hints_are_kept(
    compressing: Server,
    connect_h1: Callable[..., H1Client],
    connect_multiplexed: Callable[..., H2Client | H3Client],
) -> None:
    h1, fields = connect_h1(compressing.listeners[1]), "te: trailers\r\naccept-encoding: gzip\r\n"
    for query in [{}, {"piece": 100}]:
        answer = h1.get(target("/trailers", length="no", **query), fields)
        assert answer.trailers == [("x-sum", "1")] and gzip.decompress(answer.body) == text(5000)
    h1.request("GET", "/hinted", fields)
    assert h1.head().status == 103
    assert gzip.decompress(h1.response().body) == text(5000)
    for where in (compressing.listeners[1], compressing.quic):
        client = connect_multiplexed(where)
        stream = client.get("/trailers", [("te", "trailers"), ("accept-encoding", "gzip")])
        assert stream.trailers == [(b"x-sum", b"1")] and gzip.decompress(stream.body) == text(5000)
        hinted = client.get("/hinted", [("accept-encoding", "gzip")])
        assert len(hinted.informational) == 1 and gzip.decompress(hinted.body) == text(5000)


def test_websockets_are_left_alone(
    compressing: Server,
    connect_h1: Callable[..., H1Client],
    connect_multiplexed: Callable[..., H2Client | H3Client],
) -> None:
    accept = [("accept-encoding", "zstd, br, gzip")]
    for websocket in (
        open_over_h1(connect_h1(compressing.listeners[1]), "/", accept),
        open_over_h2(connect_multiplexed(compressing.listeners[1]), "/", accept),
        open_over_h2(connect_multiplexed(compressing.quic), "/", accept),
    ):
        websocket.send("go")
        assert websocket.receive() == text(5000).decode()


@pytest.mark.parametrize("coding", CODINGS)
def test_a_body_that_breaks_its_length_is_cut_off(
    compressing: Server,
    connect_h1: Callable[..., H1Client],
    connect_multiplexed: Callable[..., H2Client | H3Client],
    coding: str,
) -> None:
    for length in (4_000, 6_000):
        for piece in (0, 1500):
            of = target(length=length, piece=piece)
            client = connect_h1(compressing.listeners[1])
            client.request("GET", of, f"accept-encoding: {coding}\r\n")
            try:
                answer = client.response()
            except Closed:
                pass
            else:
                assert answer.status == 500
            for where in (compressing.listeners[1], compressing.quic):
                stream = connect_multiplexed(where).get(of, [("accept-encoding", coding)])
                assert stream.reset is not None or stream.status == 500
    client = connect_h1(compressing.listeners[1])
    client.request("GET", target("/fails", piece=1000, length="no"), f"accept-encoding: {coding}\r\n")
    with pytest.raises(Closed):
        client.response()


@pytest.mark.parametrize("protocol", ["h1", "h2", "h3"])
def test_responses_of_upstreams_are_compressed(
    serve: Callable[..., Server],
    share: Callable[..., Server],
    compressing: Server,
    tmp_path: Path,
    connect_h1: Callable[..., H1Client],
    connect_multiplexed: Callable[..., H2Client | H3Client],
    protocol: str,
) -> None:
    behind = share("compressed.py:app")
    routes: list[dict[str, Any]] = [
        {"path": "/done", "upstream": compressing.listeners[1].url, "strip_path": True},
        {"upstream": behind.listener.url},
    ]
    server = serve(None, config_file=routes_file(tmp_path, routes, hcrs={"compress": True}))
    h1, streams = connect_h1(server.listener), connect_multiplexed(server.listener_speaking(protocol))
    ask = over_h1(h1) if protocol == "h1" else over_streams(streams)
    for coding in CODINGS:
        for of, size in [("/", 5000), (target(size=300_000, piece=10_000), 300_000)]:
            answer = ask(of, coding)
            assert (answer.coding, answer.decoded) == (coding, text(size))
    done = ask("/done", "gzip")
    assert (done.coding, done.decoded, done.field("vary")) == ("gzip", text(5000), "accept-encoding")
    assert ask(target(field="set-cookie:a=b")).coding is None
    path = target("/events", key=protocol, count=2, type="text/event-stream", length="no")
    stream = streams.streams[streams.request("GET", path, [("accept-encoding", "zstd")])]
    streams.wait(partial(has_come, stream, "zstd", b"data: 0\n\n"), "the first event")
    streams.get(target("/go", key=protocol))
    streams.wait(partial(has_come, stream, "zstd", b"data: 0\n\ndata: 1\n\n"), "the second event")
    streams.get(target("/go", key=protocol))
    assert decoded("zstd", streams.response(stream.id).body) == b"data: 0\n\ndata: 1\n\n"
    websocket = open_over_h1(connect_h1(server.listener), "/")
    websocket.send("go")
    assert websocket.receive() == text(5000).decode()


# ---- streams ----


@pytest.mark.parametrize("coding", CODINGS)
def test_events_arrive_one_by_one_over_h1(compressing: Server, connect_h1: Callable[..., H1Client], coding: str) -> None:
    client, other, key = connect_h1(compressing.listeners[1]), connect_h1(compressing.listeners[1]), f"h1-{coding}"
    client.request("GET", target("/events", key=key, count=4, type="text/event-stream", length="no"), f"accept-encoding: {coding}\r\n")
    assert client.head().header("content-encoding") == coding
    decode = decoder(coding)
    for number in range(4):
        assert decode(client.chunk()) == f"data: {number}\n\n".encode()
        other.get(target("/go", key=key))
    decode(client.chunk())
    assert client.chunk() == b""


@pytest.mark.parametrize("version", ["h2c", "h3"])
@pytest.mark.parametrize("coding", CODINGS)
def test_events_arrive_one_by_one_over_streams(
    compressing: Server, connect_multiplexed: Callable[..., H2Client | H3Client], coding: str, version: str
) -> None:
    client, key = connect_multiplexed(compressing.listener_for(version)), f"{version}-{coding}"
    path = target("/events", key=key, count=4, type="text/event-stream", length="no")
    stream = client.streams[client.request("GET", path, [("accept-encoding", coding)])]
    for number in range(4):
        expected = b"".join(f"data: {at}\n\n".encode() for at in range(number + 1))
        client.wait(partial(has_come, stream, coding, expected), f"event {number}")
        client.get(target("/go", key=key))
    assert decoded(coding, client.response(stream.id).body) == expected


def has_come(stream: Stream, coding: str, expected: bytes) -> bool:
    """Whether what is to be expected can be decoded from what has come of a body."""
    return decoder(coding)(stream.body) == expected


def stands_still(ask: Ask, of: str, progress: list[int]) -> bool:
    """Notes how much the app has sent, and whether it has sent no more since the last time."""
    progress.append(int(ask(of).body))
    return progress[-1] == progress[-2] > 0


@pytest.mark.parametrize("coding", CODINGS)
def test_a_client_that_does_not_read_holds_the_app_back(
    compressing: Server,
    connect_h1: Callable[..., H1Client],
    connect_multiplexed: Callable[..., H2Client | H3Client],
    coding: str,
) -> None:
    """The app has sent no more than what windows and buffers take, and the rest once the client reads."""
    for version in ("h1", "h2c", "h3"):
        key = f"slow-{coding}-{version}"
        of = target("/noise", key=key, size=200 * MIB, length="no")
        before = compressing.memory(compressing.pid)[0]
        if version == "h1":
            h1 = connect_h1(compressing.listeners[1], receive_buffer=16 << 10)
            h1.request("GET", of, f"accept-encoding: {coding}\r\n")
            assert h1.head().header("content-encoding") == coding
        else:
            client = connect_multiplexed(compressing.listener_for(version), window=16 << 10)
            stream = client.request("GET", of, [("accept-encoding", coding)])
            client.held.add(stream)
            assert client.head(stream).header(b"content-encoding") == coding.encode()
        other = over_h1(connect_h1(compressing.listeners[1]))
        progress = [0]
        wait_until(partial(stands_still, other, target("/progress", key=key), progress), "the app to be held back")
        assert progress[-1] < 8 * MIB and compressing.memory(compressing.pid)[1] - before < 16 * MIB, progress


def test_many_responses_at_a_time_are_served_on_one_connection(
    compressing: Server, connect_h2: Callable[..., H2Client]
) -> None:
    """Short ones are all compressed; of long ones those that have no encoder are sent as they are."""
    client = connect_h2(compressing.listeners[1])
    codings = [CODINGS[number % 3] for number in range(90)]
    short = [client.request("GET", "/", [("accept-encoding", coding)]) for coding in codings]
    for stream, coding in zip(short, codings, strict=True):
        answer = client.response(stream)
        assert answer.header(b"content-encoding") == coding.encode() and decoded(coding, answer.body) == text(5000)
    key, count = "many", 30
    path = target("/events", key=key, count=1, length="no")
    streams = [client.request("GET", path, [("accept-encoding", "gzip")]) for _ in range(count)]
    found = [client.head(stream).header(b"content-encoding") for stream in streams]
    assert 0 < found.count(None) < count and set(found) == {None, b"gzip"}
    for _ in streams:
        client.get(target("/go", key=key))
    for stream, coding_found in zip(streams, found, strict=True):
        body = client.response(stream).body
        assert decoded(None if coding_found is None else coding_found.decode(), body) == b"data: 0\n\n"
    # Those that have ended have returned theirs.
    last = client.request("GET", path, [("accept-encoding", "gzip")])
    assert client.head(last).header(b"content-encoding") == b"gzip"
    client.reset(last)
    client.ping()


def test_the_access_log_counts_the_bytes_that_left(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client]
) -> None:
    server = serve("compressed.py:app", accesslog="-", access_log_format="sent=%(bytes_sent)s", hcrs={"compress": True})
    ask = over_h1(connect_h1(server.listener))
    for of in ("/", target(size=300_000, piece=10_000)):
        line = f"sent={len(ask(of).body)}\n"
        wait_until(partial(is_logged, server, line), line)


def is_logged(server: Server, line: str) -> bool:
    return line in server.output
