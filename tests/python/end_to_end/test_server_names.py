"""Requests for hosts that are not served, and the alternative services that every response names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from end_to_end.h1_client import H1Client
from end_to_end.h2_client import H2Client
from end_to_end.server import Server, wait_until
from end_to_end.ws_client import ask_over_h1, ask_over_h2, open_over_h1, open_over_h2

NAMES = {"server_names": ["Shop.test", "other.test:8000"]}


def ask_h1(
    client: Any, host: Any, target: str = "/", headers: str = "", version: str = "1.1", body: bytes = b""
) -> Any:
    line = f"host: {host}\r\n" if host else ""
    length = f"content-length: {len(body)}\r\n" if body else ""
    method = "POST" if body else "GET"
    client.send(f"{method} {target} HTTP/{version}\r\n{line}{length}{headers}\r\n".encode() + body)
    return client.response()


def test_hosts_that_are_not_named_get_404_on_a_connection_that_goes_on(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client]
) -> None:
    server = serve("plain.py:app", accesslog="-", access_log_format="%(r)s %(s)s %({host}i)s %(fault)s %(worker_pid)s", **NAMES)
    client = connect_h1(server.listener)
    for host, status in [
        ("shop.test", 200),
        ("SHOP.TEST:1234", 200),
        ("other.test:8000", 200),
        ("other.test", 404),
        ("other.test:8001", 404),
        ("www.shop.test", 404),
        ("127.0.0.1", 404),
        ("shop.test", 200),
    ]:
        assert ask_h1(client, host).status == status, host
    lines = wait_until(lambda: (seen := server.output.splitlines()) and len(seen) >= 8 and seen, "the lines")
    assert lines[5].endswith("GET / 1.1 404 www.shop.test host not served -")


def test_a_body_for_a_host_that_is_not_served_ends_the_connection_in_good_order(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client]
) -> None:
    server = serve("plain.py:app", **NAMES)
    client = connect_h1(server.listener)
    response = ask_h1(client, "else.test", "/echo", body=b"x" * 200_000)
    assert (response.status, response.header("connection")) == (404, "close")
    client.assert_closed()
    client = connect_h1(server.listener)
    assert ask_h1(client, "else.test", headers="connection: close\r\n").status == 404
    client.assert_closed()
    client = connect_h1(server.listener)
    assert ask_h1(client, None, version="1.0").status == 404, "no host is none of those that are named"
    client.assert_closed()


def test_hosts_are_looked_at_over_http2_too(serve: Callable[..., Server], connect_h2: Callable[..., H2Client]) -> None:
    server = serve("plain.py:app", accesslog="-", access_log_format="%(r)s %(s)s %(fault)s", tls=True, flags=[
        "--server-name", "localhost", "--server-name=else.test"])
    client = connect_h2(server.listener)
    refused = client.get("/")
    assert (refused.status, refused.body) == (404, b""), "the authority is an address"
    upload = client.request("POST", "/echo", end=False)
    assert client.response(upload).status == 404
    client.where = client.where._replace(host="localhost")
    assert client.get("/").status == 200
    lines = wait_until(lambda: (seen := server.output.splitlines()) and len(seen) >= 3 and seen, "the lines")
    assert [line.partition("] [INFO] ")[2] for line in lines] == [
        "GET / 2 404 host not served", "POST /echo 2 404 host not served", "GET / 2 200 -"]


def test_websockets_for_hosts_that_are_not_served_are_refused(
    serve: Callable[..., Server], connect_h1: Callable[..., Any], connect_h2: Callable[..., Any]
) -> None:
    server = serve("sockets.py:app", server_names="localhost")
    client = connect_h1(server.listener)
    assert ask_over_h1(client, "/echo", whole=True).status == 404
    client.where = client.where._replace(host="localhost")
    socket = open_over_h1(client, "/echo")
    socket.send("hello")
    assert socket.receive() == "hello"
    client = connect_h2(server.listener)
    assert client.response(ask_over_h2(client, "/echo")).status == 404
    client.where = client.where._replace(host="localhost")
    socket = open_over_h2(client, "/echo")
    socket.send("hello")
    assert socket.receive() == "hello"


def test_one_name_as_a_string_is_one_name(serve: Callable[..., Server], connect_h1: Callable[..., H1Client]) -> None:
    server = serve("plain.py:app", server_names="shop.test")
    client = connect_h1(server.listener)
    assert ask_h1(client, "shop").status == 404, "Hypercorn would take it for a part of the name"
    assert ask_h1(client, "shop.test").status == 200


def test_the_welcome_page_has_the_named_hosts_only(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client]
) -> None:
    server = serve(server_names=["shop.test"])
    client = connect_h1(server.listener)
    assert ask_h1(client, "else.test").status == 404
    assert ask_h1(client, "shop.test").status == 200


def test_a_trusted_proxy_says_which_host_is_meant(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client]
) -> None:
    server = serve("plain.py:app", server_names="shop.test", hcrs={"forwarded_allow_ips": "127.0.0.1"})
    client = connect_h1(server.listener)
    forwarded = "x-forwarded-for: 192.0.2.1\r\nx-forwarded-host: {}\r\n"
    assert ask_h1(client, "backend", headers=forwarded.format("shop.test")).status == 200
    assert ask_h1(client, "shop.test", headers=forwarded.format("else.test")).status == 404


ALT_SVC = ['h3=":443"; ma=3600', 'h2="alt.test:443"']


@pytest.mark.parametrize("others", [{}, {"include_date_header": False, "include_server_header": False}])
def test_alternative_services_are_named_by_every_response(
    serve: Callable[..., Server], connect_h1: Callable[..., Any], connect_h2: Callable[..., Any], others: Any
) -> None:
    server = serve("plain.py:app", alt_svc_headers=ALT_SVC, server_names=["127.0.0.1"], **others)
    h1 = connect_h1(server.listener)
    for target in ("/", "/missing", "/status?status=204", "/fail?after=nothing"):
        assert h1.get(target).all("alt-svc") == ALT_SVC, target
    assert ask_h1(h1, "else.test").all("alt-svc") == ALT_SVC
    h1.send("GET /a b HTTP/1.1\r\n\r\n")
    refused = h1.response()
    assert (refused.status, refused.all("alt-svc")) == (400, ALT_SVC)
    h2 = connect_h2(server.listener)
    for path in ("/", "/missing", "/fail?after=nothing"):
        values = [value.decode() for name, value in h2.get(path).headers if name == b"alt-svc"]
        assert values == ALT_SVC, path


def test_alternative_services_stand_in_answers_to_websockets(
    serve: Callable[..., Server], connect_h1: Callable[..., Any], connect_h2: Callable[..., Any]
) -> None:
    server = serve("sockets.py:app", alt_svc_headers=ALT_SVC[0])
    assert open_over_h1(connect_h1(server.listener), "/echo").head.all("alt-svc") == ALT_SVC[:1]
    head = open_over_h2(connect_h2(server.listener), "/echo").head
    assert head.header(b"alt-svc") == ALT_SVC[0].encode()
