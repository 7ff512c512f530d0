"""A replaced worker finishes what it has begun; what outlasts `retire_timeout` is cut off."""

from __future__ import annotations

import hashlib
import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from end_to_end.blocked_workers import is_written
from end_to_end.h1_client import Closed, H1Client
from end_to_end.h2_client import H2Client
from end_to_end.replacing import ALL, READY, replace
from end_to_end.server import Server, is_alive, wait_until
from end_to_end.ws_client import WsClient, open_over_h1, open_over_h2


def digest_of(data: bytes) -> dict[str, object]:
    return {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}


def test_download_and_upload_under_way_finish_on_the_old_worker(
    serve: Callable[..., Server], connect_h2: Callable[..., Any], connect_h1: Callable[..., Any]
) -> None:
    server = serve("plain.py:app")
    client, h1 = connect_h2(server.listener), connect_h1(server.listener)
    old = int(client.get("/pid").body)
    size = 20 << 20
    download = client.request("GET", f"/download?size={size}&key=download")
    client.counted.add(download)
    client.held.add(download)
    client.wait(lambda: client.streams[download].length >= 1 << 16, "a part of the download")
    upload = client.request("POST", "/digest", body=b"a" * 50_000, end=False)
    h1.send("POST /digest HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100000\r\n\r\n")
    h1.send(b"b" * 50_000)
    client.ping()
    wait_until(lambda: int(client.get("/progress?key=download").body) > 0, "the download to have begun")
    server.signal(signal.SIGHUP)
    server.wait_for_log(READY)
    assert int(client.get("/pid").body) != old
    assert is_alive(old)
    client.send(upload, b"a" * 50_000, end=True)
    h1.send(b"b" * 50_000)
    assert json.loads(client.response(upload).body) == digest_of(b"a" * 100_000)
    assert json.loads(h1.response().body) == digest_of(b"b" * 100_000)
    assert is_alive(old), "the download is under way"
    client.held.discard(download)
    client.release(download)
    assert client.response(download).length == size
    assert client.streams[download].ended
    server.wait_for_log(ALL)
    assert not is_alive(old)
    assert int(h1.get("/pid").body) in server.worker_pids()


def test_worker_ends_before_a_slow_client_has_read_its_response(
    serve: Callable[..., Server], connect_h2: Callable[..., H2Client]
) -> None:
    server = serve("plain.py:app")
    client = connect_h2(server.listener, window=1000)
    old = int(client.get("/pid").body)
    # Less than the edge takes from a worker before the client reads; the worker is done with it.
    download = client.request("GET", "/download?size=60000&byte=7&piece=20000&key=tail")
    client.held.add(download)
    client.wait(lambda: client.streams[download].length == 1000, "what the window takes")
    assert client.get("/note?key=tail").body == b"sent"
    replace(server)
    assert not is_alive(old)
    client.held.discard(download)
    client.release(download)
    assert client.response(download).body == bytes([7]) * 60_000
    assert client.streams[download].ended


def test_slow_upload_to_a_wsgi_worker_finishes(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client]
) -> None:
    server = serve("wsgi.py:app")
    (old,) = server.worker_pids()
    client, other = connect_h1(server.listener), connect_h1(server.listener)
    client.send("POST /echo HTTP/1.1\r\nhost: localhost\r\ncontent-length: 200000\r\n\r\n")
    client.send(b"a" * 100_000)
    assert other.get("/environ").status == 200
    server.signal(signal.SIGHUP)
    server.wait_for_log(READY)
    assert is_alive(old) and other.get("/environ").status == 200
    client.send(b"b" * 100_000)
    assert client.response().body == b"a" * 100_000 + b"b" * 100_000
    server.wait_for_log(ALL)
    assert not is_alive(old)


def test_replaced_worker_has_a_time_of_its_own(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client]
) -> None:
    server = serve("plain.py:app", graceful_timeout=0.1)
    client = connect_h1(server.listener)
    client.request("GET", "/nap?seconds=2")
    assert connect_h1(server.listener).get().status == 200
    server.signal(signal.SIGHUP)
    assert client.response().status == 200
    server.wait_for_log(ALL)
    assert "cut off" not in server.log


@pytest.mark.parametrize("version", ["h1", "h2", "h3"])
def test_websocket_goes_on_until_the_grace_is_over_and_is_closed_with_1012(
    serve: Callable[..., Server], connect_h1: Callable[..., Any], connect_multiplexed: Callable[..., Any], version: str
) -> None:
    server = serve("sockets.py:app", hcrs={"retire_timeout": 2})
    if version == "h1":
        socket: WsClient = open_over_h1(connect_h1(server.listener), "/echo")
    else:
        socket = open_over_h2(connect_multiplexed(server.listener_speaking(version)), "/echo")
    began = time.monotonic()
    server.signal(signal.SIGHUP)
    server.wait_for_log(READY)
    socket.send("still here")
    assert socket.receive() == "still here"
    assert socket.closed() == (1012, "")
    assert 2 <= time.monotonic() - began < 10
    server.wait_for_log(ALL)
    assert "ERROR" not in server.log


def test_app_receives_the_close_of_its_websocket(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client], tmp_path: Path
) -> None:
    app = tmp_path / "last_words.py"
    app.write_text(
        "import os\n"
        "async def app(scope, receive, send):\n"
        "    assert scope['type'] == 'websocket'\n"
        "    await receive()\n"
        "    await send({'type': 'websocket.accept'})\n"
        "    os.write(2, f'the app received {await receive()}\\n'.encode())\n"
    )
    server = serve(f"{app}:app", hcrs={"retire_timeout": 0.3, "lifespan": "off"})
    socket = open_over_h1(connect_h1(server.listener), "/")
    replace(server)
    assert socket.closed() == (1012, "")
    server.wait_for_log(r"the app received \{'type': 'websocket.disconnect', 'code': 1012, 'reason': ''\}")
    assert "ERROR" not in server.log


@pytest.mark.parametrize("version", ["h2", "h3"])
def test_request_that_outlasts_the_grace_gets_502_and_the_worker_ends_in_order(
    serve: Callable[..., Server], connect_h1: Callable[..., Any], connect_multiplexed: Callable[..., Any], version: str
) -> None:
    server = serve("plain.py:app", hcrs={"retire_timeout": 0.5}, keep_alive_timeout=60)
    client, h1 = connect_multiplexed(server.listener_speaking(version)), connect_h1(server.listener)
    waiting = client.request("GET", "/gate?key=never")
    begun = client.request("GET", "/until-disconnect?key=never&start=1")
    client.wait(lambda: client.streams[begun].length == 5, "the first piece")
    h1.request("GET", "/until-disconnect?key=h1&start=1")
    assert h1.head().status == 200 and h1.chunk() == b"first"
    replace(server)
    assert client.response(waiting).status == 502
    assert client.response(begun).reset == client.errors.INTERNAL_ERROR
    with pytest.raises(Closed):
        h1.chunk()
    assert client.get().status == 200 and client.goaway is None
    assert "lifespan.shutdown was seen" in server.log
    assert "killing it" not in server.log


@pytest.mark.slow
def test_worker_that_is_blocked_gives_up_what_it_has_not_begun_and_is_killed(
    serve: Callable[..., Server], connect_h2: Callable[..., H2Client], tmp_path: Path
) -> None:
    server = serve("plain.py:app", hcrs={"retire_timeout": 0.5})
    client = connect_h2(server.listener)
    blocked = client.request("GET", f"/block?file={tmp_path}/blocked")
    wait_until(lambda: is_written(tmp_path / "blocked"), "the worker to be blocked")
    old = int((tmp_path / "blocked").read_text())
    waiting = [client.request("POST", "/digest", body=bytes(1000)) for _ in range(50)]
    client.ping()
    server.signal(signal.SIGHUP)
    for stream in waiting:
        assert json.loads(client.response(stream).body)["bytes"] == 1000
    assert client.response(blocked).status == 502
    server.wait_for_log(f"Worker {old} does not end; killing it")
    server.wait_for_log(ALL)
    assert client.get().status == 200


def test_log_tells_how_many_a_replacement_has_cut_off(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client]
) -> None:
    server = serve("plain.py:app", hcrs={"retire_timeout": 0.5})
    clients = [connect_h1(server.listener) for _ in range(2)]
    for client in clients:
        client.request("GET", "/until-disconnect?key=never")
    assert connect_h1(server.listener).get("/note?key=never-begun").status == 200
    (old,) = server.worker_pids()
    replace(server)
    assert all(client.response().status == 502 for client in clients)
    server.wait_for_log(rf"\[WARNING\].*2 requests that worker {old} had in flight were cut off, 0\.5 s after it was replaced")
