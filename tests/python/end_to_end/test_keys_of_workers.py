"""The effects of the keys of apps, workers and deadlines: rows of the table of keys (key_rows.py)."""

from __future__ import annotations

import functools
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from end_to_end.blocked_workers import blocked
from end_to_end.h1_client import H1Client
from end_to_end.h2_client import H2Client
from end_to_end.key_rows import shows
from end_to_end.server import Server, wait_until

#: The default of ``queue_timeout``, in seconds: what happens earlier happens for another reason.
QUEUE_TIMEOUT = 10


@shows("settings.py:app", root_path="/mounted/", workers=2, worker_class="uvloop", pid_path="<folder>/pid")
def test_number_loop_and_root_path_of_workers_are_those_configured(
    server: Server, connect_h2: Callable[..., H2Client], tmp_path: Path
) -> None:
    client = connect_h2(server.listener)
    told: list[dict[str, Any]] = []

    def all_have_answered() -> bool:
        streams = [client.request("GET", "/nap?0.2") for _ in range(8)]
        told.extend(json.loads(client.response(stream).body) for stream in streams)
        return sorted({facts["pid"] for facts in told}) == server.worker_pids()

    assert len(server.worker_pids()) == 2
    wait_until(all_have_answered, "answers of both workers")
    assert {(facts["root_path"], facts["loop"], facts["lifespans"]) for facts in told} == {("/mounted", "uvloop", 1)}
    assert (tmp_path / "pid").read_text() == str(server.pid)


def test_auto_starts_a_worker_for_each_core_of_the_affinity(serve: Callable[..., Server]) -> None:
    cores = sorted(os.sched_getaffinity(0))
    server = serve("plain.py:app", workers="auto", started_by=["taskset", "-c", str(cores[0])])
    assert len(server.worker_pids()) == 1
    reason = r"Starting 1 worker \(workers = \"auto\"\): one for each core that the server may use"
    server.wait_for_log(rf"\[INFO\] {reason}$")


@shows("settings.py:app", debug=True, lifespan="off")
def test_debug_and_lifespan_are_switched(server: Server, connect_h1: Callable[..., H1Client]) -> None:
    told = json.loads(connect_h1(server.listener).get().body)
    assert (told["debug"], told["lifespans"]) == (True, 0)


@shows(python="<folder>/python")
@pytest.mark.parametrize("how", ["file", "environment", "flag"])
def test_the_interpreter_is_the_one_that_is_named(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client], tmp_path: Path, how: str
) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nWRAPPED=yes exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    ways: dict[str, dict[str, Any]] = {
        "file": {"hcrs": {"python": str(python)}},
        "environment": {"env": {"HCRS_PYTHON": str(python)}},
        "flag": {"flags": ["--python", str(python)]},
    }
    server = serve("settings.py:app", **ways[how])
    assert json.loads(connect_h1(server.listener).get().body)["wrapped"] == "yes"


@shows("wsgi:settings.py:threads", wsgi_threads=3, wsgi_max_body_size=10)
def test_wsgi_threads_and_body_size_are_those_configured(
    server: Server, connect_h1: Callable[..., Any], connect_h2: Callable[..., Any]
) -> None:
    client = connect_h2(server.listener)
    streams = [client.request() for _ in range(9)]
    assert max(int(client.response(stream).body) for stream in streams) == 3
    client = connect_h1(server.listener)
    client.request("POST", "/length", body=b"x" * 10)
    assert client.response().body == b"10"
    client.request("POST", "/length", body=b"x" * 11)
    assert client.response().status == 413


def seconds_until_refused(client: H2Client, ask: Callable[[], int], requests: int, refusals: int) -> float:
    """Sends that many requests and waits until that many of them have got 503."""
    began = time.monotonic()
    streams = [ask() for _ in range(requests)]
    client.wait(lambda: sum(client.streams[stream].status == 503 for stream in streams) >= refusals, "refusals")
    return time.monotonic() - began


@shows("plain.py:app", queue_size=3)
def test_requests_beyond_queue_size_are_refused(
    server: Server, connect_h2: Callable[..., H2Client], tmp_path: Path
) -> None:
    client = connect_h2(server.listener)
    with blocked(server, tmp_path / "block"):
        assert seconds_until_refused(client, client.request, requests=90, refusals=41) < QUEUE_TIMEOUT / 2


@shows("plain.py:app", queue_bytes=100_000)
def test_requests_beyond_queue_bytes_are_refused(
    server: Server, connect_h2: Callable[..., H2Client], tmp_path: Path
) -> None:
    client = connect_h2(server.listener)
    upload = functools.partial(client.request, "POST", "/echo", body=bytes(20_000))
    with blocked(server, tmp_path / "block"):
        # Fewer than there are start credits: it is their bytes that are too many.
        assert seconds_until_refused(client, upload, requests=12, refusals=7) < QUEUE_TIMEOUT / 2


@shows("plain.py:app", queue_timeout=0.3)
def test_requests_wait_no_longer_than_queue_timeout(
    server: Server, connect_h2: Callable[..., H2Client], tmp_path: Path
) -> None:
    client = connect_h2(server.listener)
    with blocked(server, tmp_path / "block"):
        assert 0.2 < seconds_until_refused(client, client.request, requests=90, refusals=1) < QUEUE_TIMEOUT / 2


@shows("plain.py:app", worker_timeout=1.0)
def test_a_worker_that_does_not_answer_for_worker_timeout_is_replaced(
    server: Server, connect_h1: Callable[..., H1Client], tmp_path: Path
) -> None:
    client = connect_h1(server.listener)
    client.request("GET", f"/block?file={tmp_path}/block")
    server.wait_for_log(r"Worker \d+ has not answered for 1(\.\d)? s: .*; killing and replacing it \(worker_timeout\)")
    assert client.response().status == 502
    assert connect_h1(server.listener).get().status == 200, "by another worker"


@shows("plain.py:app", retire_timeout=0.5)
def test_requests_in_a_replaced_worker_end_after_retire_timeout(
    server: Server, connect_h1: Callable[..., H1Client]
) -> None:
    client = connect_h1(server.listener)
    client.request("GET", "/gate?key=never")
    assert connect_h1(server.listener).get("/note?key=never-begun").status == 200
    server.signal(signal.SIGHUP)
    assert client.response().status == 502
    server.wait_for_log(r"1 request that worker \d+ had in flight was cut off, 0\.5 s after it was replaced")


@shows("plain.py:app", stall_timeout=1.0, workers=2)
def test_requests_that_a_worker_leaves_for_stall_timeout_go_to_another(
    server: Server, connect_h2: Callable[..., H2Client], tmp_path: Path
) -> None:
    client = connect_h2(server.listener)
    with blocked(server, tmp_path / "block"):
        began = time.monotonic()
        # None is answered before the last is sent, so that the blocked worker gets its half of them.
        streams = [client.request("GET", "/nap?seconds=0.5") for _ in range(20)]
        for stream in streams:
            assert client.response(stream).status == 200
        assert 1.4 < time.monotonic() - began < QUEUE_TIMEOUT, "by default they would have moved at once"


@shows(
    "plain.py:app", keep_alive_timeout=0.4, read_timeout=0.5, head_timeout=0.6
)
def test_clients_that_send_too_slowly_are_given_up_at_their_deadlines(server: Server, connect_h1: Callable[..., H1Client]) -> None:
    def until_closed(sent: str, status: int | None) -> float:
        client, began = connect_h1(server.listener), time.monotonic()
        client.send(sent)
        if status is not None:
            assert client.response().status == status
        client.assert_closed()
        return time.monotonic() - began

    assert 0.35 < until_closed("", None) < 4
    assert 0.35 < until_closed("GET / HTTP/1.1\r\nhost: a\r\n\r\n", 200) < 4
    assert 0.55 < until_closed("GET / HTTP/1.1\r\n", 408) < 4
    assert 0.45 < until_closed("POST /digest HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nx", 408) < 4


@pytest.mark.parametrize("app", ["plain.py:app", "wsgi:wsgi.py:plain"])
def test_a_body_that_stops_after_its_first_bytes_is_given_up(
    serve: Callable[..., Server], connect_h1: Callable[..., Any], connect_h2: Callable[..., Any], app: str
) -> None:
    server = serve(app, read_timeout=0.5)
    client = connect_h1(server.listener)
    client.send("POST /digest HTTP/1.1\r\nhost: a\r\ncontent-length: 50000\r\n\r\n" + "x" * 20_000)
    assert client.response().status == 408
    client.assert_closed()
    client = connect_h2(server.listener)
    stream = client.request("POST", "/digest", end=False)
    client.send(stream, b"x" * 20_000)
    assert client.response(stream).status == 408
    assert client.get("/missing").status == 404, "the connection goes on"


@shows("plain.py:app", write_timeout=0.5)
def test_a_response_that_is_left_unread_is_cut_off_after_write_timeout(server: Server, connect_h1: Callable[..., H1Client]) -> None:
    client, began = connect_h1(server.listener, receive_buffer=4096), time.monotonic()
    client.request("GET", "/download?size=50000000&key=unread")
    other = connect_h1(server.listener)
    other.get("/")
    time.sleep(2)  # the client's own doing: it does not read
    client.assert_cut()
    assert time.monotonic() - began < 10


@shows("settings.py:app", max_requests=4, max_requests_jitter=40)
def test_workers_are_replaced_after_max_requests_and_a_jitter(
    server: Server, connect_h1: Callable[..., H1Client]
) -> None:
    client, lives = connect_h1(server.listener), []
    for generation in range(1, 5):
        lives.append(0)
        while server.log.count("has reached max_requests") < generation:
            client.get()
            lives[-1] += 1
            assert lives[-1] < 60
            time.sleep(0.005)  # so that what is logged is seen in time
        server.wait_for_log("is ready and replaces", generation)
    assert all(life > 4 for life in lives) and len(set(lives)) > 1, lives


@shows("lifespans.py:hangs", waits=False, startup_timeout=0.4)
def test_a_startup_that_takes_longer_than_startup_timeout_ends_the_server(server: Server) -> None:
    began = time.monotonic()
    assert server.wait_for_exit() == 1
    assert time.monotonic() - began < 10
    assert "startup" in server.log and "0.4" in server.log, server.log


@shows("lifespans.py:hangs_at_shutdown", shutdown_timeout=0.4)
def test_a_shutdown_is_cut_off_after_shutdown_timeout(server: Server) -> None:
    began = time.monotonic()
    assert server.stop() == 4
    assert 0.35 < time.monotonic() - began < 10


@shows("settings.py:app", graceful_timeout=0.4)
def test_requests_are_cut_off_after_graceful_timeout(server: Server, connect_h1: Callable[..., H1Client]) -> None:
    client = connect_h1(server.listener)
    client.request("GET", "/nap?30")
    wait_until(lambda: connect_h1(server.listener).get().status == 200, "the server")
    began = time.monotonic()
    server.signal(signal.SIGTERM)
    answered = threading.Thread(target=client.response)
    answered.start()
    assert server.wait_for_exit() == 3
    answered.join(20)
    assert time.monotonic() - began > 0.35
    assert "1 request was cut off: they had not finished in 0.4 s (graceful_timeout)" in server.log
