"""``buffer_response``: a response is taken from a WSGI thread ahead of a slow client."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from end_to_end.h1_client import H1Client
from end_to_end.h2_client import H2Client
from end_to_end.key_rows import shows
from end_to_end.server import Server, wait_until

APP = """
def app(environ, start_response):
    start_response("200 OK", [])
    return [b"x" * 8192] * 100 if environ["PATH_INFO"] == "/large" else [b"small"]
"""
LENGTH = 800 << 10


@shows("wsgi:wsgi.py:app", buffer_response="2M")
def test_a_response_is_whole(server: Server, connect_h1: Callable[..., H1Client]) -> None:
    assert connect_h1(server.listener).get("/lines?count=3").status == 200


@pytest.mark.parametrize("version", ["h2", "h3"])
@pytest.mark.parametrize("rules", [{"buffer_response": "1M"}, {}], ids=["buffered", "by default"])
def test_a_thread_is_free_while_its_response_is_read_slowly(
    rules: dict[str, Any], run: Callable[..., Server], connect_multiplexed: Callable[..., Any], version: str
) -> None:
    server = run(APP, hcrs={"wsgi_threads": 1, **rules})
    where = server.listener_speaking(version)
    slow, other = connect_multiplexed(where, window=1000), connect_multiplexed(where)
    large = slow.request("GET", "/large")
    slow.held.add(large)
    slow.wait(lambda: slow.is_full(large), "as much as the window allows")
    length = slow.streams[large].length
    small = other.request("GET", "/")
    if rules:
        assert other.response(small).body == b"small"
        assert slow.streams[large].length == length
    else:
        for _ in range(3):
            other.ping()
        assert not other.streams[small].is_over, "the only thread waits for the client"
    slow.held.clear()
    slow.release(large)
    assert len(slow.response(large).body) == LENGTH
    assert other.response(small).body == b"small"
    assert server.stop() == 0
    server.assert_nothing_left()


def test_threads_share_a_bounded_room(run: Callable[..., Server], connect_h2: Callable[..., H2Client]) -> None:
    source = APP.replace("* 100", "* 4096")
    server = run(source, hcrs={"wsgi_threads": 8, "buffer_response": "32M"})
    before = server.memory()[0]
    slow = connect_h2(server.listener, window=1000)
    streams = [slow.request("GET", "/large") for _ in range(6)]
    slow.held.update(streams)
    for stream in streams:
        slow.head(stream)
    # 192 MiB are sent; two responses fit.
    wait_until(lambda: server.memory()[0] - before > 40 << 20, "the room to be used", 60)
    assert server.memory()[0] - before < 100 << 20
    for stream in streams:
        slow.reset(stream)
    assert server.stop() == 0
    server.assert_nothing_left()
