"""Rules of requests: which clients are served, what is changed about responses, and what is logged."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from end_to_end.h1_client import H1Client
from end_to_end.h2_client import H2Client
from end_to_end.h3_client import H3Client
from end_to_end.key_rows import shows
from end_to_end.replacing import ALL
from end_to_end.routed import Ask, routes_file, with_routes
from end_to_end.server import Server
from end_to_end.ws_client import ask_over_h1 as ask_websocket_over_h1
from end_to_end.ws_client import ask_over_h2 as ask_websocket_over_h2

PROXIED = {"forwarded_allow_ips": "127.0.0.1", "proxy_headers": "legacy"}


def reload(server: Server, count: int = 1) -> None:
    """Has the configuration read again."""
    server.signal(signal.SIGHUP)
    server.wait_for_log(ALL, count)


@shows("plain.py:app", deny=["127.0.0.0/8"])
def test_clients_of_denied_networks_are_refused(server: Server, ask_of: Callable[[Server], Ask]) -> None:
    ask = ask_of(server)
    for _ in range(2):
        got = ask("/")
        assert (got.status, got.body) == (403, b"")
    assert ask("/", "POST").status == 403


@shows("plain.py:app", allow=["10.0.0.0/8", "127.0.0.1"])
def test_clients_of_allowed_networks_are_served(server: Server, connect_h1: Callable[..., H1Client]) -> None:
    assert connect_h1(server.listener).get("/").status == 200


def test_networks_are_those_of_the_client_behind_a_trusted_proxy(
    serve: Callable[..., Server], tmp_path: Path, ask_of: Callable[[Server], Ask]
) -> None:
    inner = {"path": "/inner", "app": True, "allow": "10.0.0.0/8", "deny": "10.9.0.0/16"}
    ask = ask_of(with_routes(serve, tmp_path, [inner], hcrs=PROXIED))
    for client, expected in [
        ("10.1.0.1", 404),
        ("10.9.0.1", 403),
        ("::ffff:10.1.0.1", 404),
        ("192.0.2.1", 403),
        ("2001:db8::1", 403),
    ]:
        assert ask("/inner/x", x_forwarded_for=client).status == expected, client
    assert ask("/", x_forwarded_for="192.0.2.1").status == 200, "the rule is of another route"


def test_a_client_without_an_address_is_in_no_network(
    serve: Callable[..., Server], tmp_path: Path, connect_h1: Callable[..., H1Client]
) -> None:
    routes = [{"path": "/allowed", "app": True, "allow": "0.0.0.0/0"}, {"path": "/denied", "app": True, "deny": "::/0"}]
    server = with_routes(serve, tmp_path, routes, bind=f"unix:{tmp_path}/s")
    client = connect_h1(server.listener)
    assert (client.get("/allowed").status, client.get("/denied").status) == (403, 404)


@pytest.mark.parametrize("over", ["h1", "h2", "h3"])
def test_websockets_are_refused_like_requests(
    over: str,
    serve: Callable[..., Server],
    connect_h1: Callable[..., H1Client],
    connect_multiplexed: Callable[..., H2Client | H3Client],
) -> None:
    server = serve("plain.py:app", hcrs={"deny": "127.0.0.1"})
    if over == "h1":
        client = connect_h1(server.listener)
        assert ask_websocket_over_h1(client, "/").status == 403
    else:
        multiplexed = connect_multiplexed(server.listener_speaking(over))
        assert multiplexed.response(ask_websocket_over_h2(multiplexed, "/")).status == 403


@shows(
    "plain.py:app",
    set_headers={"X-Frame-Options": "DENY"},
    add_headers={"vary": "cookie"},
    remove_headers=["content-type"],
)
def test_fields_of_responses_are_set_added_and_removed(server: Server, connect_h1: Callable[..., H1Client]) -> None:
    got = connect_h1(server.listener).get("/")
    assert (got.status, got.body) == (200, b"hello")
    assert (got.header("x-frame-options"), got.header("vary"), got.header("content-type")) == ("DENY", "cookie", None)


def test_every_response_has_the_changes(
    serve: Callable[..., Server], tmp_path: Path, ask_of: Callable[[Server], Ask]
) -> None:
    (tmp_path / "a.css").write_text("a")
    (tmp_path / "inner").mkdir()
    routes: list[dict[str, Any]] = [
        {"path": "/static", "files": str(tmp_path)},
        {"path": "/gone", "status": 410},
        {"path": "/moved", "redirect": "/"},
        {"path": "/own", "app": True, "set_headers": ["x-own=1"]},
        {"path": "/refused", "app": True, "deny": "127.0.0.1"},
    ]
    rules = {"set_headers": {"x-all": "1"}, "max_body_size": 10}
    ask = ask_of(with_routes(serve, tmp_path, routes, hcrs=rules))
    for target, status in [
        ("/", 200),
        ("/static/a.css", 200),
        ("/static/b.css", 404),
        ("/gone", 410),
        ("/moved", 308),
        ("/nothing", 404),
        ("/refused", 403),
        ("/fail", 500),
    ]:
        got = ask(target)
        assert (got.status, got.fields.get("x-all")) == (status, "1"), target
    own = ask("/own")
    assert own.fields.get("x-own") == "1" and "x-all" not in own.fields, "a route's own rule stands in place"
    assert ask("/", "HEAD").fields["x-all"] == "1"


@shows("plain.py:app", strict_transport=True)
def test_cleartext_has_no_strict_transport(server: Server, connect_h1: Callable[..., H1Client]) -> None:
    assert connect_h1(server.listener).get("/").header("strict-transport-security") is None


def test_https_has_strict_transport(
    serve: Callable[..., Server], tmp_path: Path, ask_of: Callable[[Server], Ask], connect_h1: Callable[..., H1Client]
) -> None:
    server = with_routes(
        serve,
        tmp_path,
        [{"path": "/off", "status": 404, "strict_transport": False}],
        hcrs={"strict_transport": "max-age=1; includeSubDomains"},
    )
    assert connect_h1(server.listener).get("/").header("strict-transport-security") is None
    secure = serve("plain.py:app", tls=True, hcrs={"strict_transport": True})
    ask = ask_of(secure)
    assert ask("/").fields["strict-transport-security"] == "max-age=31536000"
    assert ask("/nothing").fields["strict-transport-security"] == "max-age=31536000"


def test_a_trusted_proxy_that_terminates_tls_has_strict_transport(
    serve: Callable[..., Server], tmp_path: Path, ask_of: Callable[[Server], Ask]
) -> None:
    off = {"path": "/off", "status": 404, "strict_transport": False}
    rules = {**PROXIED, "strict_transport": "max-age=1; includeSubDomains"}
    ask = ask_of(with_routes(serve, tmp_path, [off], hcrs=rules))
    got = ask("/", x_forwarded_proto="https", x_forwarded_for="192.0.2.1")
    assert got.fields["strict-transport-security"] == "max-age=1; includeSubDomains"
    for target, scheme in [("/", "http"), ("/off", "https")]:
        got = ask(target, x_forwarded_proto=scheme, x_forwarded_for="192.0.2.1")
        assert "strict-transport-security" not in got.fields, target


def test_requests_of_a_route_are_left_out_of_the_access_log(
    serve: Callable[..., Server], tmp_path: Path, ask_of: Callable[[Server], Ask]
) -> None:
    log = tmp_path / "access.log"
    quiet = {"path": "/quiet", "app": True, "access_log": False}
    server = with_routes(serve, tmp_path, [quiet], accesslog=str(log), access_log_format="%(U)s %(s)s")
    ask = ask_of(server)
    assert [ask(target).status for target in ("/quiet", "/nothing", "/quiet/x", "/")] == [404, 404, 404, 200]
    server.stop()
    lines = [line.split("] ")[-1] for line in log.read_text().splitlines()]
    assert lines == ["/nothing 404", "/ 200"]


def test_rules_change_with_sighup(
    serve: Callable[..., Server], tmp_path: Path, ask_of: Callable[[Server], Ask]
) -> None:
    def write(**rules: Any) -> None:
        routes_file(tmp_path, [{"path": "/a", "app": True, **rules}])

    server = with_routes(serve, tmp_path, [{"path": "/a", "app": True}])
    ask = ask_of(server)
    assert ask("/a").status == 404
    write(deny="127.0.0.1", set_headers=["x-a=1"])
    reload(server, 1)
    got = ask("/a")
    assert (got.status, got.fields["x-a"]) == (403, "1")
    write(allow="127.0.0.1", set_headers=["x-a=2"])
    reload(server, 2)
    got = ask("/a")
    assert (got.status, got.fields["x-a"]) == (404, "2")
    write()
    reload(server, 3)
    assert "x-a" not in ask("/a").fields
