"""``rate``: clients that make too many requests get 429, and others are served."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from end_to_end.h1_client import H1Client
from end_to_end.h2_client import H2Client
from end_to_end.h3_client import H3Client
from end_to_end.key_rows import shows
from end_to_end.routed import Ask, routes_file, with_routes
from end_to_end.server import Server, wait_until
from end_to_end.test_rules import PROXIED, reload


@shows("plain.py:app", rate="3/h", rate_burst=3, rate_by="x-api-key")
def test_requests_above_the_rate_are_told_when_to_come_back(server: Server, ask_of: Callable[[Server], Ask]) -> None:
    ask = ask_of(server)
    assert [ask("/", x_api_key="a").status for _ in range(5)] == [200, 200, 200, 429, 429]
    refused = ask("/", x_api_key="a")
    assert 1150 < int(refused.fields["retry-after"]) <= 1201 and refused.body == b""
    assert ask("/", x_api_key="b").status == 200, "another client"


def test_tokens_come_back(serve: Callable[..., Server], ask_of: Callable[[Server], Ask]) -> None:
    ask = ask_of(serve("plain.py:app", hcrs={"rate": "20/s", "rate_burst": 1}))
    assert {ask("/").status for _ in range(20)} == {200, 429}
    wait_until(lambda: ask("/").status == 200, "another token", 5)


def test_threads_count_a_client_together(serve: Callable[..., Server], connect_h1: Callable[..., H1Client]) -> None:
    server = serve("plain.py:app", io_threads=4, hcrs={"rate": "10/h"})
    statuses = [connect_h1(server.listener).get("/").status for _ in range(30)]
    assert statuses == [200] * 10 + [429] * 20


def test_clients_are_told_apart_by_address(
    serve: Callable[..., Server], tmp_path: Path, ask_of: Callable[[Server], Ask]
) -> None:
    ask = ask_of(with_routes(serve, tmp_path, [], hcrs={**PROXIED, "rate": "1/h"}))

    def asks(client: str) -> int:
        return ask("/", x_forwarded_for=client).status

    assert [asks("192.0.2.1"), asks("192.0.2.2"), asks("192.0.2.1"), asks("::ffff:192.0.2.2")] == [200, 200, 429, 429]
    assert [asks("2001:db8::1"), asks("2001:db8::ffff"), asks("2001:db8:0:1::1")] == [200, 429, 200], (
        "networks of 64 bits"
    )


def test_routes_that_set_a_rate_count_by_themselves(
    serve: Callable[..., Server], tmp_path: Path, ask_of: Callable[[Server], Ask]
) -> None:
    routes: list[dict[str, Any]] = [
        {"path": "/login", "app": True, "rate": "1/h"},
        {"path": "/other", "app": True},
        {"path": "/static", "files": str(tmp_path), "missing": "next", "rate": "2/h"},
    ]
    ask = ask_of(with_routes(serve, tmp_path, routes, hcrs={"rate": "2/h"}))
    assert [ask("/login").status for _ in range(2)] == [404, 429]
    assert [ask(target).status for target in ("/other", "/", "/other")] == [404, 200, 429]
    assert [ask("/static/x").status for _ in range(3)] == [404, 404, 429], "the route behind takes no second token"


@pytest.mark.parametrize("version", ["h2", "h3"])
def test_streams_of_one_connection_are_counted(
    serve: Callable[..., Server], connect_multiplexed: Callable[..., H2Client | H3Client], version: str
) -> None:
    client = connect_multiplexed(serve("plain.py:app", hcrs={"rate": "5/h"}).listener_speaking(version))
    streams = [client.request("GET", "/") for _ in range(20)]
    assert [client.response(stream).status for stream in streams] == [200] * 5 + [429] * 15
    assert client.goaway is None


def test_the_rate_changes_with_sighup_and_clients_keep_their_tokens(
    serve: Callable[..., Server], tmp_path: Path, ask_of: Callable[[Server], Ask]
) -> None:
    server = with_routes(serve, tmp_path, [], hcrs={"rate": "1/h"})
    ask = ask_of(server)
    assert [ask("/").status for _ in range(2)] == [200, 429]
    routes_file(tmp_path, [], hcrs={"rate": "1/h", "rate_burst": 3})
    reload(server, 1)
    assert [ask("/").status for _ in range(3)] == [200, 200, 429]
    routes_file(tmp_path, [])
    reload(server, 2)
    assert {ask("/").status for _ in range(5)} == {200}
