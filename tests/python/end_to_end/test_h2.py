"""HTTP/2 on the wire: streams beside each other, windows, resets, GOAWAY."""

from __future__ import annotations

import contextlib
import hashlib
import json
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h2.errors
import h2.settings
import pytest

from end_to_end.h2_client import H2Client, Lost
from end_to_end.server import Server


@pytest.fixture(params=["cleartext", "tls"])
def client(request: pytest.FixtureRequest, plain: Server, connect_h2: Callable[..., H2Client]) -> H2Client:
    return connect_h2(plain.listeners[1 if request.param == "cleartext" else 0])


def test_many_streams_are_answered_beside_each_other(client: H2Client, key: str) -> None:
    waiting = client.request("GET", f"/gate?key={key}")
    streams = [client.request() for _ in range(90)]
    for stream in streams:
        response = client.response(stream)
        assert (response.status, response.body) == (200, b"hello")
    assert not client.streams[waiting].is_over
    client.get(f"/go?key={key}")
    assert client.response(waiting).body == b"through"


def test_response_names_date_and_server_once_and_no_connection(client: H2Client) -> None:
    response = client.get("/app-headers")
    assert response.header(b"server") == b"mine"
    assert response.header(b"date") == b"today"
    assert [value for name, value in response.headers if name == b"set-cookie"] == [b"a=1", b"b=2"]
    assert response.header(b"x-mixed") == b"1", "names are in lower case"
    response = client.get()
    assert (response.header(b"server") or b"").startswith(b"hcrs")
    assert (response.header(b"date") or b"").endswith(b" GMT")
    assert response.header(b"connection") is None


def test_body_in_both_directions(client: H2Client) -> None:
    body = bytes(range(256)) * 4096
    stream = client.request("POST", "/echo", body=body)
    assert client.response(stream).body == body


def test_head_gets_the_head_of_the_answer_alone(client: H2Client) -> None:
    response = client.response(client.request("HEAD"))
    assert (response.status, response.header(b"content-length"), response.length) == (200, b"5", 0)


@pytest.mark.parametrize("status", [204, 304])
def test_status_without_content_has_no_body_even_if_the_app_sends_one(client: H2Client, status: int) -> None:
    response = client.get(f"/status?status={status}&body=nonsense")
    assert (response.status, response.length, response.ended) == (status, 0, True)


def test_trailers_of_a_request_end_its_body(client: H2Client) -> None:
    stream = client.request("POST", "/digest", end=False)
    client.send(stream, b"abc")
    client.protocol.send_headers(stream, [("x-trailer", "one")], end_stream=True)
    client.flush()
    assert json.loads(client.response(stream).body) == {"sha256": hashlib.sha256(b"abc").hexdigest(), "bytes": 3}


def test_early_response_comes_before_the_body_and_the_connection_goes_on(client: H2Client) -> None:
    stream = client.request("POST", "/unread?status=413", end=False)
    response = client.head(stream)
    assert response.status == 413
    client.response(stream)
    assert response.body == b"early"
    if response.reset is None:
        client.wait(lambda: response.reset is not None, "RST_STREAM, which says that no body is wanted")
    assert response.reset == h2.errors.ErrorCodes.NO_ERROR
    assert client.get().body == b"hello"


def test_data_after_an_early_response_harms_nothing(client: H2Client) -> None:
    stream = client.request("POST", "/unread?status=413", end=False)
    for _ in range(3):
        client.protocol.send_data(stream, bytes(10_000))
    client.flush()
    assert client.head(stream).status == 413
    assert client.get().body == b"hello"
    assert client.goaway is None


def test_expectation_of_continue_does_not_hold_up_a_body(client: H2Client) -> None:
    stream = client.request("POST", "/echo", [("expect", "100-continue")], body=b"abc")
    assert client.response(stream).body == b"abc"


def test_window_of_a_stream_is_respected(client: H2Client, plain: Server, connect_h2: Callable[..., H2Client]) -> None:
    small = connect_h2(plain.listeners[1], window=10)
    stream = small.request("GET", "/download?size=25")
    small.held.add(stream)
    small.wait(lambda: small.streams[stream].length == 10, "the window to be filled")
    small.ping()
    assert small.streams[stream].length == 10
    small.release(stream)
    assert small.response(stream).length == 25


def test_streams_over_the_limit_are_refused_and_not_the_connection(
    serve: Callable[..., Server], connect_h2: Callable[..., H2Client], key: str
) -> None:
    server = serve("plain.py:app", h2_max_concurrent_streams=5)
    client = connect_h2(server.listener)
    client.wait(lambda: client.protocol.remote_settings.max_concurrent_streams == 5, "SETTINGS")
    waiting = [client.request("GET", f"/gate?key={key}") for _ in range(5)]
    client.protocol.remote_settings[h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS] = 100
    client.protocol.remote_settings.acknowledge()
    refused = client.response(client.request("GET", "/"))
    assert refused.reset == h2.errors.ErrorCodes.REFUSED_STREAM
    client.reset(waiting.pop())
    client.ping()
    client.response(client.request("GET", f"/go?key={key}"))
    for stream in waiting:
        assert client.response(stream).body == b"through"


def test_connection_ends_with_goaway_after_its_last_request(
    serve: Callable[..., Server], connect_h2: Callable[..., H2Client], key: str
) -> None:
    server = serve("plain.py:app", keep_alive_max_requests=3)
    client = connect_h2(server.listener)
    streams = [client.request("GET", f"/gate?key={key}"), client.request(), client.request("GET", f"/go?key={key}")]
    for stream in streams:
        assert client.response(stream).status == 200, "nothing under way is lost"
    assert client.wait_for_goaway().error_code == h2.errors.ErrorCodes.NO_ERROR
    client.wait_for_close()


def test_idle_connection_ends_with_goaway(serve: Callable[..., Server], connect_h2: Callable[..., H2Client]) -> None:
    server = serve("plain.py:app", keep_alive_timeout=0.3)
    client = connect_h2(server.listener)
    assert client.get().status == 200
    assert client.wait_for_goaway().error_code == h2.errors.ErrorCodes.NO_ERROR
    client.wait_for_close()


def test_connection_with_a_request_under_way_is_not_idle(
    serve: Callable[..., Server], connect_h2: Callable[..., H2Client]
) -> None:
    server = serve("plain.py:app", keep_alive_timeout=0.3)
    client = connect_h2(server.listener)
    assert client.get("/nap?seconds=1.5").status == 200


@pytest.mark.parametrize(
    "headers",
    [
        [(":method", "GET"), (":scheme", "https"), (":path", "/")],
        [(":method", "GET"), (":scheme", "https"), (":authority", "a"), (":path", "/\x7f")],
        [(":method", "GET"), (":scheme", "https"), (":authority", "a"), ("host", "b"), (":path", "/")],
        [(":method", "CONNECT"), (":authority", "a:443")],
        [(":method", "GET"), (":scheme", "https"), (":authority", "a"), (":path", "/"), ("connection", "close")],
        [(":method", "GET"), (":scheme", "https"), (":authority", "a"), (":path", "")],
        [(":method", "GET"), (":scheme", "https"), (":authority", "a"), (":path", "?x")],
        [(":method", "GET"), (":scheme", "https"), (":path", "/"), ("host", '"><script>')],
        [(":method", "GET"), (":scheme", "https"), (":path", "/"), ("host", "a b")],
        [(":method", "GET"), (":scheme", "https"), (":authority", "a:99999"), (":path", "/")],
        [(":method", "M" * 65), (":scheme", "https"), (":authority", "a"), (":path", "/")],
    ],
)
def test_malformed_request_harms_only_its_stream(client: H2Client, headers: Any) -> None:
    client.protocol.config.validate_outbound_headers = False
    client.protocol.config.normalize_outbound_headers = False
    waiting = client.request("GET", "/nap?seconds=0.2")
    stream = client.request("GET", "/")
    bad = client.protocol.get_next_available_stream_id()
    client.streams[bad] = type(client.streams[stream])(bad)
    client.protocol.send_headers(bad, headers, end_stream=True)
    client.flush()
    response = client.response(bad)
    assert response.reset == h2.errors.ErrorCodes.PROTOCOL_ERROR or response.status in (400, 404, 405), response
    assert client.response(waiting).status == 200
    assert client.get().body == b"hello"


def test_line_break_in_a_header_never_reaches_the_app(client: H2Client) -> None:
    client.protocol.config.validate_outbound_headers = False
    client.protocol.config.normalize_outbound_headers = False
    stream = client.request("GET", "/scope", [("x", "a\r\nb: c")])
    with contextlib.suppress(Lost):
        client.response(stream)
    response = client.streams[stream]
    assert response.status in (None, 400)
    assert response.reset == h2.errors.ErrorCodes.PROTOCOL_ERROR or response.status == 400 or (
        client.goaway is not None and client.goaway.error_code == h2.errors.ErrorCodes.PROTOCOL_ERROR
    )


def test_body_that_differs_from_its_announced_length_resets_the_stream(client: H2Client) -> None:
    client.protocol.config.validate_outbound_headers = False
    stream = client.request("POST", "/digest", [("content-length", "3")], end=False)
    client.send(stream, b"four", end=True)
    assert client.response(stream).reset == h2.errors.ErrorCodes.PROTOCOL_ERROR
    assert client.get().body == b"hello"


def test_header_list_over_the_limit_harms_only_its_stream(client: H2Client) -> None:
    # Over the server's limit of 64 KiB, but not so much that it must give up on the connection.
    stream = client.request("GET", "/", [(f"x-{number}", "a" * 4000) for number in range(18)])
    response = client.response(stream)
    assert response.status == 431 or response.reset is not None
    assert client.get().body == b"hello"


def test_more_resets_than_an_honest_client_needs_end_the_connection(
    client: H2Client, connect_h2: Callable[..., H2Client]
) -> None:
    sent = 0
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        while sent < 3000:
            client.reset(client.request("GET", "/nap?seconds=1"))
            sent += 1
    with contextlib.suppress(ConnectionError, ssl.SSLError, Lost):
        client.wait_for_goaway()
    assert client.goaway is None or client.goaway.error_code == h2.errors.ErrorCodes.ENHANCE_YOUR_CALM
    if client.goaway is None:
        client.wait_for_close()
    assert connect_h2(client.where).get().body == b"hello", "and no other"


def test_cookie_crumbs_are_joined(client: H2Client) -> None:
    response = client.get("/scope", [("cookie", "a=1"), ("cookie", "b=2")])
    assert b"(b'cookie', b'a=1; b=2')" in response.body


def test_the_last_response_arrives_whole_at_a_client_that_still_sends(
    serve: Callable[..., Server], connect_h2: Callable[..., H2Client]
) -> None:
    # The connection ends in order after its second request. A socket that is closed with PINGs unread would be reset, and
    # what the client has not taken yet would be lost.
    server = serve("plain.py:app", keep_alive_max_requests=2)
    client = connect_h2(server.listener, window=1 << 23)
    assert client.get().status == 200
    stream = client.request("GET", "/download?size=3000000&piece=60000")
    client.wait(lambda: client.streams[stream].length > 0, "the response, and with it the end that is announced")
    until = time.monotonic() + 0.5
    while time.monotonic() < until:
        client.socket.sendall(b"\x00\x00\x08\x06\x00\x00\x00\x00\x00" + b"12345678")
        time.sleep(0.005)  # nothing tells this client that the server has written all
    assert len(client.response(stream).body) == 3_000_000


@pytest.mark.slow
def test_a_client_that_reads_slowly_and_steadily_is_not_cut_off(serve: Callable[..., Server], tmp_path: Path) -> None:
    """A unix socket holds fewer bytes than the output of a connection, which is never empty as long as more follows."""
    server = serve("plain.py:app", bind=f"unix:{tmp_path}/socket", hcrs={"write_timeout": 1})
    with H2Client(server.listener, window=1 << 30) as client:
        stream = client.request("GET", f"/download?size={1 << 30}")
        client.counted.add(stream)
        until = time.monotonic() + 3
        while time.monotonic() < until:
            client.pump()
            assert not client.closed, client.streams[stream]
            time.sleep(0.003)
        assert not client.streams[stream].is_over
        time.sleep(3)  # the client's own doing: it does not read
        client.wait_for_close()
