"""Each client gets the answer to its own request, or is refused in words, however many wait, however many have given up
and however many workers stand still; and nothing is run for who has gone."""

from __future__ import annotations

import itertools
import json
import os
import resource
import signal
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from end_to_end.blocked_workers import (
    CLOSE_WAIT,
    ESTABLISHED,
    blocked,
    everything_is_read,
    numbers_run,
    patient,
    unread,
)
from end_to_end.crowd import Crowd, Key, start_and_reset
from end_to_end.h1_client import H1Client
from end_to_end.server import Listening, Server, wait_until

MIB = 1 << 20

#: Streams of one connection, as the server allows them.
STREAMS = 100
#: Resets of one connection that stay within the budget for a burst, which is 500.
RESETS = 480
#: For close(): the peer gets a reset instead of an orderly end.
ABORT = struct.pack("ii", 1, 0)


class Waiting:
    """Clients of HTTP/1.1 that have asked for their own number and wait."""

    def __init__(self, where: Listening) -> None:
        self.where = where
        self.clients: dict[str, H1Client] = {}

    def ask(self, *numbers: str) -> None:
        """One client more for each number."""
        for number in numbers:
            self.clients[number] = H1Client(self.where, deadline=60)
            self.clients[number].request("GET", f"/own?n={number}")

    def assert_own(self) -> None:
        """Everyone gets their own answer."""
        got = {}
        for number, client in self.clients.items():
            response = client.response()
            got[number] = (response.status, response.body.decode())
            client.close()
        assert got == {number: (200, number) for number in self.clients}


@pytest.mark.slow
@pytest.mark.parametrize("connections", [66, pytest.param(700, marks=pytest.mark.proof)])
@pytest.mark.timeout(400)
def test_more_requests_wait_in_a_worker_than_sixteen_bits_count(
    serve: Callable[..., Server], tmp_path: Path, connections: Any
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < connections + 200:
        resource.setrlimit(resource.RLIMIT_NOFILE, (connections + 200, hard))
    # What a worker does not take waits in the edge, and is refused in time.
    server = serve("numbered.py:app", workers=1, **patient(queue_timeout=10))
    gate, count = tmp_path / "gate", tmp_path / "gate.count"
    asked: dict[Key, str] = {}
    with Crowd(server.listener, connections) as crowd:
        began = time.monotonic()

        def are_there() -> bool:
            return crowd.over + int(count.read_text() or 0 if count.exists() else 0) >= len(asked)

        for connection in crowd.connections:
            for _ in range(STREAMS):
                number = str(len(asked))
                asked[crowd.ask(connection, f"/wait?gate={gate}&n={number}")] = number
            if connection.place % 20 == 19 or connection is crowd.connections[-1]:
                crowd.run(are_there, f"{len(asked)} requests to wait or to be refused", deadline=40, pause=0.02)
        print(
            f"\n{len(asked)} requests, {crowd.over} of them refused, after {time.monotonic() - began:.1f} s; "
            f"the edge holds {server.memory()[0] / MIB:.0f} MiB"
        )
        gate.touch()
        crowd.run(lambda: crowd.over == len(asked), "every answer", deadline=180)
        statuses = Counter(answer.status for answer in crowd.answers.values())
        print(f"answered: {dict(statuses)}")
        wrong = {
            number: crowd.answers[key]
            for key, number in asked.items()
            if crowd.answers[key].status != 503
            and (crowd.answers[key].status, crowd.answers[key].body.decode()) != (200, number)
        }
        assert not wrong, f"{len(wrong)} are wrong, such as {list(wrong.items())[:3]}"
        assert statuses[200] >= min(len(asked), 4096)
        # It serves on, on old connections and on new ones.
        after = [crowd.ask(old, f"/own?n=after-{old.place}") for old in crowd.connections]
        crowd.run(lambda: all(crowd.answers[key].over_at for key in after), "answers on the old connections", 60)
        for place, key in enumerate(after):
            assert crowd.answers[key].body.decode() == f"after-{place}"
    with H1Client(server.listener) as client:
        for new in range(200):
            assert client.get(f"/own?n=new-{new}").body.decode() == f"new-{new}"


@pytest.mark.slow
@pytest.mark.parametrize("crowds", [0, pytest.param(70, marks=pytest.mark.proof)], ids=["70000", "200000"])
@pytest.mark.timeout(500)
def test_answers_reach_their_own_clients_after_many_resets_behind_a_blocked_worker(
    serve: Callable[..., Server], tmp_path: Path, crowds: Any
) -> None:
    """First by several connections at once, and then one after the other, so that each request takes the place of the one
    before it for more often than sixteen bits count."""
    server = serve("numbered.py:app", workers=1, **patient())
    waiting = Waiting(server.listener)
    gone = (f"/own?n=gone-{number}" for number in itertools.count())
    with blocked(server, tmp_path / "block"):
        before = server.memory()[0]
        waiting.ask("first", "second")
        victim = H1Client(server.listener)
        victim.request("GET", "/own?n=victim")
        everything_is_read(server)
        victim.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
        victim.close()
        began, resets = time.monotonic(), 0
        for number in range(crowds):
            with Crowd(server.listener, 4) as crowd:
                resets += start_and_reset(crowd, RESETS, gone)
            if number % 10 == 0:
                waiting.ask(f"between-{number}")
        for _ in range(68_000 // RESETS):
            with Crowd(server.listener, 1) as crowd:
                resets += start_and_reset(crowd, RESETS, gone)
        print(f"\n{resets} requests were reset in {time.monotonic() - began:.1f} s")
        waiting.ask(*(f"after-{number}" for number in range(12)))
        now, most = server.memory()
        print(f"the edge holds {now / MIB:.1f} MiB, at most {most / MIB:.1f} MiB, before {before / MIB:.1f} MiB")
    waiting.assert_own()
    ran = numbers_run(server)
    assert sorted(ran) == sorted(waiting.clients), "what was reset is not run, and nothing is run twice"
    assert most < before + 16 * MIB


@pytest.mark.parametrize("how", ["fin", "rst", "h2-reset", "h2-close"])
def test_requests_of_clients_that_have_gone_are_not_run(serve: Callable[..., Server], tmp_path: Path, how: str) -> None:
    """More of them than a worker is sent before it has begun any, so that some have waited in the edge. A client that has
    only closed its side may still read: such requests are given up after a moment, which is waited for."""
    server = serve("numbered.py:app", workers=1, **patient())
    count = 80
    waiting = Waiting(server.listener)
    with blocked(server, tmp_path / "block"):
        waiting.ask("first")
        if how.startswith("h2"):
            with Crowd(server.listener, 1) as crowd:
                connection = crowd.connections[0]
                keys = [crowd.ask(connection, f"/own?n=gone-{number}") for number in range(count)]
                crowd.ping(connection)
                crowd.run(lambda: connection.pings == 1, "the requests to be read")
                if how == "h2-reset":
                    for key in keys:
                        crowd.reset(key)
                    crowd.ping(connection)
                    crowd.run(lambda: connection.pings == 2, "the resets to be read")
        else:
            clients = []
            for number in range(count):
                clients.append(H1Client(server.listener))
                clients[-1].request("GET", f"/own?n=gone-{number}")
            everything_is_read(server)
            for client in clients:
                if how == "rst":
                    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
                client.close()
            wait_until(lambda: not unread(server, CLOSE_WAIT), "the edge to give up clients that have gone")
        everything_is_read(server)
        waiting.ask("last")
        everything_is_read(server)
    waiting.assert_own()
    ran = numbers_run(server)
    assert sorted(ran) == ["first", "last"], ran


@pytest.mark.parametrize("how", ["fin", "rst"])
@pytest.mark.parametrize("what", ["upload", "pipelined"])
def test_clients_that_leave_behind_bytes_that_are_not_read_are_noticed(
    serve: Callable[..., Server], tmp_path: Path, what: str, how: str
) -> None:
    """While its request waits, the edge reads no more of a body, or of the requests behind it, than it has room for."""
    server = serve("numbered.py:app", workers=1, **patient())
    count = 40
    with blocked(server, tmp_path / "block"):
        descriptors = Path(f"/proc/{server.pid}/fd")
        # The link to the worker may need one more while its socket is full.
        before = len(list(descriptors.iterdir())) + 1
        clients = [H1Client(server.listener) for _ in range(count)]
        for client in clients:
            if what == "upload":
                client.send(b"POST /upload?n=gone HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\n" + bytes(250_000))
            else:
                client.send(f"GET /own?n=gone HTTP/1.1\r\nhost: a\r\nx: {'x' * 6000}\r\n\r\n".encode() * 20)
        wait_until(lambda: sum(map(bool, unread(server, ESTABLISHED))) == count, "the edge to read no more")
        for client in clients:
            if how == "rst":
                client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
            client.close()
        wait_until(lambda: len(list(descriptors.iterdir())) <= before, "the edge to give up clients that have gone")
    assert numbers_run(server) == []


@pytest.mark.parametrize("stopped", list(itertools.combinations(range(4), 2)), ids=lambda pair: f"{pair[0]}-{pair[1]}")
def test_two_stopped_workers_of_four_delay_no_request(
    serve: Callable[..., Server], connect_h1: Callable[..., Any], connect_h2: Callable[..., Any], stopped: Any
) -> None:
    server = serve("numbered.py:app", workers=4, hcrs={"lifespan": "off"})
    pids = server.worker_pids()
    idle = set(pids) - {pids[place] for place in stopped}
    h1, h2 = connect_h1(server.listener), connect_h2(server.listener)
    h1.get("/pid")
    slowest = 0.0
    try:
        for place in stopped:
            os.kill(pids[place], signal.SIGSTOP)
        for _ in range(40):
            began = time.monotonic()
            assert int(h1.get("/pid").body) in idle
            slowest = max(slowest, time.monotonic() - began)
        began = time.monotonic()
        for stream in [h2.request("GET", "/pid") for _ in range(90)]:
            assert int(h2.response(stream).body) in idle
        together = time.monotonic() - began
    finally:
        for place in stopped:
            os.kill(pids[place], signal.SIGCONT)
    print(f"\nthe slowest of 40 took {slowest * 1000:.0f} ms, 90 at once {together * 1000:.0f} ms")
    assert max(slowest, together) < 5, "half of queue_timeout, which is for requests that nobody takes"


def test_queue_timeout_reaches_requests_that_a_blocked_worker_was_sent(
    serve: Callable[..., Server], connect_h1: Callable[..., Any], connect_h2: Callable[..., Any], tmp_path: Path
) -> None:
    server = serve("numbered.py:app", workers=1, hcrs={"queue_timeout": 2, "lifespan": "off"})
    with blocked(server, tmp_path / "block"):
        h2 = connect_h2(server.listener)
        h1 = [connect_h1(server.listener) for _ in range(5)]
        began = time.monotonic()
        for number, client in enumerate(h1):
            client.request("GET", f"/own?n=late-{number}")
        streams = [h2.request("GET", f"/own?n=late-h2-{number}") for number in range(60)]
        streams += [h2.request("POST", f"/upload?n=late-upload-{number}", body=bytes(10_000)) for number in range(5)]
        statuses = Counter(client.response().status for client in h1)
        statuses += Counter(h2.response(stream).status for stream in streams)
        took = time.monotonic() - began
    print(f"\n{dict(statuses)} after {took:.2f} s")
    assert statuses == {503: 70} and 1.9 < took < 10
    assert numbers_run(server) == [], "what has been refused is not run"


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [4, pytest.param(15, marks=pytest.mark.proof)])
@pytest.mark.parametrize("workers", [1, 2])
def test_overload_is_served_in_the_order_of_arrival(serve: Callable[..., Server], seconds: Any, workers: int) -> None:
    """Twice as many requests as two workers can run; each keeps its worker's loop busy for 20 ms."""
    server = serve("numbered.py:app", workers=workers, **patient())
    busy, rate = 0.02, 2 * workers / 0.02
    total = int(rate * seconds)
    with Crowd(server.listener, total // STREAMS + 1) as crowd:
        sent: dict[tuple[int, int], float] = {}
        start = time.monotonic()

        def ask_what_is_due() -> bool:
            while len(sent) < total and time.monotonic() >= start + len(sent) / rate:
                connection = crowd.connections[len(sent) // STREAMS]
                key = crowd.ask(connection, f"/work?n={len(sent)}&seconds={busy}")
                crowd.flush(connection)
                sent[key] = time.monotonic()
            return crowd.over == total

        crowd.run(ask_what_is_due, "every answer", deadline=seconds * 4 + 30, pause=0.002)
        answers = [json.loads(crowd.answers[key].body) for key in sent]
        assert [int(answer["n"]) for answer in answers] == list(range(total))
        waits = sorted(answer["began"] - at for answer, at in zip(answers, sent.values(), strict=True))
        order = sorted(range(total), key=lambda number: answers[number]["began"])
        displaced = max(place - number for place, number in enumerate(order))
    print(
        f"\n{total} requests by {workers} workers: p50 {waits[total // 2]:.2f} s, longest {waits[-1]:.2f} s; "
        f"begun at most {displaced} places after their turn"
    )
    # What one worker was sent ahead may be begun after what the other was sent.
    assert displaced <= 64 * workers
