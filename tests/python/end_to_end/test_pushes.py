"""``http.response.push``: requests that the app promises, over HTTP/2 to clients that take them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h2.errors
import h2.settings
import pytest

from end_to_end.h1_client import H1Client
from end_to_end.h2_client import H2Client
from end_to_end.server import Server, find_tool, wait_until


@pytest.fixture
def server(serve: Callable[..., Server]) -> Server:
    shape = {"accesslog": "-", "access_log_format": "%(s)s %(m)s %(U)s %(stream_id)s"}
    return serve("pushes.py:app", tls=True, insecure_bind="127.0.0.1:0", **shape)


def the_promised(client: Any, stream: Any) -> Any:
    """Waits for a whole response. Returns the streams that were promised with it."""
    response = client.response(stream)
    assert response.status == 200
    return [client.streams[pushed] for pushed in response.promised]


def shown(client: Any) -> Any:
    return json.loads(client.get("/show").body)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("listener", [0, 1], ids=["h2", "h2c"])
def test_a_promise_is_kept(server: Server, connect_h2: Callable[..., H2Client], when: str, listener: int) -> None:
    client = connect_h2(server.listeners[listener], push=True)
    (pushed,) = the_promised(client, client.request("GET", f"/page?when={when}"))
    authority = client.where.authority.encode()
    assert pushed.promise == [
        (b":method", b"GET"), (b":scheme", client.scheme), (b":authority", authority), (b":path", b"/style.css?v=1"),
        (b"accept", b"text/css"), (b"x-push", b"1"),
    ]
    assert client.response(pushed.id).status == 200
    assert pushed.header(b"content-type") == b"application/json"
    scope = json.loads(pushed.body)
    assert (scope["method"], scope["path"], scope["query"], scope["version"]) == ("GET", "/style.css", "v=1", "2")
    assert scope["headers"] == [["host", authority.decode()], ["accept", "text/css"], ["x-push", "1"]]
    assert scope["client"] == list(client.socket.getsockname())
    assert ("tls" in scope["extensions"]) == (listener == 0)
    assert "http.response.push" not in scope["extensions"], "a pushed stream promises nothing"
    assert "http.response.push" in shown(client)["extensions"]
    line = f"200 GET /style.css {pushed.id}\n"
    wait_until(lambda: line in server.output, "its line in the access log")


def test_another_client_takes_a_push(serve: Callable[..., Server]) -> None:
    tool = find_tool("nghttp", "nghttp2-client")
    if tool is None:
        pytest.skip("nghttp is not installed")
    server = serve("pushes.py:app")
    said = subprocess.run(
        [tool, "-v", f"{server.listener.url}/page"], capture_output=True, text=True, timeout=20, check=True
    ).stdout
    assert "recv PUSH_PROMISE" in said and "First push response header" in said
    assert '"path": "/style.css"' in said and "RST_STREAM" not in said


def test_a_promise_comes_too_late_once_the_body_has_begun(server: Server, connect_h2: Callable[..., H2Client]) -> None:
    client = connect_h2(server.listener, push=True)
    assert the_promised(client, client.request("GET", "/page?when=late")) == []
    assert shown(client)["counts"].get("style") is None


def test_clients_that_decline_hear_of_none(
    server: Server, connect_h2: Callable[..., Any], connect_h1: Callable[..., Any]
) -> None:
    client = connect_h2(server.listener)
    assert the_promised(client, client.request("GET", "/page")) == []
    assert shown(client) == {"counts": {}, "extensions": shown(client)["extensions"]}
    assert "http.response.push" not in shown(client)["extensions"]
    # One that changes its mind.
    client = connect_h2(server.listener, push=True)
    assert len(the_promised(client, client.request("GET", "/page"))) == 1
    client.protocol.update_settings({h2.settings.SettingCodes.ENABLE_PUSH: 0})
    client.flush()
    client.ping()
    assert the_promised(client, client.request("GET", "/page")) == []
    assert client.get("/show").status == 200


def test_over_http_1_it_raises_in_words(server: Server, connect_h1: Callable[..., H1Client]) -> None:
    client = connect_h1(server.listener)
    assert client.get("/page").status == 500
    server.wait_for_log("UnexpectedMessageError: http.response.push is only for HTTP/2")
    extensions = json.loads(connect_h1(server.listener).get("/show").body)["extensions"]
    assert "http.response.push" not in extensions


def test_what_cannot_be_promised_is_said_in_words(server: Server, connect_h2: Callable[..., H2Client]) -> None:
    client = connect_h2(server.listener, push=True)
    raised = json.loads(client.get("/nonsense").body)
    kinds = [text.partition(":")[0] for text in raised]
    assert kinds == ["KeyError", "TypeError", *["ValueError"] * 12, "TypeError"], raised
    assert "must begin with a slash" in raised[2] and "is not a token" in raised[7]
    assert "is not allowed in a promised request" in raised[8] and "longer than 16384 bytes" in raised[12]
    assert all(stream.promise is None for stream in client.streams.values())
    assert client.get("/afterwards").status == 200
    said = wait_until(lambda: shown(client)["counts"].get("afterwards"), "the app to push after its response")
    assert said == "UnexpectedMessageError: Unexpected message type, http.response.push given the state CLOSED"


def test_an_app_that_floods_is_held_to_a_few(server: Server, connect_h2: Callable[..., H2Client]) -> None:
    client = connect_h2(server.listener, push=True)
    pushed = the_promised(client, client.request("GET", "/push?path=/style.css&count=1000"))
    assert len(pushed) == 16
    for stream in pushed:
        assert client.response(stream.id).status == 200
    # Together with others of the connection.
    streams = [client.request("GET", "/push?path=/waiting&count=16") for _ in range(5)]
    waiting = [stream for request in streams for stream in the_promised(client, request)]
    assert len(waiting) == 32
    client.get("/go")
    assert {client.response(stream.id).body for stream in waiting} == {b"waited"}


def test_a_pushed_request_pushes_nothing(server: Server, connect_h2: Callable[..., H2Client]) -> None:
    client = connect_h2(server.listener, push=True)
    (pushed,) = the_promised(client, client.request("GET", "/chain"))
    assert client.response(pushed.id).body == b"link"
    assert pushed.promised == []
    assert shown(client)["counts"]["chain"] == 2


def test_pushed_responses_keep_to_the_clients_windows(server: Server, connect_h2: Callable[..., H2Client]) -> None:
    client = connect_h2(server.listener, push=True, window=5000)
    stream = client.request("GET", "/push?path=/large")
    client.wait(lambda: client.streams[stream].promised, "the promise")
    pushed = client.streams[stream].promised[0]
    client.held.add(pushed)
    client.wait(lambda: client.streams[pushed].length == 5000, "what fits the window")
    client.ping()
    assert client.streams[pushed].length == 5000
    client.release(pushed)
    assert client.response(pushed).length == 2_000_000


def test_a_client_may_reset_what_it_was_promised(server: Server, connect_h2: Callable[..., H2Client]) -> None:
    client = connect_h2(server.listener, push=True)
    (pushed,) = the_promised(client, client.request("GET", "/push?path=/waiting"))
    client.reset(pushed.id)
    for _ in range(50):
        # At every point between the promise and the response.
        stream = client.request("GET", "/page")
        client.wait(lambda: client.streams[stream].promised, "the promise")  # noqa: B023
        promised = client.streams[stream].promised[0]
        if not client.streams[promised].is_over:
            client.reset(promised)
        client.response(stream)
    assert client.goaway is None
    assert client.get("/show").status == 200


def test_a_pushed_request_that_fails_is_reset(server: Server, connect_h2: Callable[..., H2Client]) -> None:
    client = connect_h2(server.listener, push=True)
    (pushed,) = the_promised(client, client.request("GET", "/push?path=/failing"))
    assert client.response(pushed.id).reset == h2.errors.ErrorCodes.INTERNAL_ERROR
    server.wait_for_log("LookupError: in a pushed request")
    assert client.get("/show").status == 200


def test_any_worker_makes_a_pushed_request_and_its_death_costs_no_more(
    serve: Callable[..., Server], connect_h2: Callable[..., H2Client]
) -> None:
    server = serve("pushes.py:app", tls=True, workers=2)
    client = connect_h2(server.listener, push=True)
    pids: set[int] = set()

    def both() -> bool:
        streams = [client.request("GET", "/push?path=/style.css&count=8") for _ in range(4)]
        for stream in streams:
            pids.update(json.loads(client.response(pushed.id).body)["pid"] for pushed in the_promised(client, stream))
        return pids == set(server.worker_pids())

    wait_until(both, "both workers to make pushed requests")
    waiting = the_promised(client, client.request("GET", "/push?path=/waiting&count=16"))
    assert len(waiting) == 16
    wait_until(lambda: sum(shown(client)["counts"].get("waiting", 0) > 0 for _ in range(8)), "they to wait")
    os.kill(server.worker_pids()[0], signal.SIGKILL)
    # Once the worker that is left answers it lets go of its own; the others are lost with their worker.
    server.wait_for_log(r"Worker \d+ is ready")
    client.wait(lambda: any(stream.is_over for stream in waiting), "the lost ones")
    lost = [stream for stream in waiting if stream.reset is not None]
    assert lost and all(stream.status is None for stream in lost)
    assert client.goaway is None and client.get("/show").status == 200
    for stream in waiting:
        if not stream.is_over:
            client.reset(stream.id)


def test_nothing_is_promised_in_a_drain(
    serve: Callable[..., Server], connect_h2: Callable[..., H2Client], tmp_path: Path
) -> None:
    server = serve("pushes.py:app", tls=True)
    client = connect_h2(server.listener, push=True)
    stream = client.request("GET", f"/at_gate?file={tmp_path}/gate")
    client.wait(lambda: shown(client)["counts"].get("at_gate"), "the request to wait")
    server.signal(signal.SIGTERM)
    client.wait_for_goaway()
    (tmp_path / "gate").touch()
    assert the_promised(client, stream) == []
    assert server.wait_for_exit() == 0
