"""The effects of the keys of protocols: rows of the table of keys (key_rows.py)."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

import pytest

from end_to_end.h1_client import H1Client
from end_to_end.key_rows import shows
from end_to_end.load import H2Load
from end_to_end.server import Server
from end_to_end.ws_client import CLOSE, PING, PONG, Frame, open_over_h1


@shows("plain.py:app", keep_alive_max_requests=2)
def test_a_connection_ends_after_keep_alive_max_requests(
    server: Server, connect_h1: Callable[..., Any], connect_h2: Callable[..., Any]
) -> None:
    client = connect_h1(server.listener)
    assert [client.get().header("connection") for _ in range(2)] == [None, "close"]
    client.assert_closed()
    client = connect_h2(server.listener)
    assert [client.get().status for _ in range(2)] == [200, 200]
    client.wait_for_close()
    assert client.goaway.last_stream_id == 3


@pytest.mark.slow
def test_a_connection_has_any_number_of_requests(
    serve: Callable[..., Server], connect_h1: Callable[..., Any], connect_h2: Callable[..., Any]
) -> None:
    server = serve("plain.py:app")
    result = H2Load(f"{server.listener.url}/", 20_000, 8, 32).result()
    assert (result.total, result.ok, result.failed) == (20_000, 20_000, 0), result.output
    one, other = connect_h1(server.listener), connect_h2(server.listener)
    for _ in range(1_010):  # more than Hypercorn's default
        assert one.get().header("connection") is None
        assert other.get().status == 200
    assert other.goaway is None


@shows(
    "plain.py:app",
    server_names=["127.0.0.1", "shop.test"],
    alt_svc_headers=['h3=":443"; ma=60', 'h2=":444"'],
    include_date_header=False,
    include_server_header=False,
    h11_max_incomplete_size=1024,
    h2_max_concurrent_streams=3,
    h2_max_header_list_size=1500,
    h2_max_inbound_frame_size=20_000,
)
def test_limits_and_fields_are_as_they_are_wanted(
    server: Server, connect_h1: Callable[..., Any], connect_h2: Callable[..., Any]
) -> None:
    client = connect_h1(server.listener)
    response = client.get()
    assert (response.header("date"), response.header("server")) == (None, None)
    assert response.all("alt-svc") == ['h3=":443"; ma=60', 'h2=":444"']
    assert client.get("/", headers=f"x: {'y' * 900}\r\n").status == 200
    assert client.get("/", headers=f"x: {'y' * 1100}\r\n").status == 431
    client = connect_h1(server.listener)
    client.send("GET / HTTP/1.1\r\nhost: else.test\r\n\r\n")
    assert client.response().status == 404
    client = connect_h2(server.listener)
    response = client.get()
    assert (response.header(b"date"), response.header(b"server")) == (None, None)
    settings = client.protocol.remote_settings
    assert (settings.max_concurrent_streams, settings.max_header_list_size, settings.max_frame_size) == (3, 1500, 20_000)
    assert client.get("/", headers=[("x", "y" * 1600)]).status == 431
    large = client.request("POST", "/echo", body=b"x" * 19_000)
    assert client.response(large).length == 19_000


def test_the_largest_heads_reach_the_app_and_what_no_worker_can_be_given_is_refused(
    serve: Callable[..., Server], connect_h1: Callable[..., Any], connect_h2: Callable[..., Any]
) -> None:
    most = (1 << 20) - (64 << 10)
    server = serve("plain.py:app", h11_max_incomplete_size=most, h2_max_header_list_size=most)
    worker = server.worker_pids()
    large = "v" * (most - 1000)
    client = connect_h1(server.listener)
    assert client.get("/", f"x: {large}\r\n").status == 200
    assert client.get(f"/?{large}").status == 200
    client.request("M" * 70_000)
    assert client.response().status == 400
    client = connect_h2(server.listener)
    # The package's Huffman code takes minutes for so much.
    client.protocol.encoder.encode = functools.partial(client.protocol.encoder.encode, huffman=False)
    assert client.get("/", headers=[("x", large)]).status == 200
    assert client.response(client.request("M" * 70_000)).status == 400
    assert client.get("/", headers=[("x", large + "v" * 1000)]).status == 431
    assert client.get("/").status == 200
    assert server.worker_pids() == worker


@shows("sockets.py:app", websocket_max_message_size=100, websocket_ping_interval=0.2)
def test_websocket_pings_and_message_size_are_those_configured(
    server: Server, connect_h1: Callable[..., H1Client]
) -> None:
    socket, began = open_over_h1(connect_h1(server.listener), "/echo"), time.monotonic()
    for _ in range(3):
        ping = socket.receive_frame()
        assert ping.opcode == PING
        socket.send_frame(PONG, ping.payload)
    assert 0.35 < time.monotonic() - began < 4
    socket = open_over_h1(connect_h1(server.listener), "/echo")
    socket.send("x" * 100)
    socket.send("x" * 101)
    frames: list[Frame] = []
    while not frames or frames[-1].opcode != CLOSE:
        frames.append(socket.receive_frame())
    assert b"x" * 100 in [frame.payload for frame in frames] and frames[-1].close[0] == 1009
