"""Requests behind blocked workers, and messages of no bytes, do not fill the edge or a worker."""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from end_to_end.blocked_workers import blocked, everything_is_read, numbers_run, patient
from end_to_end.crowd import Crowd, start_and_reset
from end_to_end.h1_client import H1Client
from end_to_end.h2_client import H2Client
from end_to_end.server import Server, wait_until
from end_to_end.ws_client import TEXT, frame, open_over_h1, open_over_h2

MIB = 1 << 20

#: What one client, or a handful, may make the edge or a worker hold beyond what it held before, in bytes.
BOUND = 16 * MIB

#: What a connection may hold beside what the queue counts, in bytes: the rest of one read of its socket, and what of it the
#: protocol has not understood yet.
CONNECTION = (48 << 10) + (32 << 10)

#: A text message without a byte, masked by a key of zeros.
EMPTY = frame(TEXT)[:2] + bytes(4)


class Memory:
    """How much the edge and its workers have grown at most."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.pids = [server.pid, *server.worker_pids()]
        self.before = {pid: server.memory(pid)[0] for pid in self.pids}

    def growth(self) -> dict[int, float]:
        """By process, the edge first, in MiB."""
        return {pid: (self.server.memory(pid)[1] - self.before[pid]) / MIB for pid in self.pids}

    def assert_bounded(self, what: str, bound: int = BOUND) -> None:
        """Says what it is and checks it."""
        edge, *workers = self.growth().values()
        told = f"{what}: the edge grew by {edge:.1f} MiB, workers by " + ", ".join(f"{grown:.1f}" for grown in workers)
        print(f"\n{told}")
        assert max(edge, *workers) < bound / MIB, told


@pytest.mark.slow
@pytest.mark.parametrize("clients", [20, pytest.param(200, marks=pytest.mark.proof)])
def test_uploads_behind_blocked_workers_are_held_once(
    serve: Callable[..., Server], tmp_path: Path, clients: Any
) -> None:
    """Each is given back by one worker to the other no more than once, and is refused in time."""
    server = serve("numbered.py:app", workers=2, hcrs={"queue_timeout": 3, "lifespan": "off"})
    size = 100_000
    with blocked(server, tmp_path / "block", 2):
        memory = Memory(server)
        began = time.monotonic()
        uploads = [H1Client(server.listener) for _ in range(clients)]
        for number, client in enumerate(uploads):
            client.send(f"POST /upload?n={number} HTTP/1.1\r\nhost: x\r\ncontent-length: {size}\r\n\r\n".encode())
        statuses: Counter[int] = Counter()
        threads = [threading.Thread(target=upload, args=(client, size, statuses)) for client in uploads]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        took = time.monotonic() - began
        bound = BOUND + 2 * clients * size
        memory.assert_bounded(f"{clients} uploads of {size} bytes for {took:.1f} s, {dict(statuses)}", bound)
    assert statuses == {503: clients} and 2.9 < took < 8
    assert numbers_run(server) == []


def upload(client: H1Client, size: int, statuses: Counter[int]) -> None:
    """Sends a body and counts the answer's status, 0 for none."""
    try:
        client.send(bytes(size))
        statuses[client.response().status] += 1
    except TimeoutError:
        statuses[0] += 1
    finally:
        client.close()


@pytest.mark.slow
def test_uploads_that_wait_behind_blocked_workers_are_served(serve: Callable[..., Server], tmp_path: Path) -> None:
    server = serve("numbered.py:app", workers=2, **patient())
    size, clients = 100_000, [H1Client(server.listener, deadline=60) for _ in range(100)]
    with blocked(server, tmp_path / "block", 2):
        memory = Memory(server)
        for number, client in enumerate(clients):
            client.request("POST", f"/upload?n={number}", body=bytes(size))
        until = time.monotonic() + 3
        with Crowd(server.listener, 1) as crowd:
            # That time passes while workers are blocked is what is tried.
            crowd.run(lambda: time.monotonic() > until, "three seconds", pause=0.1)
        bound = BOUND + 2 * len(clients) * size
        memory.assert_bounded(f"{len(clients)} uploads of {size} bytes wait for three seconds", bound)
    for number, client in enumerate(clients):
        assert client.response().body.decode() == f"{number}: {size}"
        client.close()


@pytest.mark.slow
@pytest.mark.parametrize("clients", [500, pytest.param(3_000, marks=pytest.mark.proof)])
@pytest.mark.timeout(200)
def test_bodies_of_requests_that_wait_are_bounded_together(
    serve: Callable[..., Server], tmp_path: Path, clients: Any
) -> None:
    """Clients that have sent as much of a body as one stream takes, and a queue long enough for all of them."""
    queue_bytes = 16 * MIB
    server = serve("numbered.py:app", workers=1, **patient(queue_bytes=queue_bytes))
    body = bytes(128 << 10)
    with blocked(server, tmp_path / "block"):
        memory = Memory(server)
        uploads = [H1Client(server.listener, deadline=120) for _ in range(clients)]
        for number, client in enumerate(uploads):
            client.send(f"POST /upload?n={number} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode())
            client.socket.setblocking(False)
            client.socket.send(body)  # what the sockets take; the server reads as much of it as it will
        with Crowd(server.listener, 1) as crowd:
            until = time.monotonic() + 3
            crowd.run(lambda: time.monotonic() > until, "the server to have read what it reads", pause=0.1)
        for client in uploads:
            client.close()
        bound = BOUND + queue_bytes + clients * CONNECTION
        memory.assert_bounded(f"{clients} bodies of {len(body)} bytes wait", bound)


@pytest.mark.parametrize("resets", [1_600, pytest.param(16_000, marks=pytest.mark.proof)])
@pytest.mark.timeout(400)
def test_uploads_that_are_reset_behind_a_blocked_worker_are_forgotten(
    serve: Callable[..., Server], tmp_path: Path, resets: Any
) -> None:
    """Of 60 KB each: a worker that stands still is not sent requests whose clients have left."""
    server = serve("numbered.py:app", workers=1, **patient())
    gone = (f"/upload?n=gone-{number}" for number in itertools.count())
    body = bytes(60_000)
    with blocked(server, tmp_path / "block"):
        memory = Memory(server)
        for _ in range(resets // 400):
            with Crowd(server.listener, 4) as crowd:
                start_and_reset(crowd, 100, gone, body)
        memory.assert_bounded(f"{resets} uploads of {len(body)} bytes were reset")
    assert numbers_run(server) == [], "none of them is run"


@contextmanager
def asking(server: Server, worst: list[float]) -> Iterator[None]:
    """Another client asks all the time; the longest that it has waited is put into the list."""
    over = threading.Event()
    failures: list[BaseException] = []

    def ask() -> None:
        number = 0
        try:
            while not over.is_set():
                began = time.monotonic()
                with H1Client(server.listener) as client:
                    assert client.get(f"/own?n={number}").body.decode() == str(number)
                worst.append(time.monotonic() - began)
                number += 1
                over.wait(0.05)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(60)
    assert not failures, f"another client's request after {len(worst)} that were answered: {failures[0]!r}"
    assert worst, "another client has had an answer"


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [5, pytest.param(30, marks=pytest.mark.proof)])
@pytest.mark.parametrize("app", ["deaf", "echo"])
@pytest.mark.timeout(200)
def test_client_that_floods_with_empty_messages(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client], tmp_path: Path, app: str, seconds: Any
) -> None:
    """And reads nothing, neither what the app echoes."""
    server = serve("numbered.py:app", workers=1, hcrs={"lifespan": "off"})
    worst: list[float] = []
    memory, sent = Memory(server), 0
    client = connect_h1(server.listener)
    open_over_h1(client, f"/{app}?gate={tmp_path}/gate")
    client.socket.settimeout(0.1)
    piece = EMPTY * 20_000
    with asking(server, worst):
        until, at = time.monotonic() + seconds, 0
        while time.monotonic() < until:
            try:
                taken = client.socket.send(piece[at:])
            except TimeoutError:
                continue  # it is held, as it ought to be
            sent += taken
            at = (at + taken) % len(EMPTY)
        client.close()
        (tmp_path / "gate").touch()
    memory.assert_bounded(f"{sent // len(EMPTY)} empty messages; others waited {max(worst):.2f} s at most")
    assert max(worst) < 5


@pytest.mark.slow
@pytest.mark.parametrize("app", ["deaf", "echo"])
def test_client_that_floods_with_empty_messages_over_h2(
    serve: Callable[..., Server], connect_h2: Callable[..., H2Client], tmp_path: Path, app: str
) -> None:
    server = serve("numbered.py:app", workers=1, hcrs={"lifespan": "off"})
    worst: list[float] = []
    memory, sent = Memory(server), 0
    client = connect_h2(server.listener)
    socket = open_over_h2(client, f"/{app}?gate={tmp_path}/gate").transport
    stream = socket.stream
    client.held.add(stream)
    client.counted.add(stream)
    piece = EMPTY * 2_000
    with asking(server, worst):
        until = time.monotonic() + 5
        while time.monotonic() < until:
            room = client.room(stream) // len(EMPTY) * len(EMPTY)
            if room:
                client.protocol.send_data(stream, piece[:room])
                sent += min(room, len(piece))
            client.pump(0.001 if room else 0.1)
        client.close()
        (tmp_path / "gate").touch()
    memory.assert_bounded(f"{sent // len(EMPTY)} empty messages; others waited {max(worst):.2f} s at most")
    assert max(worst) < 5


def test_websockets_that_end_while_their_app_waits_are_forgotten(
    serve: Callable[..., Server], connect_h1: Callable[..., Any], connect_h2: Callable[..., Any], tmp_path: Path
) -> None:
    """The app gives up a send that its client does not read, and returns; then the client goes. What an edge thread still
    counted would keep requests away from the worker that had them; the log's accounting is looked at after the test."""
    # A worker that the machine lets wait for a moment keeps what it was sent.
    server = serve("numbered.py:app", workers=2, hcrs={"lifespan": "off", "stall_timeout": 20})
    clients = [connect_h1(server.listener, receive_buffer=1 << 14) for _ in range(40)]
    for client in clients:
        open_over_h1(client, f"/gives-up?file={tmp_path}/given-up")
    given_up = tmp_path / "given-up"
    wait_until(lambda: given_up.exists() and given_up.read_text().count("\n") == 40, "every app to give up")
    for client in clients:
        client.close()
    everything_is_read(server)
    h2 = connect_h2(server.listener)
    for _ in range(40):  # the handshake is not over when these go
        client = connect_h1(server.listener)
        client.send(
            "GET /never-accepts HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
            "sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        client.close()
    everything_is_read(server)
    first = server.worker_pids()[0]
    os.kill(first, signal.SIGKILL)
    server.wait_for_log(rf"Worker {first} was killed by SIGKILL")
    server.wait_for_log(r"Worker \d+ is ready")
    streams = [h2.request("GET", "/nap?seconds=0.5") for _ in range(16)]
    served = Counter(h2.response(stream).body for stream in streams)
    print(f"\n{dict(served)}")
    assert sorted(served.values()) == [8, 8]


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [5, pytest.param(30, marks=pytest.mark.proof)])
@pytest.mark.parametrize("version", ["h1", "h2", "h3"])
@pytest.mark.timeout(200)
def test_app_that_floods_with_empty_messages(
    serve: Callable[..., Server],
    connect_h1: Callable[..., Any],
    connect_multiplexed: Callable[..., Any],
    version: str,
    seconds: Any,
) -> None:
    """Its client reads nothing."""
    server = serve("numbered.py:app", workers=1, hcrs={"lifespan": "off"})
    worst: list[float] = []
    memory = Memory(server)
    with asking(server, worst):
        if version == "h1":
            client = connect_h1(server.listener, receive_buffer=1 << 16)
            open_over_h1(client, "/flood")
        else:
            client = connect_multiplexed(server.listener_speaking(version), window=65_535)
            client.held.add(open_over_h2(client, "/flood").transport.stream)
        until = time.monotonic() + seconds
        with Crowd(server.listener, 1) as crowd:
            # The time is what is tried: the app sends all the while.
            crowd.run(lambda: time.monotonic() > until, "the time to pass", deadline=60, pause=0.1)
        client.close()
        answered = len(worst)
        wait_until(lambda: len(worst) > answered + 3, "answers for others after the client has gone")
    memory.assert_bounded(f"an app sent empty messages for {seconds} s; others waited {max(worst):.2f} s at most")
    assert max(worst) < 5


def test_unread_bodies_fill_the_room_of_their_connection(
    serve: Callable[..., Server], connect_h1: Callable[..., Any], connect_h2: Callable[..., Any], tmp_path: Path
) -> None:
    server = serve("numbered.py:app", workers=1, hcrs={"lifespan": "off"})
    gate = tmp_path / "blocked"
    blocking = connect_h1(server.listener)
    blocking.request("GET", f"/block?file={gate}")
    wait_until(gate.exists, "the worker to be blocked")
    client = connect_h2(server.listener)
    client.ping()  # so that the server's settings hold
    size = 1 << 20
    left = {client.request("POST", f"/upload?n={number}", end=False): size for number in range(30)}
    unread = client.send_what_fits(left)
    assert (2 << 20) <= unread < (2 << 20) + (640 << 10), unread
    gate.unlink()
    assert blocking.response().body == b"unblocked"
    deadline = time.monotonic() + 60
    while any(left.values()):
        assert time.monotonic() < deadline, left
        if client.send_what_fits(left) == 0:
            client.pump(0.05)
    for number, stream in enumerate(left):
        client.send(stream, b"", end=True)
        assert client.response(stream).body == f"{number}: {size}".encode()
