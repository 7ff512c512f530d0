"""ASGI's HTTP extensions, over every protocol."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from end_to_end.apps.extensions import LINKS
from end_to_end.server import Server

TRAILERS = [("te", "trailers")]


@dataclass
class Answer:
    """A response, whatever its protocol."""

    status: int
    headers: dict[str, str]
    body: bytes
    trailers: list[tuple[str, str]] = field(default_factory=list)
    #: The fields of each interim response.
    interim: list[list[tuple[str, str]]] = field(default_factory=list)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, certificate: dict[str, str]) -> Iterator[Server]:
    """The app behind a listener with TLS and one without."""
    folder = tmp_path_factory.mktemp("extensions")
    server = Server(folder, "extensions.py:app", tls=certificate, insecure_bind="127.0.0.1:0")
    try:
        yield server.wait_until_running()
        assert server.stop() == 0, server.log
        server.wait_for_workers_end()
    finally:
        server.destroy()


@pytest.fixture
def fetch(server: Server, protocol: str, connect_h1: Any, connect_h2: Any) -> Callable[..., Answer]:
    """Sends a request over the protocol of the test."""
    where = server.listeners[1 if protocol in ("h1", "h2c") else 0]

    def over_h1(path: str, headers: list[tuple[str, str]] | None = None, method: str = "GET") -> Answer:
        client = connect_h1(where)
        client.request(method, path, "".join(f"{name}: {value}\r\n" for name, value in headers or []))
        interim = []
        while (response := client.response(to_head=method == "HEAD")).status < 200:
            assert response.status == 103
            interim.append(response.headers)
        if response.header("connection") != "close":
            client.request("GET", "/hints?count=0")
            assert client.response().body == b"hinted", "the connection lives on"
        fields = {name.lower(): value for name, value in response.headers}
        return Answer(response.status, fields, response.body, response.trailers, interim)

    def over_h2(path: str, headers: list[tuple[str, str]] | None = None, method: str = "GET") -> Answer:
        client = connect_h2(where)
        stream = client.response(client.request(method, path, headers or []))
        assert stream.reset is None
        fields = lambda items: [(name.decode(), value.decode()) for name, value in items]  # noqa: E731
        interim = [fields(head) for head in stream.informational]
        assert all(head.pop(0) == (":status", "103") for head in interim)
        return Answer(
            stream.status, dict(fields(stream.headers)), stream.body, fields(stream.trailers or []), interim
        )

    return over_h1 if protocol.startswith("h1") else over_h2


def lower(fields: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(name.lower(), value) for name, value in fields]


# ---- what is offered ----


def test_a_scope_names_the_extensions_and_each_request_has_its_own(fetch, protocol):
    for _ in range(2):
        extensions = ast.literal_eval(fetch("/show").body.decode())
        assert {"http.response.trailers", "http.response.early_hint"} <= set(extensions)
        assert "http.response.debug" not in extensions


def test_http_1_0_is_offered_none_that_it_has_no_means_for(server, connect_h1):
    client = connect_h1(server.listeners[1])
    client.send("GET /show HTTP/1.0\r\n\r\n")
    extensions = ast.literal_eval(client.response().body.decode())
    assert not {"http.response.trailers", "http.response.early_hint"} & set(extensions)


def test_debug_information_is_taken_and_goes_nowhere(fetch):
    assert fetch("/debug").body == b"shown"


# ---- trailers ----


@pytest.mark.parametrize("query", ["", "?pieces=3&size=100000", "?pieces=1&size=400000"])
def test_trailers_follow_the_body(fetch, query):
    answer = fetch("/trailers" + query, TRAILERS)
    assert answer.status == 200
    assert set(answer.body) == {ord("x")}
    assert lower(answer.trailers) == [("x-first", "1"), ("x-second", "2"), ("x-second", "3")]


def test_trailers_follow_a_response_without_body(fetch):
    answer = fetch("/trailers_alone", TRAILERS)
    assert answer.body == b"" and answer.trailers == [("x-only", "1")]


def test_trailers_are_for_clients_that_take_them(fetch):
    answer = fetch("/trailers")
    assert answer.body == b"xxxxx" and answer.trailers == []


def test_trailers_beside_a_length_have_a_place_in_http_2_only(fetch, protocol):
    answer = fetch("/trailers?length=5", TRAILERS)
    assert answer.body == b"xxxxx" and answer.headers["content-length"] == "5"
    assert bool(answer.trailers) == protocol.startswith("h2")


def test_no_trailers_and_no_body_answer_head(fetch):
    answer = fetch("/trailers", TRAILERS, method="HEAD")
    assert (answer.status, answer.body, answer.trailers) == (200, b"", [])


def test_a_last_message_without_trailers_ends_the_response(fetch):
    answer = fetch("/trailers_empty", TRAILERS)
    assert answer.body == b"body" and answer.trailers == []


def test_trailers_that_were_announced_and_not_sent_leave_the_response_unfinished(
    server, protocol, connect_h1, connect_h2
):
    where = server.listeners[1 if protocol in ("h1", "h2c") else 0]
    if protocol.startswith("h1"):
        client = connect_h1(where)
        client.request("GET", "/trailers_forgotten", "te: trailers\r\n")
        client.head()
        assert client.chunk() == b"body"
        client.assert_closed()
    else:
        client = connect_h2(where)
        stream = client.response(client.request("GET", "/trailers_forgotten", TRAILERS))
        assert stream.reset is not None and not stream.ended


def test_http_1_0_gets_the_body_without_trailers(server, connect_h1):
    client = connect_h1(server.listeners[1])
    client.send("GET /trailers HTTP/1.0\r\nte: trailers\r\n\r\n")
    assert client.response().body == b"xxxxx"


# ---- early hints ----


def test_early_hints_come_before_the_response(fetch):
    answer = fetch("/hints?count=2")
    assert answer.interim == [[("link", link.decode())] for link in LINKS]
    assert (answer.status, answer.body) == (200, b"hinted")


def test_http_1_0_gets_no_hints(server, connect_h1):
    client = connect_h1(server.listeners[1])
    client.send("GET /hints?count=2 HTTP/1.0\r\n\r\n")
    response = client.response()
    assert (response.status, response.body) == (200, b"hinted")


def test_a_flood_of_hints_is_cut_short(fetch):
    answer = fetch("/flood_of_hints")
    assert len(answer.interim) == 16
    assert (answer.status, answer.body) == (200, b"hinted")
