"""Signal handlers of apps: they are called when the drain begins, and cannot break it."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from end_to_end.h1_client import H1Client
from end_to_end.server import Server

HANDLER = """
import os, signal

async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body"})

def told(number, frame):
    os.write(2, f"the app got {signal.Signals(number).name}\\n".encode())
    if callable(old):
        old(number, frame)

old = signal.signal(signal.SIGTERM, told)
"""

IN_LOOP = """
import asyncio, os, signal

async def app(scope, receive, send):
    assert scope["type"] == "lifespan"
    await receive()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told, number)
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})

def told(number):
    os.write(2, f"the app got {number.name}\\n".encode())
"""

ON_TRIO = """
import os, signal, trio

async def watch(*, task_status):
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        task_status.started()
        async for number in signals:
            os.write(2, f"the app got {signal.Signals(number).name}\\n".encode())

async def app(scope, receive, send):
    assert scope["type"] == "lifespan"
    await receive()
    async with trio.open_nursery() as nursery:
        await nursery.start(watch)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        nursery.cancel_scope.cancel()
    await send({"type": "lifespan.shutdown.complete"})
"""

OF_WSGI = HANDLER.replace("async def app(scope, receive, send)", "def app(environ, start_response)").replace(
    '    assert scope["type"] == "http"\n', ""
).replace("await send(", "str(")


@pytest.mark.parametrize(
    ("source", "worker_class", "number"),
    [
        (HANDLER, "asyncio", "SIGTERM"),
        (HANDLER, "trio", "SIGTERM"),
        (IN_LOOP, "asyncio", "SIGTERM"),
        (IN_LOOP, "asyncio", "SIGINT"),
        (ON_TRIO, "trio", "SIGTERM"),
        (OF_WSGI, "asyncio", "SIGTERM"),
    ],
    ids=["asyncio", "trio", "loop", "loop-sigint", "receiver", "wsgi"],
)
def test_handlers_of_the_app_are_called_when_the_drain_begins(
    run: Callable[..., Server], source: str, worker_class: str, number: str
) -> None:
    server = run(source, worker_class=worker_class, hcrs={"lifespan": "auto" if "lifespan" in source else "off"})
    assert server.stop_and_check(signal.Signals[number]) == 0
    assert server.log.count(f"the app got {number}") == 1
    assert "Traceback" not in server.log


def test_handler_is_called_before_requests_have_ended_and_in_a_worker_that_is_replaced(
    run: Callable[..., Server], connect_h1: Callable[..., H1Client]
) -> None:
    """It is how event streams of many an app learn that they are to end."""
    server = run(
        """
        import anyio, signal

        going = anyio.Event()

        async def app(scope, receive, send):
            assert scope["type"] == "http"
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"first", "more_body": True})
            await going.wait()
            await send({"type": "http.response.body", "body": b"last"})

        def told(*_):
            going.set()

        signal.signal(signal.SIGTERM, told)
        """,
        graceful_timeout=20,
    )
    for number in (signal.SIGHUP, signal.SIGTERM):
        client = connect_h1(server.listener)
        client.request()
        assert client.head().status == 200 and client.chunk() == b"first"
        server.signal(number)
        assert client.chunk() == b"last"
        if number == signal.SIGHUP:
            server.wait_for_log("All workers have been replaced")
    assert server.wait_for_exit() == 0


@pytest.mark.parametrize("ending", ["loop.stop", "sys.exit"])
def test_handler_of_the_loop_that_ends_it_breaks_nothing(
    run: Callable[..., Server], connect_h1: Callable[..., H1Client], ending: str
) -> None:
    server = run(
        f"""
        import asyncio, os, signal, sys

        async def app(scope, receive, send):
            loop = asyncio.get_running_loop()
            if scope["type"] == "lifespan":
                await receive()
                loop.add_signal_handler(signal.SIGTERM, {ending})
                await send({{"type": "lifespan.startup.complete"}})
                await receive()
                print("shut down", file=sys.stderr, flush=True)
                await send({{"type": "lifespan.shutdown.complete"}})
                return
            os.write(2, b"begun\\n")
            await asyncio.sleep(1.5)
            await send({{"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]}})
            await send({{"type": "http.response.body"}})
        """,
        graceful_timeout=20,
    )
    client = connect_h1(server.listener)
    client.request()
    server.wait_for_log("begun")
    server.signal(signal.SIGTERM)
    assert client.response().status == 200
    client.close()
    assert server.wait_for_exit() == 0
    assert "shut down" in server.log


@pytest.mark.parametrize("worker_class", ["asyncio", "trio", "wsgi"])
def test_handler_that_raises_breaks_nothing(
    run: Callable[..., Server], connect_h1: Callable[..., H1Client], worker_class: str
) -> None:
    handler = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n"
    if worker_class == "wsgi":
        source = """
import os, signal, sys, time

def app(environ, start_response):
    os.write(2, b"begun\\n")
    time.sleep(1.5)
    start_response("200 OK", [("content-length", "0")])
    return []

"""
    else:
        source = """
import anyio, os, signal, sys

async def app(scope, receive, send):
    assert scope["type"] == "http"
    os.write(2, b"begun\\n")
    await anyio.sleep(1.5)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body"})

"""
    server = run(
        source + handler, graceful_timeout=20, **({} if worker_class == "wsgi" else {"worker_class": worker_class})
    )
    client = connect_h1(server.listener)
    client.request()
    server.wait_for_log("begun")
    server.signal(signal.SIGTERM)
    assert client.response().status == 200
    client.close()
    assert server.wait_for_exit() == 0
