"""HTTP/1.1 on the wire: framing, keep-alive, pipelining, expectations."""

from __future__ import annotations

import hashlib
import json
import socket
from collections.abc import Callable

import pytest

from end_to_end.h1_client import H1Client
from end_to_end.server import Server


@pytest.fixture(params=["cleartext", "tls"])
def client(request: pytest.FixtureRequest, plain: Server, connect_h1: Callable[..., H1Client]) -> H1Client:
    return connect_h1(plain.listeners[1 if request.param == "cleartext" else 0])


def test_connection_serves_one_request_after_another(client: H1Client) -> None:
    for _ in range(3):
        response = client.get()
        assert (response.status, response.body) == (200, b"hello")
        assert response.version == "HTTP/1.1"
        assert response.header("connection") is None


def test_response_names_date_and_server_once(client: H1Client) -> None:
    response = client.get()
    assert (response.header("date") or "").endswith(" GMT")
    assert (response.header("server") or "").startswith("hcrs")


def test_headers_of_the_app_win_over_those_of_the_server(client: H1Client) -> None:
    response = client.get("/app-headers")
    assert response.header("server") == "mine"
    assert response.header("date") == "today"
    assert response.all("set-cookie") == ["a=1", "b=2"]
    assert response.header("x-mixed") == "1"


def test_pipelined_requests_are_answered_in_order(client: H1Client, key: str) -> None:
    targets = ["/?1", "/status?status=204", "/echo", "/pid", "/"]
    requests = b"".join(
        f"GET {target} HTTP/1.1\r\nhost: {client.where.authority}\r\n\r\n".encode() for target in targets
    )
    client.send(requests)
    responses = [client.response() for _ in targets]
    assert [response.status for response in responses] == [200, 204, 200, 200, 200]
    assert responses[0].body == responses[-1].body == b"hello"


def test_pipelined_requests_with_bodies_are_kept_apart(client: H1Client) -> None:
    posts = b"".join(
        f"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode()
        for body in ("one", "three", "GET / HTTP/1.1\r\n\r\n")
    )
    client.send(posts)
    assert [client.response().body for _ in range(3)] == [b"one", b"three", b"GET / HTTP/1.1\r\n\r\n"]


def test_body_without_announced_length_comes_in_chunks(client: H1Client) -> None:
    response = client.get("/download?size=3000000")
    assert response.header("transfer-encoding") == "chunked"
    assert response.body == bytes(3_000_000)
    assert client.get().status == 200


def test_whole_body_in_one_message_gets_its_length(client: H1Client) -> None:
    response = client.get("/status?status=200&body=abc")
    assert response.body == b"abc"


def test_chunked_request_body_reaches_the_app(client: H1Client) -> None:
    client.send(f"POST /digest HTTP/1.1\r\nhost: {client.where.authority}\r\ntransfer-encoding: chunked\r\n\r\n")
    sha = hashlib.sha256()
    for number in range(50):
        piece = bytes([number]) * (1 + number * 97)
        sha.update(piece)
        client.send(f"{len(piece):x};ext=1\r\n".encode() + piece + b"\r\n")
    client.send("0\r\nx-trailer: one\r\n\r\n")
    assert json.loads(client.response().body) == {
        "sha256": sha.hexdigest(),
        "bytes": sum(1 + number * 97 for number in range(50)),
    }
    assert client.get().status == 200, "the trailers were read and the connection lives"


def test_request_may_arrive_byte_by_byte(client: H1Client) -> None:
    for byte in b"POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n":
        client.send(bytes([byte]))
    assert client.response().body == b"abc"


def test_head_gets_the_head_of_the_answer_alone(client: H1Client) -> None:
    client.request("HEAD")
    response = client.response(to_head=True)
    assert (response.status, response.header("content-length")) == (200, "5")
    assert client.get().body == b"hello"


@pytest.mark.parametrize("status", [204, 304])
def test_status_without_content_has_no_body_even_if_the_app_sends_one(client: H1Client, status: int) -> None:
    response = client.get(f"/status?status={status}&body=nonsense")
    assert response.status == status
    assert response.header("transfer-encoding") is None
    if status == 204:
        assert response.header("content-length") is None
    assert response.header("x-status") == "yes"
    assert client.get().body == b"hello"


def test_unusual_status_has_a_status_line(client: H1Client) -> None:
    response = client.get("/status?status=599")
    assert (response.status, response.body) == (599, b"")


def test_http_1_0_gets_a_body_that_ends_with_the_connection(client: H1Client) -> None:
    client.send("GET /download?size=100000 HTTP/1.0\r\n\r\n")
    response = client.response()
    assert response.header("transfer-encoding") is None
    assert len(response.body) == 100_000


def test_http_1_0_is_closed_after_the_response(client: H1Client) -> None:
    client.send("GET / HTTP/1.0\r\n\r\n")
    response = client.response()
    assert (response.header("connection"), response.body) == ("close", b"hello")
    client.assert_closed()


def test_connection_close_of_the_client_is_obeyed(client: H1Client) -> None:
    response = client.get(headers="connection: close\r\n")
    assert response.header("connection") == "close"
    client.assert_closed()


def test_continue_is_sent_when_the_app_first_reads(
    client: H1Client, key: str, plain: Server, connect_h1: Callable[..., H1Client]
) -> None:
    client.send(
        f"POST /digest?gate={key}&pieces=1 HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n"
    )
    assert client.response().status == 100
    client.send("hello")
    connect_h1(plain.listeners[1]).get(f"/go?key={key}")
    response = client.response()
    assert json.loads(response.body)["bytes"] == 5


def test_body_that_comes_whole_while_the_app_waits_is_one_message(client: H1Client, key: str) -> None:
    client.send(
        f"POST /messages?key={key} HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n"
    )
    assert client.response().status == 100
    client.send("hello")
    assert client.response().body == b"[{'type': 'http.request', 'body': b'hello', 'more_body': False}]"


def test_continue_is_not_sent_before_the_app_reads(
    client: H1Client, key: str, plain: Server, connect_h1: Callable[..., H1Client]
) -> None:
    client.send(
        f"POST /unread?key={key}&status=403 HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n"
    )
    other = connect_h1(plain.listeners[1])
    assert other.get(f"/note?key={key}").body == b"begun"
    other.get(f"/go?key={key}")
    response = client.response()
    assert response.status == 403, "the first thing that is sent is the final response"
    assert response.header("connection") == "close", "nobody knows whether the body will follow"
    client.assert_closed()


def test_body_that_comes_without_waiting_for_continue_is_taken(client: H1Client) -> None:
    client.send("POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\nhello")
    response = client.response()
    if response.status == 100:
        response = client.response()
    assert response.body == b"hello"


def test_unknown_expectation_is_refused(client: H1Client) -> None:
    client.send("POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\nexpect: tea\r\n\r\nhello")
    assert client.response().status == 417


@pytest.mark.parametrize("size", [1000, 900_000])
def test_early_response_without_reading_a_small_body_keeps_the_connection(client: H1Client, size: int) -> None:
    client.request("POST", "/unread?status=413", body=bytes(size))
    assert client.response().status == 413
    assert client.get().body == b"hello"


def test_early_response_to_a_large_body_says_that_no_other_request_is_taken(client: H1Client) -> None:
    client.send(f"POST /unread?status=413 HTTP/1.1\r\nhost: x\r\ncontent-length: {5 << 20}\r\n\r\n")
    response = client.response()
    assert (response.status, response.header("connection")) == (413, "close")


def test_early_response_arrives_while_a_large_body_is_being_sent(client: H1Client) -> None:
    size = 64 << 20
    client.send(f"POST /unread?status=413 HTTP/1.1\r\nhost: x\r\ncontent-length: {size}\r\n\r\n")
    response = client.response()
    assert (response.status, response.body) == (413, b"early")
    sent = 0
    with pytest.raises((BrokenPipeError, ConnectionResetError, OSError)):
        while sent < size:
            client.send(bytes(1 << 16))
            sent += 1 << 16
    assert sent < size, "the server did not read all that nobody wants"


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: a\r\ncontent-length: +3\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\nhost : a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: a\r\n folded: b\r\n\r\n", 400),
        (b"GET  / HTTP/1.1\r\nhost: a\r\n\r\n", 400),
        (b"GET /\x00 HTTP/1.1\r\nhost: a\r\n\r\n", 400),
        (b"GET / HTTP/3.7\r\nhost: a\r\n\r\n", 505),
        (b"GET /\r\n\r\n", 400),
        (b"CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\n", 405),
        (b"GET / HTTP/1.1\r\nhost: a\r\nx: " + b"a" * 20_000 + b"\r\n\r\n", 431),
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nhost: a\r\n\r\n", 414),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    ],
)
def test_request_that_breaks_the_protocol_is_refused_and_nothing_after_it_is_read(
    client: H1Client, request_bytes: bytes, status: int
) -> None:
    client.send(request_bytes + b"GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n")
    response = client.response()
    assert response.status == status
    if response.header("connection") == "close":
        client.assert_cut()
    else:
        assert client.response().status == 404, "where the framing is certain the connection may go on"


def test_connection_without_a_request_is_closed(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client]
) -> None:
    server = serve("plain.py:app", keep_alive_timeout=0.3)
    client = connect_h1(server.listener)
    client.assert_closed()


def test_last_request_of_a_connection_is_announced(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client]
) -> None:
    server = serve("plain.py:app", keep_alive_max_requests=3)
    client = connect_h1(server.listener)
    assert [client.get().header("connection") for _ in range(3)] == [None, None, "close"]
    client.assert_closed()


def test_unread_connection_is_closed_without_a_reset(plain: Server, connect_h1: Callable[..., H1Client]) -> None:
    """A client that sends on after `connection: close` still gets the response."""
    client = connect_h1(plain.listeners[1])
    client.request("POST", "/unread?status=401", "connection: close\r\n", body=bytes(200_000))
    assert client.response().status == 401
    client.socket.shutdown(socket.SHUT_WR)
    client.assert_closed()
