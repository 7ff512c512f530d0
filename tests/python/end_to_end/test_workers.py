"""Several workers: how requests spread, what a blocked or dead worker costs, and how apps come up."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from end_to_end.blocked_workers import blocked, is_written
from end_to_end.h1_client import Closed, H1Client
from end_to_end.h2_client import H2Client
from end_to_end.load import H2Load
from end_to_end.server import Server, is_alive, wait_until


def test_requests_of_one_connection_spread_over_all_workers(
    serve: Callable[..., Server], connect_h2: Callable[..., H2Client]
) -> None:
    # A worker that the machine lets wait for a moment keeps what it was sent.
    server = serve("plain.py:app", workers=3, hcrs={"stall_timeout": 20})
    workers = server.worker_pids()
    assert len(workers) == 3
    client = connect_h2(server.listener)
    streams = [client.request("GET", "/nap?seconds=0.1") for _ in range(30)]
    served = Counter(int(client.response(stream).body) for stream in streams)
    assert set(served) == set(workers)
    assert max(served.values()) <= 15, served


def test_blocked_worker_does_not_hold_up_requests_that_another_can_take(
    serve: Callable[..., Server], connect_h2: Callable[..., H2Client], tmp_path: Path
) -> None:
    server = serve("plain.py:app", workers=2)
    client = connect_h2(server.listener)
    with blocked(server, tmp_path / "block") as blocked_pids:
        # None is answered before the last is sent, so that the blocked worker gets some of them.
        for stream in [client.request("GET", "/nap?seconds=0.3") for _ in range(60)]:
            assert int(client.response(stream).body) not in blocked_pids


@pytest.mark.parametrize("version", ["h2", "h3"])
def test_killed_worker_takes_only_its_begun_requests_with_it(
    serve: Callable[..., Server], connect_multiplexed: Callable[..., Any], tmp_path: Path, version: str
) -> None:
    server = serve("plain.py:app", workers=2, keep_alive_timeout=60)
    before = server.worker_pids()
    client = connect_multiplexed(server.listener_speaking(version))
    streams = [client.request("GET", f"/nap?seconds=2&file={tmp_path}/{number}") for number in range(10)]
    wait_until(lambda: len(list(tmp_path.glob("[0-9]"))) == 10, "all of them to begin")
    os.kill(before[0], signal.SIGKILL)
    served: Counter[int | None] = Counter()
    for stream in streams:
        response = client.response(stream)
        served[response.status] += 1
        if response.status == 200:
            assert int(response.body) == before[1]
    assert set(served) == {200, 502} and 4 <= served[502] <= 6, served
    assert client.get().status == 200
    assert client.goaway is None, "no connection is lost"
    server.wait_for_log(rf"Worker {before[0]} was killed by SIGKILL; another is started")
    server.wait_for_log(r"Worker \d+ is ready")
    after = wait_until(lambda: (pids := server.worker_pids()) and len(pids) == 2 and pids, "two workers")
    assert before[1] in after and before[0] not in after
    pids = {int(client.response(stream).body) for stream in [client.request("GET", "/nap?seconds=0.05") for _ in range(8)]}
    assert pids == set(after), "the new worker takes its share"


@pytest.mark.parametrize("version", ["h2", "h3"])
@pytest.mark.parametrize("start", ["", "&start=1"], ids=["before-the-response", "in-the-response"])
def test_app_that_kills_its_worker_costs_its_own_request(
    serve: Callable[..., Server],
    connect_multiplexed: Callable[..., Any],
    connect_h1: Callable[..., Any],
    key: str,
    start: str,
    version: str,
) -> None:
    server = serve("plain.py:app")
    client = connect_multiplexed(server.listener_speaking(version))
    stream = client.request("GET", f"/die?key={key}{start}")
    if start:
        client.wait(lambda: client.streams[stream].length == 5, "the first piece")
        client.request("GET", f"/go?key={key}")
    response = client.response(stream)
    if start:
        assert response.reset == client.errors.INTERNAL_ERROR
    else:
        assert response.status == 502
    assert client.get().body == b"hello", "the request waits for the new worker"
    h1 = connect_h1(server.listener)
    h1.request("GET", "/die?key=x")
    assert h1.response().status == 502
    server.wait_for_log(r"Worker \d+ is ready", count=2)


@pytest.mark.parametrize("version", ["h2", "h3"])
def test_unbegun_requests_of_a_killed_worker_are_served_by_another(
    serve: Callable[..., Server], connect_multiplexed: Callable[..., Any], tmp_path: Path, version: str
) -> None:
    server = serve("plain.py:app", workers=1)
    client = connect_multiplexed(server.listener_speaking(version))
    blocked = client.request("GET", f"/block?file={tmp_path}/blocked")
    wait_until(lambda: is_written(tmp_path / "blocked"), "the worker to be blocked")
    posts = [client.request("POST", "/digest", body=bytes(1000)) for _ in range(50)]
    client.ping()
    os.kill(server.worker_pids()[0], signal.SIGKILL)
    assert client.response(blocked).status == 502
    for stream in posts:
        response = client.response(stream)
        assert (response.status, b'"bytes": 1000' in response.body) == (200, True)


@pytest.mark.slow
def test_load_survives_the_death_of_a_worker(serve: Callable[..., Server]) -> None:
    server = serve("plain.py:app", tls=True, workers=2, keep_alive_max_requests=1_000_000)
    workers = server.worker_pids()
    load = H2Load(f"https://localhost:{server.listener.port}/", 30_000, 8, 32)
    time.sleep(0.5)  # into the middle of the load
    os.kill(workers[0], signal.SIGKILL)
    result = load.result()
    assert result.total == 30_000
    assert result.errored == result.timed_out == result.client_errors == 0, result.output
    assert result.server_errors == result.failed <= 8 * 32, result.output
    assert result.ok == 30_000 - result.server_errors
    server.wait_for_log(r"Worker \d+ is ready")
    print(f"{result.server_errors} of 30000 requests were lost with the worker")


def test_every_worker_may_die_at_once(serve: Callable[..., Server], connect_h2: Callable[..., H2Client]) -> None:
    server = serve("plain.py:app", workers=2)
    client = connect_h2(server.listener)
    for pid in server.worker_pids():
        os.kill(pid, signal.SIGKILL)
    assert client.get().body == b"hello"
    server.wait_for_log(r"Worker \d+ is ready")


@pytest.mark.slow
def test_a_request_that_kills_its_worker_again_and_again_does_not_empty_all_places(
    serve: Callable[..., Server], connect_h1: Callable[..., Any]
) -> None:
    server = serve("plain.py:app", workers=2)
    for _ in range(14):
        assert connect_h1(server.listener).get("/die?key=x").status == 502, "there is a worker to kill"
        began = time.monotonic()
        assert connect_h1(server.listener).get().status == 200
        assert time.monotonic() - began < 5
    assert "started in 2 s" not in server.log


@pytest.mark.parametrize("version", ["h2", "h3"])
def test_without_a_worker_requests_wait_and_then_get_503(
    serve: Callable[..., Server],
    connect_multiplexed: Callable[..., Any],
    connect_h1: Callable[..., Any],
    tmp_path: Path,
    version: str,
) -> None:
    server = serve("plain.py:app", hcrs={"queue_timeout": 1.0})
    client = connect_multiplexed(server.listener_speaking(version))
    with blocked(server, tmp_path / "block"):
        began = time.monotonic()
        h1 = connect_h1(server.listener)
        h1.request()
        # More than the worker has start credits for: what it was sent and has not begun has the same deadline as what waits.
        responses = [client.response(stream) for stream in [client.request() for _ in range(80)]]
        assert time.monotonic() - began > 0.9
        assert {(response.status, response.header(b"retry-after")) for response in responses} == {(503, b"1")}
        assert h1.response().status == 503
    assert client.get().status == 200


@pytest.mark.parametrize("version", ["h2", "h3"])
def test_full_queue_gets_503_at_once(
    serve: Callable[..., Server], connect_multiplexed: Callable[..., Any], tmp_path: Path, version: str
) -> None:
    server = serve("plain.py:app", hcrs={"queue_size": 10, "queue_timeout": 60})
    client = connect_multiplexed(server.listener_speaking(version))
    with blocked(server, tmp_path / "block"):
        streams = [client.request() for _ in range(90)]
        client.wait(lambda: any(client.streams[stream].status == 503 for stream in streams), "503")
    answers = Counter(client.response(stream).status for stream in streams)
    assert set(answers) == {200, 503}, answers


@pytest.mark.parametrize(
    ("app", "words"),
    [
        ("broken.py:app", ["Traceback (most recent call last):", "broken.py", "RuntimeError: broken on purpose"]),
        ("broken_syntax.py:app", ["SyntaxError"]),
        ("missing.py:app", ["module not found"]),
        ("plain.py:missing", ["application not found"]),
        ("lifespans.py:fails", ["Lifespan failure in startup", "no database"]),
        ("lifespans.py:raises", ["ValueError: raised in the startup", "Lifespan failure in startup"]),
        ("lifespans.py:hangs", ["Timeout whilst awaiting startup"]),
        ("lifespans.py:exits", []),
    ],
)
def test_app_that_cannot_start_ends_the_server_with_the_reason(
    launch: Callable[..., Server], tmp_path: Path, app: str, words: Any
) -> None:
    if app.startswith("broken_syntax"):
        broken = tmp_path / "broken_syntax.py"
        broken.write_text("def app(:\n")
        app = f"{broken}:app"
    server = launch(app, workers=2, startup_timeout=1)
    assert server.wait_for_exit() == 1
    for word in words:
        assert word in server.log
    server.wait_for_workers_end()


def test_app_without_lifespan_is_served_with_a_warning(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client]
) -> None:
    server = serve("lifespans.py:unsupported")
    assert connect_h1(server.listener).get().body == b"{}"
    assert "[WARNING] ASGI Framework Lifespan error, continuing without Lifespan support" in server.log


def test_lifespan_can_be_left_out(serve: Callable[..., Server], connect_h1: Callable[..., H1Client]) -> None:
    server = serve("lifespans.py:raises", hcrs={"lifespan": "off"})
    assert connect_h1(server.listener).get().status == 200


def test_failed_shutdown_shows_in_the_exit_code(launch: Callable[..., Server]) -> None:
    server = launch("lifespans.py:fails_at_shutdown")
    server.wait_until_running()
    assert server.stop() == 4
    assert "Lifespan failure in shutdown. 'not saved'" in server.log


def test_shutdown_that_hangs_is_cut_off(launch: Callable[..., Server]) -> None:
    server = launch("lifespans.py:hangs_at_shutdown", shutdown_timeout=0.5)
    server.wait_until_running()
    began = time.monotonic()
    assert server.stop() == 4
    assert time.monotonic() - began < 5
    server.wait_for_workers_end()


def test_replacement_that_fails_is_tried_again(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client], tmp_path: Path
) -> None:
    flag = tmp_path / "broken"
    server = serve("lifespans.py:breakable", env={"BREAK": str(flag)})
    flag.touch()
    os.kill(server.worker_pids()[0], signal.SIGKILL)
    server.wait_for_log(r"Worker \d+ cannot serve the app")
    flag.unlink()
    server.wait_for_log(r"Worker \d+ is ready")
    assert connect_h1(server.listener).get().status == 200


@pytest.mark.parametrize("is_blocked", [False, True], ids=["idle", "blocked"])
def test_workers_do_not_outlive_a_killed_edge(
    launch: Callable[..., Server], connect_h2: Callable[..., H2Client], tmp_path: Path, is_blocked: bool
) -> None:
    server = launch("plain.py:app", workers=2)
    server.wait_until_running()
    workers = server.worker_pids()
    if is_blocked:
        connect_h2(server.listener).request("GET", f"/block?file={tmp_path}/blocked")
        wait_until(lambda: is_written(tmp_path / "blocked"), "a worker to be blocked")
    server.signal(signal.SIGKILL)
    server.wait_for_exit()
    wait_until(lambda: not any(map(is_alive, workers)), "the workers to end")


def test_requests_before_the_app_is_ready_find_no_listener(
    launch: Callable[..., Server], connect_h1: Callable[..., H1Client]
) -> None:
    """As with Hypercorn: a client that can connect is served."""
    server = launch("lifespans.py:slow", env={"SLOW": "0.5"})
    server.wait_until_running()
    assert connect_h1(server.listener).get().status == 200
    assert server.stop() == 0


def test_worker_inherits_no_socket_of_the_edge(serve: Callable[..., Server]) -> None:
    server: Server = serve("plain.py:app", workers=2)
    for pid in server.worker_pids():
        sockets = [link for link in map(_target, _descriptors(pid)) if link.startswith("socket:")]
        others = [link for link in map(_target, _descriptors(server.pid)) if link in sockets]
        assert others == [], "a worker holds only its own end of its link"


def _descriptors(pid: int) -> list[str]:
    return [f"/proc/{pid}/fd/{name}" for name in os.listdir(f"/proc/{pid}/fd")]


def _target(path: str) -> str:
    try:
        return os.readlink(path)
    except FileNotFoundError:
        return ""


def test_h1_client_of_a_dead_worker_gets_502_or_an_end_that_shows(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client], key: str
) -> None:
    server = serve("plain.py:app")
    first, second = connect_h1(server.listener), connect_h1(server.listener)
    first.request("GET", f"/until-disconnect?key={key}&start=1")
    assert first.head().status == 200
    assert first.chunk() == b"first"
    second.request("GET", "/die?key=y")
    assert second.response().status == 502
    with pytest.raises(Closed):
        first.chunk()
    server.wait_for_log(r"Worker \d+ is ready")
