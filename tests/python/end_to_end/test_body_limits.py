"""``max_body_size``: a longer body gets 413, whether its length is announced or only shows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from end_to_end.h1_client import H1Client
from end_to_end.h2_client import H2Client
from end_to_end.h3_client import H3Client
from end_to_end.key_rows import shows
from end_to_end.routed import routes_file
from end_to_end.server import Server

LIMIT = 10_000

#: What the app is told by the next two messages.
TOLD = b"[{'type': 'http.disconnect'}, {'type': 'http.disconnect'}]"


@shows("plain.py:app", max_body_size="10K")
def test_bodies_up_to_the_limit_are_served(server: Server, connect_h1: Callable[..., H1Client]) -> None:
    client = connect_h1(server.listener)
    client.request("POST", "/digest", body=b"x" * (10 << 10))
    assert client.response().status == 200
    client.request("POST", "/digest", body=b"x" * ((10 << 10) + 1))
    assert client.response().status == 413


@pytest.fixture
def limited(serve: Callable[..., Server]) -> Server:
    return serve("plain.py:app", hcrs={"max_body_size": LIMIT})


@pytest.mark.parametrize("http2", [False, True])
def test_an_announced_length_is_refused_before_the_app_is_asked(limited: Server, http2: bool) -> None:
    with httpx.Client(http2=http2, http1=not http2, base_url=limited.listener.url, trust_env=False) as client:
        for _ in range(3):
            assert client.post("/die", content=b"x" * (LIMIT + 1)).status_code == 413
        assert client.post("/digest", content=b"x" * LIMIT).status_code == 200
    assert "Error" not in limited.log


def test_who_waits_to_be_asked_for_a_body_is_told_first(limited: Server, connect_h1: Callable[..., H1Client]) -> None:
    client = connect_h1(limited.listener)
    client.request("POST", "/digest", f"content-length: {LIMIT + 1}\r\nexpect: 100-continue\r\n")
    assert client.response().status == 413


def test_a_chunked_body_is_refused_when_it_grows(
    limited: Server, connect_h1: Callable[..., H1Client], key: str
) -> None:
    client = connect_h1(limited.listener)
    client.request("POST", f"/until-disconnect?key={key}", "transfer-encoding: chunked\r\n")
    other = connect_h1(limited.listener)
    assert other.get(f"/note?key={key}-begun").body == b"begun"
    for _ in range(3):
        client.send(b"%x\r\n%s\r\n" % (LIMIT // 2, b"x" * (LIMIT // 2)))
    assert client.response().status == 413
    assert other.get(f"/note?key={key}").body == TOLD, "the app sees its client leave"


@pytest.mark.parametrize("version", ["h2", "h3"])
def test_a_stream_is_refused_when_it_grows_and_its_connection_goes_on(
    limited: Server, connect_multiplexed: Callable[..., H2Client | H3Client], key: str, version: str
) -> None:
    client = connect_multiplexed(limited.listener_speaking(version))
    for number in range(5):
        stream = client.request("POST", f"/until-disconnect?key={key}-{number}", end=False)
        client.send(stream, b"x" * LIMIT)
        assert client.get(f"/note?key={key}-{number}-begun").body == b"begun"
        client.send(stream, b"x", end=True)
        assert client.response(stream).status == 413
        assert client.get(f"/note?key={key}-{number}").body == TOLD
    stream = client.request("POST", "/digest", body=b"x" * LIMIT)
    assert client.response(stream).status == 200 and client.goaway is None


@pytest.mark.parametrize("version", ["h2", "h3"])
def test_a_response_that_has_begun_is_cut_off(
    limited: Server, connect_multiplexed: Callable[..., H2Client | H3Client], version: str
) -> None:
    client = connect_multiplexed(limited.listener_speaking(version))
    stream = client.request("POST", "/echo", end=False)
    client.send(stream, b"x" * LIMIT)
    client.wait(lambda: client.streams[stream].length == LIMIT, "the echo")
    client.send(stream, b"x")
    response = client.response(stream)
    assert (response.status, response.reset) == (200, client.errors.CANCEL)
    assert client.get().status == 200


def test_routes_have_limits_of_their_own(
    serve: Callable[..., Server], tmp_path: Path, connect_h1: Callable[..., H1Client]
) -> None:
    routes = [{"path": "/digest", "app": True, "max_body_size": "1M"}, {"path": "/echo", "app": True, "max_body_size": 0}]
    server = serve(None, config_file=routes_file(tmp_path, routes))
    for target, length, status in [("/digest", 1 << 20, 200), ("/digest", (1 << 20) + 1, 413), ("/echo", 1, 413)]:
        client = connect_h1(server.listener)
        client.request("POST", target, body=b"x" * length)
        assert client.response().status == status, (target, length)
    assert connect_h1(server.listener).get("/echo").status == 200


def test_wsgi_apps_have_it_too(serve: Callable[..., Server], connect_h1: Callable[..., H1Client]) -> None:
    server = serve("wsgi:wsgi.py:app", hcrs={"max_body_size": LIMIT})
    client = connect_h1(server.listener)
    client.request("POST", "/empty", "transfer-encoding: chunked\r\n")
    client.send(b"%x\r\n%s\r\n" % (LIMIT + 1, b"x" * (LIMIT + 1)))
    assert client.response().status == 413
    assert connect_h1(server.listener).get("/environ").status == 200
