"""Bodies of compressed responses: they come back whole and as the app sends them, and a slow client holds the app back."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from end_to_end.apps.compressed import text
from end_to_end.coded import CODINGS, MIB, Ask, decoded, decoder, has_come, over_h1, over_streams, target
from end_to_end.h1_client import Closed, H1Client
from end_to_end.h2_client import H2Client
from end_to_end.h3_client import H3Client
from end_to_end.routed import routes_file
from end_to_end.server import Server, wait_until
from end_to_end.ws_client import open_over_h1, open_over_h2

# ---- bodies ----


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("version", ["h1", "h2c", "h3"])
def test_bodies_in_pieces_come_back_as_they_were(
    compressing: Server,
    connect_h1: Callable[..., H1Client],
    connect_multiplexed: Callable[..., H2Client | H3Client],
    coding: str,
    version: str,
) -> None:
    where = compressing.listener_for(version)
    ask = over_h1(connect_h1(where)) if version == "h1" else over_streams(connect_multiplexed(where))
    for piece in (1, 100, 65_536, 1_000_000):
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
