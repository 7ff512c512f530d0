"""The scope and the messages that an ASGI app gets, with their exact types."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

import pytest

from end_to_end.h1_client import H1Client
from end_to_end.h2_client import H2Client
from end_to_end.server import Server

KEYS = {
    "type", "asgi", "http_version", "method", "scheme", "path", "raw_path", "query_string", "root_path", "headers",
    "client", "server", "state", "extensions",
}


def assert_types(scope: dict[str, Any]) -> None:
    """The scope that ASGI and its users rely on."""
    assert set(scope) == KEYS
    assert scope["type"] == "http"
    assert scope["asgi"] == {"spec_version": "2.3", "version": "3.0"}
    for name in ("http_version", "method", "scheme", "path", "root_path"):
        assert type(scope[name]) is str, name
    for name in ("raw_path", "query_string"):
        assert type(scope[name]) is bytes, name
    assert type(scope["headers"]) is list
    for header in scope["headers"]:
        assert type(header) is tuple and [type(part) for part in header] == [bytes, bytes]
        assert header[0] == header[0].lower()
    for name in ("client", "server"):
        assert type(scope[name]) is tuple and [type(part) for part in scope[name]] == [str, int]
    assert type(scope["state"]) is dict and type(scope["extensions"]) is dict


@pytest.fixture
def ask(
    plain: Server, protocol: str, connect_h1: Callable[..., Any], connect_multiplexed: Callable[..., Any]
) -> Callable[..., Any]:
    """Returns the scope of a request, and the client's own address."""

    def get(target: str, headers: list[tuple[str, str]] = [], method: str = "GET", body: bytes = b"") -> Any:  # noqa: B006
        where = plain.listener_for(protocol)
        if protocol.startswith("h1"):
            client = connect_h1(where)
            client.request(method, target, "".join(f"{name}: {value}\r\n" for name, value in headers), body)
            text = client.response().body
        else:
            client = connect_multiplexed(where)
            text = client.response(client.request(method, target, headers, body or None)).body
        return ast.literal_eval(text.decode()), client.socket.getsockname(), where

    return get


def test_every_key_is_there_with_its_type(ask: Callable[..., Any], protocol: str) -> None:
    scope, own_address, where = ask("/scope/a%20b/%C3%A9%2F?q=%20x&y", [("X-One", "1")])
    assert_types(scope)
    assert scope["http_version"] == ("1.1" if protocol.startswith("h1") else protocol[1])
    assert scope["scheme"] == where.scheme
    assert scope["method"] == "GET"
    assert scope["path"] == "/scope/a b/é/"
    assert scope["raw_path"] == b"/scope/a%20b/%C3%A9%2F"
    assert scope["query_string"] == b"q=%20x&y"
    assert scope["root_path"] == ""
    assert scope["client"] == own_address
    assert scope["server"] == (where.host, where.port)
    assert scope["headers"][0] == (b"host", where.authority.encode())
    assert (b"x-one", b"1") in scope["headers"]


def test_order_and_repetition_of_headers_are_kept(ask: Callable[..., Any]) -> None:
    scope, _, _ = ask("/scope", [("b", "1"), ("a", "2"), ("b", "3"), ("empty", ""), ("a", "2")])
    values = {name: [value for key, value in scope["headers"] if key == name] for name in (b"a", b"b", b"empty")}
    assert values == {b"a": [b"2", b"2"], b"b": [b"1", b"3"], b"empty": [b""]}


def test_path_that_is_not_utf_8_is_decoded_with_replacement(ask: Callable[..., Any]) -> None:
    scope, _, _ = ask("/scope/%FF%zz")
    assert scope["path"] == "/scope/\ufffd%zz"
    assert scope["raw_path"] == b"/scope/%FF%zz"
    assert scope["query_string"] == b""


def test_method_is_in_upper_case(ask: Callable[..., Any]) -> None:
    scope, _, _ = ask("/scope", method="PROPFIND")
    assert scope["method"] == "PROPFIND"


def test_length_of_a_body_is_among_the_headers(ask: Callable[..., Any], protocol: str) -> None:
    scope, _, _ = ask("/scope", body=b"12345", method="POST",
                      headers=[] if protocol.startswith("h1") else [("content-length", "5")])
    assert (b"content-length", b"5") in scope["headers"]


def test_http_1_0_is_named(plain: Server, connect_h1: Callable[..., H1Client]) -> None:
    client = connect_h1(plain.listeners[1])
    client.send("GET /scope HTTP/1.0\r\n\r\n")
    scope = ast.literal_eval(client.response().body.decode())
    assert_types(scope)
    assert scope["http_version"] == "1.0"


def test_host_of_an_h2_request_comes_from_its_authority_and_first(
    plain: Server, connect_h2: Callable[..., H2Client]
) -> None:
    client = connect_h2(plain.listeners[0])
    scope = ast.literal_eval(client.get("/scope", [("a", "b"), ("host", client.where.authority)]).body.decode())
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    assert hosts == [client.where.authority.encode()]
    assert scope["headers"][0][0] == b"host"


def test_absolute_target_names_the_host(plain: Server, connect_h1: Callable[..., H1Client]) -> None:
    client = connect_h1(plain.listeners[1])
    client.send("GET http://example.test:81/scope/x?y HTTP/1.1\r\nhost: example.test:81\r\n\r\n")
    scope = ast.literal_eval(client.response().body.decode())
    assert (scope["path"], scope["raw_path"], scope["query_string"]) == ("/scope/x", b"/scope/x", b"y")


def test_root_path_is_passed_on_without_its_last_slash(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client]
) -> None:
    server = serve("plain.py:app", root_path="/mounted/")
    scope = ast.literal_eval(connect_h1(server.listener).get("/scope").body.decode())
    assert (scope["root_path"], scope["path"]) == ("/mounted", "/scope")


def test_state_of_the_lifespan_is_copied_for_each_request(
    serve: Callable[..., Server], connect_h2: Callable[..., H2Client]
) -> None:
    server = serve("plain.py:app")
    client = connect_h2(server.listener)
    worker = server.worker_pids()[0]
    states = [
        ast.literal_eval(client.get(f"/change-state?value={value}").body.decode()) for value in ("one", "two")
    ]
    assert states == [{"started": worker, "shared": []}, {"started": worker, "shared": ["one"]}], "a shallow copy"


def test_body_comes_in_messages_of_bytes_and_ends(plain: Server, connect_h2: Callable[..., H2Client], key: str) -> None:
    client = connect_h2(plain.listeners[1])
    stream = client.request("POST", f"/messages?key={key}", body=b"abc")
    messages = ast.literal_eval(client.response(stream).body.decode())
    assert b"".join(message["body"] for message in messages) == b"abc"
    assert all(set(message) == {"type", "body", "more_body"} for message in messages)
    assert [message["more_body"] for message in messages] == [True] * (len(messages) - 1) + [False]
    assert all(type(message["body"]) is bytes for message in messages)


def test_request_without_body_gives_one_empty_message_and_a_disconnect_after_the_response(
    plain: Server, connect_h1: Callable[..., H1Client], key: str
) -> None:
    client = connect_h1(plain.listeners[1])
    messages = ast.literal_eval(client.get(f"/messages?key={key}").body.decode())
    assert messages == [{"type": "http.request", "body": b"", "more_body": False}]
    after = connect_h1(plain.listeners[1]).get(f"/note?key={key}").body
    assert ast.literal_eval(after.decode()) == {"type": "http.disconnect"}
