"""The edge's memory stays bounded whatever clients and apps leave unread, and other requests are not delayed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from end_to_end.h1_client import H1Client
from end_to_end.h2_client import H2Client
from end_to_end.h3_client import H3Client
from end_to_end.server import Server, wait_until
from end_to_end.ws_client import BINARY, Deflate, frame, open_over_h2

MIB = 1 << 20
GIB = 1 << 30

#: The bound for anything that one connection can do.
BOUND = 100 * MIB


def show(server: Server, what: str) -> None:
    now, most = server.memory()
    print(f"\n{what}: the edge holds {now / MIB:.1f} MiB, at most {most / MIB:.1f} MiB")


def assert_bounded(server: Server, what: str) -> None:
    show(server, what)
    assert server.memory()[1] < BOUND, what


def quick_requests(client: Any, count: int = 20) -> None:
    """Other streams of the connection answer."""
    for _ in range(count):
        assert client.get(deadline=5).body == b"hello"


def test_edge_at_rest_is_small(serve: Callable[..., Server]) -> None:
    server = serve("plain.py:app", tls=True, workers=2)
    show(server, "at rest")
    assert server.memory()[0] < 30 * MIB


@pytest.mark.slow
def test_thousand_idle_tls_connections_are_small(
    serve: Callable[..., Server], connect_h2: Callable[..., H2Client]
) -> None:
    server = serve("plain.py:app", tls=True, workers=2, keep_alive_timeout=120, backlog=1024)
    clients = [connect_h2(server.listener) for _ in range(1000)]
    for client in clients:
        client.ping()
    show(server, "with 1,000 idle TLS connections of HTTP/2")
    assert server.memory()[0] < 100 * MIB
    assert clients[0].get().body == b"hello"
    assert clients[-1].get().body == b"hello"


def test_unfinished_messages_of_one_connection_share_a_bound(
    serve: Callable[..., Server], connect_h2: Callable[..., H2Client]
) -> None:
    # Each first fragment of 15 KB inflates to 15 MiB, and the rest never comes.
    server = serve("sockets.py:app")
    client = connect_h2(server.listener, window=1 << 16)
    offer = [("sec-websocket-extensions", "permessage-deflate")]
    sockets = [open_over_h2(client, "/echo", offer) for _ in range(60)]
    bomb = frame(BINARY, Deflate("client_no_context_takeover").pack(bytes(15 * MIB)), fin=False, rsv=4)
    for socket in sockets:
        socket.send_bytes(bomb)
    refused = 0
    while refused < 58:
        client.wait(lambda: any(client.streams[socket.transport.stream].body for socket in sockets), "a Close frame")
        for socket in [socket for socket in sockets if client.streams[socket.transport.stream].body]:
            assert socket.closed()[0] == 1009
            sockets.remove(socket)
            refused += 1
    assert_bounded(server, "with 60 unfinished messages")
    other = open_over_h2(client, "/echo")
    other.send(b"x" * 60_000)
    assert other.receive() == b"x" * 60_000, "small messages pass all the same"


@pytest.mark.parametrize("tls", [True, False], ids=["tls", "cleartext"])
def test_gibibyte_for_a_client_that_does_not_read(
    serve: Callable[..., Server], connect_h2: Callable[..., Any], connect_h1: Callable[..., Any], key: str, tls: bool
) -> None:
    server = serve("plain.py:app", tls=tls)
    client = connect_h2(server.listener, window=1 << 18)
    stream = client.request("GET", f"/download?size={GIB}&piece={4 * MIB}&key={key}")
    client.held.add(stream)
    client.counted.add(stream)
    client.wait(lambda: client.streams[stream].length == 1 << 18, "a full window")
    ask = connect_h1(server.listener)
    quick_requests(client)
    assert int(ask.get(f"/progress?key={key}").body) < 16 * MIB, "the app has been stopped"
    # A slow reader: a little at a time.
    for _ in range(20):
        before = client.streams[stream].length
        client.release(stream)
        client.held.add(stream)
        client.wait(lambda before=before: client.streams[stream].length >= before + (1 << 17), "the next piece")
    quick_requests(client)
    assert_bounded(server, "a gibibyte that is hardly read")
    client.reset(stream)
    quick_requests(client, 3)


def test_gibibyte_for_an_h1_client_that_does_not_read(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client], key: str
) -> None:
    server = serve("plain.py:app")
    client, ask = connect_h1(server.listener, receive_buffer=1 << 16), connect_h1(server.listener)
    client.request("GET", f"/download?size={GIB}&piece={4 * MIB}&key={key}&length=1")
    assert client.head().status == 200
    length, until = 0, time.monotonic() + 2
    while time.monotonic() < until:
        length += len(client.exactly(1 << 16))
        time.sleep(0.02)  # reads slowly
    assert int(ask.get(f"/progress?key={key}").body) < length + 32 * MIB
    assert_bounded(server, "a gibibyte that is hardly read over HTTP/1.1")


def test_gibibyte_at_full_speed_is_bounded_as_well(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client]
) -> None:
    server = serve("plain.py:app")
    client = connect_h1(server.listener)
    client.request("GET", f"/download?size={GIB}&piece={MIB}&length=1")
    assert client.head().status == 200
    length = len(client._input)
    room = memoryview(bytearray(MIB))
    while length < GIB:
        got = client.socket.recv_into(room)
        assert got
        length += got
    assert length == GIB
    assert_bounded(server, "a gibibyte at full speed")


def test_gibibyte_for_an_app_that_reads_slowly(
    serve: Callable[..., Server], connect_h2: Callable[..., Any], connect_h1: Callable[..., Any], key: str
) -> None:
    server = serve("plain.py:app", tls=True)
    client, ask = connect_h2(server.listener), connect_h1(server.listener)
    stream = client.request("POST", f"/digest?gate={key}&pieces=3", [("content-length", str(GIB))], end=False)
    sent, piece = 0, bytes(16_384)
    # What the windows take at once, and no more.
    while True:
        room = min(client.room(stream), len(piece))
        if room == 0:
            client.ping()
            if client.room(stream) == 0 and ask.get(f"/progress?key={key}").status == 200:
                break
            continue
        client.send(stream, piece[:room])
        sent += room
    assert sent < 16 * MIB
    quick_requests(client)
    assert_bounded(server, f"an upload of which the app has left {sent} bytes unread")
    client.reset(stream)
    quick_requests(client, 3)


@pytest.mark.slow
def test_gibibyte_upload_at_the_speed_of_the_app(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client]
) -> None:
    server = serve("plain.py:app")
    client = connect_h1(server.listener, deadline=60)
    client.send(f"POST /digest HTTP/1.1\r\nhost: x\r\ncontent-length: {GIB}\r\n\r\n")
    piece = bytes(MIB)
    for _ in range(GIB // MIB):
        client.send(piece)
    assert json.loads(client.response().body)["bytes"] == GIB
    assert_bounded(server, "an upload of a gibibyte at full speed")


@pytest.mark.parametrize("tls", [True, False], ids=["tls", "cleartext"])
def test_hundred_streams_whose_bodies_the_app_does_not_read(
    serve: Callable[..., Server], connect_h2: Callable[..., Any], connect_h1: Callable[..., Any], key: str, tls: bool
) -> None:
    """Over QUIC heads count for the connection's window too, so that a client that has filled it has no other stream."""
    server = serve("plain.py:app", tls=tls)
    client, ask = connect_h2(server.listener), connect_h1(server.listener)
    client.ping()  # the server's settings hold from now on
    assert client.protocol.remote_settings.max_concurrent_streams == 100
    streams = [client.request("POST", f"/unread?key={key}", end=False) for _ in range(98)]
    sent = client.send_what_fits(dict.fromkeys(streams, MIB))
    assert sent >= 2 * MIB
    assert ask.get(f"/note?key={key}").body == b"begun"
    quick_requests(client)
    upload = client.request("POST", "/digest", body=bytes(MIB))
    assert json.loads(client.response(upload).body)["bytes"] == MIB, "an upload beside them has room"
    assert_bounded(server, f"98 streams with {sent} bytes that nobody reads")
    ask.get(f"/go?key={key}")
    for stream in streams:
        assert client.head(stream).status == 200
    quick_requests(client, 3)


@pytest.mark.parametrize("version", ["h2", "h3"])
def test_hundred_downloads_that_the_client_does_not_read(
    serve: Callable[..., Server], connect_multiplexed: Callable[..., H2Client | H3Client], key: str, version: str
) -> None:
    server = serve("plain.py:app", tls=True)
    client = connect_multiplexed(server.listener_speaking(version), window=65_535)
    streams = [client.request("GET", f"/download?size={16 * MIB}&piece={MIB}&key={key}-{number}") for number in range(98)]
    client.held.update(streams)
    client.wait(lambda: all(map(client.is_full, streams)), "full windows")
    quick_requests(client)
    assert_bounded(server, "98 downloads that nobody reads")


def test_many_small_frames_are_bounded(
    serve: Callable[..., Server], connect_h2: Callable[..., H2Client], key: str
) -> None:
    server = serve("plain.py:app")
    client = connect_h2(server.listener)
    stream = client.request("POST", f"/unread?key={key}", end=False)
    frames = bytearray()
    for _ in range(60_000):
        frames += b"\0\0\1\0\0" + stream.to_bytes(4, "big") + b"x"
    client.socket.sendall(frames)
    client.protocol.streams[stream].outbound_flow_control_window -= 60_000
    client.ping()
    assert_bounded(server, "60,000 DATA frames of one byte")
    quick_requests(client, 3)


@pytest.mark.slow
def test_memory_comes_back_after_a_burst(
    serve: Callable[..., Server], connect_h2: Callable[..., H2Client], key: str
) -> None:
    server = serve("plain.py:app", keep_alive_max_requests=1_000_000)
    at_rest = server.memory()[0]
    clients = [connect_h2(server.listener, window=1 << 20) for _ in range(20)]
    for client in clients:
        for number in range(20):
            client.held.add(client.request("GET", f"/download?size={4 * MIB}&key={key}-{number}"))
    for client in clients:
        client.ping()
    show(server, "400 downloads that nobody reads")
    assert server.memory()[1] < at_rest + 400 * MIB, "a mebibyte for each"
    assert server.shared_memory() > MIB, "blocks of the link"
    for client in clients:
        client.close()
    # The allocator gives back what it has not needed for a while, and looks for it while it works.
    other = connect_h2(server.listener)
    wait_until(lambda: other.get() and server.memory()[0] < at_rest + 32 * MIB, "the memory to come back")
    wait_until(lambda: other.get() and server.shared_memory() < MIB, "the memory of blocks to come back")
    show(server, "after them")
