"""``request_timeout``: the time that a response may take, and the end of the app's task."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from end_to_end.h1_client import H1Client
from end_to_end.h2_client import H2Client
from end_to_end.h3_client import H3Client
from end_to_end.key_rows import shows
from end_to_end.routed import Ask, routes_file, with_routes
from end_to_end.server import Server, wait_until
from end_to_end.test_rules import reload
from end_to_end.ws_client import open_over_h1


@shows("plain.py:app", request_timeout=1)
def test_a_request_gets_504_and_its_task_is_cancelled(
    server: Server, ask_of: Callable[[Server], Ask], key: str
) -> None:
    ask = ask_of(server)
    got = ask(f"/until-cancelled?key={key}")
    assert (got.status, got.body) == (504, b"")
    assert ask(f"/note?key={key}").body == b"cancelled"
    assert ask("/").status == 200, "the connection is kept"
    assert "Traceback" not in server.log


@pytest.mark.parametrize("worker_class", ["asyncio", "trio"])
def test_the_task_is_cancelled_by_every_loop(
    worker_class: str, run: Callable[..., Server], connect_h1: Callable[..., H1Client]
) -> None:
    sleeps = "asyncio" if worker_class == "asyncio" else "trio"
    server = run(
        f"""
        import {sleeps}

        ended = []

        async def app(scope, receive, send):
            if scope["type"] == "lifespan":
                raise NotImplementedError
            if scope["path"] == "/sleep":
                try:
                    await {sleeps}.sleep(3600)
                finally:
                    ended.append("ended")
            await send({{"type": "http.response.start", "status": 200, "headers": []}})
            await send({{"type": "http.response.body", "body": repr(ended).encode()}})
        """,
        worker_class=worker_class,
        hcrs={"request_timeout": 1},
    )
    client = connect_h1(server.listener)
    assert client.get("/sleep").status == 504
    wait_until(lambda: client.get("/").body == b"['ended']", "the end of the task")
    assert server.stop() == 0


def test_a_response_that_has_begun_is_cut_off(
    serve: Callable[..., Server],
    connect_h1: Callable[..., H1Client],
    connect_multiplexed: Callable[..., H2Client | H3Client],
    key: str,
) -> None:
    server = serve("plain.py:app", tls=True, quic_bind="127.0.0.1:0", hcrs={"request_timeout": 1.5})
    client = connect_h1(server.listener)
    client.request("GET", f"/until-cancelled?key={key}&start=1")
    assert client.head().status == 200 and client.chunk() == b"first"
    client.assert_cut()
    for version in ("h2", "h3"):
        multiplexed = connect_multiplexed(server.listener_speaking(version))
        response = multiplexed.get(f"/until-cancelled?key={key}-{version}&start=1")
        assert (response.status, response.reset) == (200, multiplexed.errors.CANCEL)
    for note in (key, f"{key}-h2", f"{key}-h3"):
        assert multiplexed.get(f"/note?key={note}").body == b"cancelled"


def test_requests_that_wait_for_a_worker_time_out(
    serve: Callable[..., Server], tmp_path: Path, ask_of: Callable[[Server], Ask], connect_h1: Callable[..., H1Client]
) -> None:
    routes = [{"path": "/nap", "app": True, "request_timeout": 0}]
    rules = {"request_timeout": 1, "error_pages": {"504": "text:slow"}, "start_credits": 1}
    server = with_routes(serve, tmp_path, routes, hcrs=rules)
    blocked = connect_h1(server.listener)
    blocked.request("GET", "/nap?seconds=3")
    got = ask_of(server)("/note?key=never")
    assert (got.status, got.body) == (504, b"slow")
    assert blocked.response().status == 200, "a route without a timeout"


def test_websockets_have_no_timeout(run: Callable[..., Server], connect_h1: Callable[..., H1Client]) -> None:
    server = run(
        """
        import asyncio

        async def app(scope, receive, send):
            if scope["type"] == "websocket":
                await receive()
                await send({"type": "websocket.accept"})
                message = await receive()
                await send({"type": "websocket.send", "text": message["text"]})
            elif scope["type"] == "http":
                await asyncio.sleep(3600)
        """,
        hcrs={"request_timeout": 1},
    )
    socket = open_over_h1(connect_h1(server.listener), "/")
    assert connect_h1(server.listener).get("/").status == 504, "a request that was made later"
    socket.send("still here")
    assert socket.receive() == "still here"
    server.stop()


def test_the_timeout_changes_with_sighup(
    serve: Callable[..., Server], tmp_path: Path, connect_h1: Callable[..., H1Client], key: str
) -> None:
    server = with_routes(serve, tmp_path, [])
    routes_file(tmp_path, [], hcrs={"request_timeout": 1})
    reload(server, 1)
    assert connect_h1(server.listener).get(f"/until-cancelled?key={key}").status == 504
