"""Draining: requests in flight finish, new connections are refused, the app's shutdown runs, and the exit code reports it."""

from __future__ import annotations

import os
import signal
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h2.errors
import httpx
import pytest

from end_to_end.h1_client import Closed, H1Client
from end_to_end.h2_client import H2Client
from end_to_end.h3_client import H3Client
from end_to_end.server import Server, wait_until


def refuses(server: Server, number: int = 0) -> bool:
    """Whether new connections are refused."""
    where = server.listeners[number]
    try:
        socket.create_connection((where.host, where.port), timeout=1).close()
    except (ConnectionRefusedError, ConnectionResetError):
        return True  # or was in the backlog when the listener was closed
    return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_idle_server_ends_at_once_and_well(serve: Callable[..., Server], number: Any) -> None:
    server = serve("plain.py:app", workers=2, graceful_timeout=60)
    server.signal(number)
    assert server.wait_for_exit() == 0, "long before graceful_timeout"
    assert server.output == ""
    assert server.log.count("lifespan.shutdown was seen") == 2
    assert f"Shutting down ({signal.Signals(number).name})" in server.log
    server.wait_for_workers_end()


def test_h2_request_under_way_finishes_and_goaway_says_the_rest(
    serve: Callable[..., Server], connect_h2: Callable[..., H2Client], key: str
) -> None:
    server = serve("plain.py:app", tls=True, graceful_timeout=20)
    client, second = connect_h2(server.listener), connect_h2(server.listener)
    waiting = client.request("GET", f"/gate?key={key}")
    assert second.get(f"/note?key={key}-begun").status == 200
    go = second.request("POST", f"/go?key={key}", end=False)
    second.ping()
    server.signal(signal.SIGTERM)
    assert client.wait_for_goaway().error_code == h2.errors.ErrorCodes.NO_ERROR
    second.wait_for_goaway()
    wait_until(lambda: refuses(server), "new connections to be refused")
    assert server.is_running
    second.send(go, b"", end=True)
    assert second.response(go).status == 200
    response = client.response(waiting)
    assert (response.status, response.body) == (200, b"through")
    client.wait_for_close()
    assert server.wait_for_exit() == 0
    assert "lifespan.shutdown was seen" in server.log
    server.wait_for_workers_end()


def test_h1_request_under_way_finishes_and_the_connection_is_closed(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client], tmp_path: Path
) -> None:
    server = serve("plain.py:app", graceful_timeout=20)
    client, idle = connect_h1(server.listener), connect_h1(server.listener)
    assert idle.get().status == 200
    client.request("GET", "/nap?seconds=1")
    connect_h1(server.listener).get()  # the request before has reached its worker
    server.signal(signal.SIGTERM)
    idle.assert_closed()
    wait_until(lambda: refuses(server), "new connections to be refused")
    response = client.response()
    assert (response.status, response.header("connection")) == (200, "close")
    client.assert_closed()
    client.close()
    idle.close()
    assert server.wait_for_exit() == 0


def test_a_response_of_the_edge_itself_says_that_the_connection_is_closed(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client]
) -> None:
    server = serve(graceful_timeout=20)
    client = connect_h1(server.listener)
    client.send("GET / HTTP/1.1\r\n")
    assert connect_h1(server.listener).get().status == 200  # the half of a head before has been read
    server.signal(signal.SIGTERM)
    wait_until(lambda: refuses(server), "new connections to be refused")
    client.send("host: a\r\n\r\n")
    response = client.response()
    assert (response.status, response.header("connection")) == (200, "close")
    client.assert_closed()
    assert server.wait_for_exit() == 0


def test_response_that_has_begun_is_finished(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client], key: str
) -> None:
    server = serve("plain.py:app", graceful_timeout=20)
    client = connect_h1(server.listener, receive_buffer=1 << 16)
    client.request("GET", "/download?size=20000000&length=1")
    assert client.head().status == 200
    server.signal(signal.SIGTERM)
    wait_until(lambda: refuses(server), "new connections to be refused")
    assert len(client.exactly(20_000_000)) == 20_000_000
    client.assert_closed()
    client.close()
    assert server.wait_for_exit() == 0


def test_graceful_timeout_cuts_off_what_is_left(
    launch: Callable[..., Server], connect_h1: Callable[..., Any], connect_h2: Callable[..., Any], key: str
) -> None:
    server = launch("plain.py:app", graceful_timeout=0.5)
    server.wait_until_running()
    h1, begun, h2_client = (connect_h1(server.listener), connect_h1(server.listener), connect_h2(server.listener))
    h1.request("GET", "/forever?key=1")
    begun.request("GET", f"/until-disconnect?key={key}&start=1")
    assert begun.head().status == 200
    assert begun.chunk() == b"first"
    stream = h2_client.request("GET", "/forever?key=2")
    h2_client.get("/note?key=2")
    server.signal(signal.SIGTERM)
    response = h2_client.response(stream)
    assert response.status == 503 or response.reset == h2.errors.ErrorCodes.CANCEL
    assert h1.response().status == 503
    with pytest.raises(Closed):
        begun.chunk()
    for client in (h1, begun, h2_client):
        client.close()
    assert server.wait_for_exit() == 3, "the exit code says that requests were cut off"
    assert "lifespan.shutdown was seen" in server.log
    server.wait_for_workers_end()


def test_second_signal_cuts_off_at_once(launch: Callable[..., Server], connect_h1: Callable[..., H1Client]) -> None:
    server = launch("plain.py:app", graceful_timeout=60)
    server.wait_until_running()
    client = connect_h1(server.listener)
    client.request("GET", "/forever")
    connect_h1(server.listener).get("/note?key=forever")
    server.signal(signal.SIGTERM)
    server.wait_for_log("Shutting down")

    def insist() -> bool:
        server.signal(signal.SIGTERM)  # a repetition counts after a second
        return "Cutting off requests in flight (SIGTERM again)" in server.log

    wait_until(insist, "a repetition to count")
    client.close()
    assert server.wait_for_exit() != 0
    server.wait_for_workers_end()


def test_signal_to_the_whole_group_does_not_end_workers_early(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client]
) -> None:
    """As a terminal or a service manager sends it."""
    server = serve("plain.py:app", graceful_timeout=20)
    client = connect_h1(server.listener)
    client.request("GET", "/nap?seconds=0.5")
    connect_h1(server.listener).get()
    for pid in server.worker_pids():
        os.kill(pid, signal.SIGTERM)
        os.kill(pid, signal.SIGINT)
    server.signal(signal.SIGTERM)
    assert client.response().status == 200
    client.close()
    assert server.wait_for_exit() == 0


def test_signal_during_the_start_ends_the_server(launch: Callable[..., Server]) -> None:
    server = launch("lifespans.py:hangs", workers=2)
    wait_until(server.worker_pids, "the workers to start")
    server.signal(signal.SIGTERM)
    assert server.wait_for_exit() == 0
    server.wait_for_workers_end()


def test_background_work_after_a_response_is_finished(
    serve: Callable[..., Server], trust: Callable[..., ssl.SSLContext], tmp_path: Path
) -> None:
    server = serve("frameworks.py:starlette", graceful_timeout=10)
    done = tmp_path / "done"
    with httpx.Client() as client:
        assert client.get(server.listener.url + f"/background?file={done}").text == "later"
    server.signal(signal.SIGTERM)
    server.wait_for_log("Shutting down")
    (tmp_path / "done.go").touch()
    assert server.wait_for_exit() == 0
    assert done.read_text() == "done"


@pytest.mark.parametrize("version", ["h2", "h3"])
def test_slow_reader_is_not_cut_off_before_its_time(
    serve: Callable[..., Server], connect_multiplexed: Callable[..., H2Client | H3Client], version: str
) -> None:
    server = serve("plain.py:app", graceful_timeout=20)
    client = connect_multiplexed(server.listener_speaking(version), window=65_535)
    stream = client.request("GET", "/download?size=300000")
    client.held.add(stream)
    client.wait(lambda: client.is_full(stream), "a full window")
    server.signal(signal.SIGTERM)
    client.wait_for_goaway()
    client.release(stream)
    assert client.response(stream).length == 300_000
    client.wait_for_close()
    assert server.wait_for_exit() == 0
