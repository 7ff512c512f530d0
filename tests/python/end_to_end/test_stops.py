"""How long a stop takes: one bound for everything in flight, and no delay by what has nothing in flight."""

from __future__ import annotations

import signal
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from end_to_end.h1_client import H1Client
from end_to_end.h2_client import H2Client
from end_to_end.h3_client import H3Client
from end_to_end.server import Server, wait_until


def begins_to_drain(server: Server) -> None:
    """Waits until the drain has begun."""
    server.wait_for_log("Shutting down")


# ---- connections without a request ----


@pytest.mark.parametrize("kind", ["silent", "silent-tls", "tls", "kept", "h2", "h2-fresh", "h3", "h3-fresh"])
def test_connection_without_a_request_neither_delays_a_stop_nor_counts_as_cut_off(
    launch: Callable[..., Server],
    connect_h1: Callable[..., H1Client],
    connect_multiplexed: Callable[..., H2Client | H3Client],
    trust: Callable[..., ssl.SSLContext],
    kind: str,
) -> None:
    config: dict[str, Any] = {"graceful_timeout": 60, "keep_alive_timeout": 60, "hcrs": {"head_timeout": 60}}
    if kind.startswith("h3"):
        config["quic_bind"] = "127.0.0.1:0"
    tls = kind in ("silent-tls", "tls") or kind.startswith(("h2", "h3"))
    server = launch("plain.py:app", tls=tls, **config).wait_until_running()
    where = server.listener
    with socket.create_connection((where.host, where.port)) as silent:
        if kind == "tls":
            trust("http/1.1").wrap_socket(silent, server_hostname="localhost").detach()
        elif kind == "kept":
            assert connect_h1(where).get().status == 200
        elif kind in ("h2", "h3"):
            # And it reads no more, as a client that is asleep.
            assert connect_multiplexed(server.listener_speaking(kind)).get().status == 200
        elif kind in ("h2-fresh", "h3-fresh"):
            connect_multiplexed(server.listener_speaking(kind[:2]))
        assert connect_h1(where).get().status == 200  # by now the server has accepted what came before
        assert server.stop_and_check() == 0
    assert "cut off" not in server.log


@pytest.mark.parametrize("version", ["h1", "tls", "h2", "h3"])
def test_first_request_of_a_connection_that_was_accepted_is_answered(
    launch: Callable[..., Server], connect_h1: Callable[..., Any], connect_multiplexed: Callable[..., Any], version: str
) -> None:
    server = launch("plain.py:app", graceful_timeout=20, tls=version != "h1").wait_until_running()
    is_multiplexed = version in ("h2", "h3")
    client = (connect_multiplexed if is_multiplexed else connect_h1)(server.listener_speaking(version))
    connect_h1(server.listener).get()
    server.signal(signal.SIGTERM)
    begins_to_drain(server)
    assert client.get().status == 200
    if is_multiplexed:
        client.wait_for_goaway()
    else:
        client.assert_closed()
    client.close()
    assert server.wait_for_exit() == 0


def test_request_that_has_come_before_the_signal_is_answered_on_an_idle_connection(
    launch: Callable[..., Server], connect_h1: Callable[..., H1Client]
) -> None:
    server = launch("plain.py:app", graceful_timeout=20).wait_until_running()
    clients = [connect_h1(server.listener) for _ in range(8)]
    assert all(client.get().status == 200 for client in clients)
    time.sleep(1)  # the clients are idle for longer than those that are about to send another request
    server.signal(signal.SIGSTOP)
    for client in clients:
        client.request()
    server.signal(signal.SIGTERM)
    server.signal(signal.SIGCONT)
    for client in clients:
        assert client.response().status == 200
        client.assert_closed()
    assert server.wait_for_exit() == 0


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_connection_that_is_not_accepted_yet_is_answered(
    launch: Callable[..., Server], tmp_path: Path, kind: str
) -> None:
    bind = "127.0.0.1:0" if kind == "tcp" else f"unix:{tmp_path}/socket"
    server = launch("plain.py:app", bind=bind, graceful_timeout=20).wait_until_running()
    where = server.listener
    server.signal(signal.SIGSTOP)
    clients = [
        socket.create_connection((where.host, where.port)) if kind == "tcp" else socket.socket(socket.AF_UNIX)
        for _ in range(20)
    ]
    for client in clients:
        client.settimeout(20)
        if kind == "unix":
            client.connect(f"{tmp_path}/socket")
        client.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    server.signal(signal.SIGTERM)
    server.signal(signal.SIGCONT)
    for client in clients:
        with client, client.makefile("rb") as response:
            assert response.readline() == b"HTTP/1.1 200 OK\r\n"
            assert response.read().endswith(b"hello"), "and the end of the connection"
    assert server.wait_for_exit() == 0


def test_rest_of_an_unread_body_does_not_delay_a_stop(
    launch: Callable[..., Server], connect_h1: Callable[..., H1Client]
) -> None:
    server = launch("plain.py:app", graceful_timeout=60, keep_alive_timeout=60).wait_until_running()
    client = connect_h1(server.listener)
    client.send("POST /unread HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nfirst")
    assert client.response().status == 200
    assert server.stop_and_check() == 0


# ---- one bound ----


@pytest.mark.slow
def test_worker_is_given_no_more_time_than_the_edge(
    run: Callable[..., Server], connect_h1: Callable[..., H1Client]
) -> None:
    server = run(
        """
        import asyncio, os

        async def app(scope, receive, send):
            assert scope["type"] == "http"
            os.write(2, b"begun\\n")
            await asyncio.sleep(3600)
        """,
        graceful_timeout=4,
    )
    connect_h1(server.listener).request("GET", "/hangs")
    connect_h1(server.listener).request("GET", "/hangs")
    server.wait_for_log("begun", 2)
    began = time.monotonic()
    assert server.stop_and_check() == 3
    assert time.monotonic() - began < 7
    assert "2 requests were cut off: they had not finished in 4 s" in server.log
    assert "killing it" not in server.log


def test_worker_that_is_stuck_is_not_waited_for(
    launch: Callable[..., Server], connect_h1: Callable[..., H1Client], tmp_path: Path
) -> None:
    server = launch("plain.py:app", graceful_timeout=0.5).wait_until_running()
    connect_h1(server.listener).request("GET", f"/block?file={tmp_path}/blocked")
    wait_until((tmp_path / "blocked").exists, "the worker to be stuck")
    assert server.stop_and_check() == 3
    assert "does not end; killing it" in server.log


@pytest.mark.slow
def test_shutdown_has_its_own_time_from_where_it_begins(run: Callable[..., Server]) -> None:
    server = run(
        """
        import asyncio, sys

        async def app(scope, receive, send):
            assert scope["type"] == "lifespan"
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await asyncio.sleep(4)
            print("shut down", file=sys.stderr, flush=True)
            await send({"type": "lifespan.shutdown.complete"})
        """,
        graceful_timeout=0.1,
    )
    assert server.stop_and_check() == 0
    assert "shut down" in server.log


ENDLESS_THREAD = """
import threading, time

def poll():
    while True:
        time.sleep(60)

threading.Thread(target=poll, name="poller").start()
"""


@pytest.mark.parametrize("worker_class", ["asyncio", "trio", "wsgi"])
def test_thread_that_does_not_end_is_named_and_left_behind(run: Callable[..., Server], worker_class: str) -> None:
    app = "async def app(scope, receive, send):\n    raise ValueError\n"
    if worker_class == "wsgi":
        app = "def app(environ, start_response):\n    raise ValueError\n"
    server = run(ENDLESS_THREAD + app, **({} if worker_class == "wsgi" else {"worker_class": worker_class}))
    assert server.stop_and_check() == 0
    assert "poller" in server.log and "killing it" not in server.log


@pytest.mark.parametrize("worker_class", ["asyncio", "trio"])
def test_work_in_an_executor_does_not_delay_a_stop(
    run: Callable[..., Server], connect_h1: Callable[..., H1Client], worker_class: str
) -> None:
    in_thread = {
        "asyncio": "await asyncio.get_running_loop().run_in_executor(None, time.sleep, 60)",
        "trio": "await trio.to_thread.run_sync(time.sleep, 60)",
    }[worker_class]
    server = run(
        f"""
        import asyncio, time, trio

        async def app(scope, receive, send):
            assert scope["type"] == "http"
            await send({{"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]}})
            await send({{"type": "http.response.body"}})
            {in_thread}
        """,
        worker_class=worker_class,
        graceful_timeout=0.5,
    )
    assert connect_h1(server.listener).get("/report").status == 200
    assert server.stop_and_check() == 0
    assert "GET /report" in server.log and "killing it" not in server.log


# ---- work after responses ----


@pytest.mark.parametrize("worker_class", ["asyncio", "trio", "wsgi"])
def test_work_after_responses_that_is_cut_off_is_named(
    run: Callable[..., Server], connect_h1: Callable[..., H1Client], worker_class: str
) -> None:
    if worker_class == "wsgi":
        source = """
            import time

            class Body:
                def __iter__(self):
                    return iter([b"sent"])

                def close(self):
                    time.sleep(60)

            def app(environ, start_response):
                start_response("200 OK", [("content-length", "4")])
                return Body()
            """
    else:
        source = """
            import anyio

            async def app(scope, receive, send):
                assert scope["type"] == "http"
                await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
                await send({"type": "http.response.body", "body": b"sent"})
                await anyio.sleep(60)
            """
    server = run(
        source, graceful_timeout=0.5, **({} if worker_class == "wsgi" else {"worker_class": worker_class})
    )
    for target in ("/mail?to=a", "/mail?to=b", "/report"):
        assert connect_h1(server.listener).get(target).status == 200
    assert server.stop_and_check() == 0, "the clients have got their responses"
    (line,) = [line for line in server.log.splitlines() if "GET /mail" in line]
    assert "[WARNING]" in line and "3 " in line and "GET /mail (2)" in line and "GET /report" in line


@pytest.mark.parametrize("worker_class", ["asyncio", "trio"])
def test_work_after_a_response_has_the_whole_time(
    run: Callable[..., Server], connect_h1: Callable[..., H1Client], tmp_path: Path, worker_class: str
) -> None:
    server = run(
        f"""
        import anyio, pathlib

        async def app(scope, receive, send):
            assert scope["type"] == "http"
            await send({{"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]}})
            await send({{"type": "http.response.body"}})
            await anyio.sleep(2)
            pathlib.Path({str(tmp_path / "done")!r}).touch()
        """,
        worker_class=worker_class,
        graceful_timeout=15,
    )
    assert connect_h1(server.listener).get("/").status == 200
    assert server.stop_and_check() == 0
    assert (tmp_path / "done").exists() and "cut off" not in server.log


# ---- the same signal twice ----


def test_signal_that_comes_twice_at_once_is_one(
    launch: Callable[..., Server], connect_h1: Callable[..., H1Client]
) -> None:
    server = launch("plain.py:app", graceful_timeout=20).wait_until_running()
    client = connect_h1(server.listener)
    client.request("GET", "/nap?seconds=1.5")
    connect_h1(server.listener).get()
    server.signal(signal.SIGTERM)
    begins_to_drain(server)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
        server.signal(number)
    assert client.response().status == 200
    client.close()
    assert server.wait_for_exit() == 0
    assert "again" not in server.log and "lifespan.shutdown was seen" in server.log
