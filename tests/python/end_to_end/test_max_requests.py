"""Workers are replaced after ``max_requests``, and by their age and memory, and no client notices."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import pytest

from end_to_end.h1_client import H1Client
from end_to_end.h2_client import H2Client
from end_to_end.key_rows import shows
from end_to_end.load import H2Load
from end_to_end.server import Server, wait_until
from end_to_end.ws_client import Ended, open_over_h1

READY = r"Worker \d+ is ready and replaces worker \d+"
SPENT = r"Worker (\d+) has reached max_requests; replacing it"


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("workers", [1, 2])
def test_worker_is_replaced_after_exactly_max_requests(
    serve: Callable[..., Server], connect_h2: Callable[..., H2Client], workers: int, threads: int
) -> None:
    # A worker that the machine lets wait for a moment keeps what it was sent.
    server = serve("plain.py:app", workers=workers, max_requests=20, hcrs={"io_threads": threads, "stall_timeout": 20}, keep_alive_timeout=60)
    pids = server.worker_pids()
    # Enough connections that each thread has one; requests one after another go to the workers in any order.
    clients = [connect_h2(server.listener) for _ in range(8)]
    served = dict.fromkeys(pids, 0)
    while (count := max(served.values())) <= 20:
        assert "reached max_requests" not in server.log, served
        pid = int(clients[sum(served.values()) % len(clients)].get("/pid").body)
        served[pid] += 1
        assert sum(served.values()) <= workers * 21
    assert count == 21
    spent = max(served, key=served.__getitem__)
    assert int(server.wait_for_log(SPENT)[0][1]) == spent, "by the 21st request"
    server.wait_for_log(rf"Worker \d+ is ready and replaces worker {spent}")
    wait_until(lambda: spent not in server.worker_pids(), "the old worker to end")
    assert len(re.findall(SPENT, server.log)) == 1
    assert clients[0].get().status == 200  # with which another may have been given as many
    assert all(client.goaway is None for client in clients)


def test_websockets_count_as_requests(serve: Callable[..., Server], connect_h1: Callable[..., H1Client]) -> None:
    server = serve("sockets.py:app", max_requests=2, hcrs={"retire_timeout": 0.2})
    for _ in range(3):
        assert "reached max_requests" not in server.log
        socket = open_over_h1(connect_h1(server.listener), "/echo")
        socket.send("x")
        assert socket.receive() == "x"
        socket.close()
        assert socket.closed() == (1000, "")
        with pytest.raises(Ended):
            socket.receive_frame()
    server.wait_for_log(SPENT)
    server.wait_for_log(READY)


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_load_on_workers_that_are_replaced_all_the_time_loses_nothing(serve: Callable[..., Server]) -> None:
    server = serve("plain.py:app", tls=True, workers=2, max_requests=300, keep_alive_max_requests=10_000_000)

    def has_seen_replacements() -> bool:
        result = H2Load(f"https://localhost:{server.listener.port}/", 0, 4, 8, "-D", "3").result()
        assert result.succeeded == result.ok > 0, result.output
        assert result.failed == result.errored == result.timed_out == 0, result.output
        return len(re.findall(READY, server.log)) >= 4

    wait_until(has_seen_replacements, "four replacements under load", 60)
    assert "killed" not in server.log


def test_jitter_lets_workers_live_longer_by_different_numbers_of_requests(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client]
) -> None:
    server = serve("plain.py:app", max_requests=5, max_requests_jitter=40, keep_alive_max_requests=10_000_000)
    client = connect_h1(server.listener)
    lives = []
    for generation in range(1, 5):
        before = server.log.count("is ready and replaces")
        assert before == generation - 1
        count = 0
        while len(re.findall(SPENT, server.log)) < generation:
            assert client.get("/pid").status == 200
            count += 1
            assert count < 60
            time.sleep(0.005)  # so that what is logged is seen in time
        lives.append(count)
        server.wait_for_log(READY, generation)
    assert all(6 <= life <= 52 for life in lives), lives
    assert len(set(lives)) > 1, lives


@shows("plain.py:app", max_worker_age=1.0, workers=2)
def test_workers_are_replaced_by_their_age(server: Server, connect_h2: Callable[..., H2Client]) -> None:
    client = connect_h2(server.listener)
    before = set(server.worker_pids())
    server.wait_for_log(r"Worker \d+ has reached max_worker_age; replacing it", 2)
    wait_until(lambda: client.get().status == 200 and not before & set(server.worker_pids()), "two new workers")


@shows("hoarder.py:app", max_worker_rss=200_000_000)
def test_a_worker_is_replaced_by_its_memory(server: Server, connect_h2: Callable[..., H2Client]) -> None:
    client = connect_h2(server.listener)
    [before] = server.worker_pids()
    assert client.get("/200").status == 200
    server.wait_for_log(rf"Worker {before} has \d+ bytes of memory and reached max_worker_rss; replacing it")
    wait_until(lambda: client.get().status == 200 and before not in server.worker_pids(), "a new worker")
    assert client.goaway is None, "no connection is lost"
