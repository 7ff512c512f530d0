"""Apps that fail: they are told why, the client gets what it is owed, and nothing else is touched."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from end_to_end.h1_client import Closed, H1Client
from end_to_end.server import Server


@pytest.fixture
def ask(plain: Server, connect_h1: Callable[..., H1Client]) -> Callable[..., Any]:
    """A second connection, for notes and gates."""
    client = connect_h1(plain.listeners[1])
    return lambda target: client.get(target).body


def where(plain: Server, protocol: str) -> Any:
    return plain.listener_for(protocol)


@pytest.fixture
def outcome(
    plain: Server, protocol: str, connect_h1: Callable[..., Any], connect_multiplexed: Callable[..., Any]
) -> Callable[[str], int | None]:
    """Sends a request that will fail. Returns its status, or None if it was cut off after its head."""
    is_h1 = protocol.startswith("h1")
    client = (connect_h1 if is_h1 else connect_multiplexed)(where(plain, protocol))

    def ask_h1(target: str) -> Any:
        client.request("GET", target)
        try:
            response = client.response()
        except Closed:
            return None
        if response.status == 500 and response.header("connection") != "close":
            assert client.get().body == b"hello", "a complete answer need not end the connection"
        return response.status

    def ask_multiplexed(target: str) -> Any:
        beside = client.request("GET", "/nap?seconds=0.05")
        response = client.response(client.request("GET", target))
        assert client.response(beside).status == 200, "a request under way beside it is not touched"
        assert client.get().body == b"hello", "the next request works"
        if response.reset is not None and response.reset != client.errors.NO_ERROR:
            assert response.reset == client.errors.INTERNAL_ERROR
            return None
        assert response.ended
        return response.status

    return ask_h1 if is_h1 else ask_multiplexed


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/fail?after=nothing", 500),
        ("/fail?after=body", None),
        ("/fail?after=length", None),
        ("/fail?after=all", 200),
        ("/leave?after=nothing", 500),
        ("/leave?after=body", None),
    ],
)
def test_failure_of_an_app_becomes_500_or_the_end_of_its_stream(
    outcome: Callable[[str], int | None], target: str, status: int | None
) -> None:
    assert outcome(target) == status


@pytest.mark.parametrize("target", ["/fail?after=start", "/leave?after=start"])
def test_failure_just_after_the_head_is_never_taken_for_success(
    outcome: Callable[[str], int | None], target: str
) -> None:
    assert outcome(target) in (500, None)


@pytest.mark.parametrize("protocol", ["h1", "h1-tls", "h2", "h2c"], indirect=True)
def test_client_gets_what_was_sent_before_a_failure(
    plain: Server, protocol: str, connect_h1: Callable[..., Any], connect_multiplexed: Callable[..., Any]
) -> None:
    """Over QUIC a reset discards what was not delivered before (RFC 9000 section 3.1)."""
    for _ in range(20):
        if not protocol.startswith("h1"):
            client = connect_multiplexed(where(plain, protocol))
            response = client.get("/fail?after=body")
            assert (response.status, response.body) == (200, b"first")
            assert response.reset == client.errors.INTERNAL_ERROR
        else:
            client = connect_h1(where(plain, protocol))
            client.request("GET", "/fail?after=body")
            assert client.head().status == 200
            assert client.chunk() == b"first"
            with pytest.raises(Closed):
                client.chunk()


def test_client_sees_a_failure_after_it_has_the_head(
    plain: Server,
    protocol: str,
    connect_h1: Callable[..., Any],
    connect_multiplexed: Callable[..., Any],
    ask: Callable[..., Any],
    key: str,
) -> None:
    target = f"/fail?after=body&key={key}"
    if not protocol.startswith("h1"):
        client = connect_multiplexed(where(plain, protocol))
        stream = client.request("GET", target)
        client.wait(lambda: client.streams[stream].length == 5, "the first piece")
        ask(f"/go?key={key}")
        assert client.response(stream).reset == client.errors.INTERNAL_ERROR
    else:
        client = connect_h1(where(plain, protocol))
        client.request("GET", target)
        client.head()
        assert client.chunk() == b"first"
        ask(f"/go?key={key}")
        with pytest.raises(Closed):
            client.chunk()


def test_failure_is_logged_with_its_traceback(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client]
) -> None:
    server = serve("plain.py:app")
    assert connect_h1(server.listener).get("/fail?after=nothing").status == 500
    server.wait_for_log(r"^\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4}\] \[\d+\] \[ERROR\] Error in ASGI Framework$")
    server.wait_for_log(r"^Traceback \(most recent call last\):$")
    server.wait_for_log(r"Teapot: short and stout$")


def test_app_that_returns_early_is_logged(serve: Callable[..., Server], connect_h1: Callable[..., H1Client]) -> None:
    server = serve("plain.py:app")
    assert connect_h1(server.listener).get("/leave?after=nothing").status == 500
    server.wait_for_log(r"\[ERROR\] .*returned without")


@pytest.mark.parametrize(
    ("kind", "error", "words", "status"),
    [
        ("status-string", "TypeError", "'status' must be an int, not str", 500),
        ("status-small", "ValueError", "99", 500),
        ("status-large", "ValueError", "1000", 500),
        ("status-missing", "KeyError", "status", 500),
        ("header-str", "TypeError", "bytes, not str", 500),
        ("header-crlf", "ValueError", "x-a", 500),
        ("header-nul", "ValueError", "x-a", 500),
        ("header-name", "ValueError", "not a token", 500),
        ("header-name-crlf", "ValueError", "not a token", 500),
        ("header-pseudo", "ValueError", "not a token", 500),
        ("header-short", "ValueError", "a name and a value", 500),
        ("headers-large", "ValueError", "larger than 1048576 bytes", 500),
        ("body-first", "UnexpectedMessageError", "http.response.body", 500),
        ("body-str", "TypeError", "'body' must be bytes, not str", 500),
        ("twice", "UnexpectedMessageError", "http.response.start", 500),
        ("unknown", "UnexpectedMessageError", "http.response.nonsense", 500),
        ("no-type", "KeyError", "type", 500),
        ("no-dict", "TypeError", "must be a dict, not int", 500),
        ("long", "", "content-length", 500),
        ("long-later", "", "content-length", 500),
        ("short", "", "content-length", 500),
        ("after-end", "UnexpectedMessageError", "http.response.body", 200),
    ],
)
def test_nonsense_raises_in_the_app_in_words(
    plain: Server,
    outcome: Callable[[str], int | None],
    ask: Callable[..., Any],
    key: str,
    kind: str,
    error: str,
    words: str,
    status: int,
) -> None:
    workers = plain.worker_pids()
    got = outcome(f"/nonsense?kind={kind}&key={key}")
    assert got in ((200,) if status == 200 else (500, None))
    raised = json.loads(ask(f"/note?key={key}"))
    assert raised is not None, "the app was told nothing"
    assert raised[0] == error or not error
    assert words in raised[1]
    assert plain.worker_pids() == workers


def test_app_may_catch_what_its_nonsense_raised(outcome: Callable[[str], int | None]) -> None:
    assert outcome("/recovers") == 200


@pytest.mark.parametrize("after", ["nothing", "body"])
def test_app_that_exits_does_not_end_its_worker(
    plain: Server, outcome: Callable[[str], int | None], ask: Callable[..., Any], after: str
) -> None:
    workers = plain.worker_pids()
    assert outcome(f"/fail?after={after}&exit=1") == {"nothing": 500, "body": None}[after]
    assert ask("/") == b"hello"
    assert plain.worker_pids() == workers
