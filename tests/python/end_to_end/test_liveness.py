"""Workers that hang are found, told of with what they were doing, killed and replaced; busy ones are left alone."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from end_to_end.h1_client import H1Client
from end_to_end.server import Server, wait_until

pytestmark = pytest.mark.slow

#: Seconds without a sign of life, in these tests.
TIMEOUT = 2.0


def hung(serve: Callable[..., Server], connect_h1: Callable[..., H1Client], app: Any, path: Any, **options: Any) -> Any:
    """A server whose only worker hangs in a request, and that request's connection."""
    server = serve(app, hcrs={"worker_timeout": TIMEOUT, "queue_timeout": 30, **options.pop("hcrs", {})}, **options)
    client = connect_h1(server.listener)
    client.request("GET", path)
    return server, client


def assert_replaced(server: Server, client: Any, connect_h1: Callable[..., H1Client], old: Any) -> None:
    """The request that hangs is given up, and others are served."""
    assert client.response().status == 502
    assert int(connect_h1(server.listener).get("/").body) != old
    server.wait_for_log(rf"Worker {old} was killed by SIGKILL; another is started")


@pytest.mark.parametrize("worker_class", ["asyncio", "uvloop", "trio"])
def test_a_loop_that_never_turns(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client], worker_class: str
) -> None:
    if worker_class != "asyncio":
        pytest.importorskip(worker_class)
    app = "hangs.py:on_trio" if worker_class == "trio" else "hangs.py:app"
    server, client = hung(serve, connect_h1, app, "/never-ends?secret=1", worker_class=worker_class)
    [old] = server.worker_pids()
    server.wait_for_log(rf"\[WARNING\] Worker {old} has not answered for 1(\.\d)? s: its event loop is blocked")
    server.wait_for_log(rf"\[ERROR\] Worker {old} has not answered for 2(\.\d)? s: .*killing and replacing it \(worker_timeout\)")
    server.wait_for_log(rf"Requests of worker {old}, the oldest first:\n  \d\.\d s: GET /never-ends$")
    server.wait_for_log(rf"Stacks of worker {old}:\n(.*\n)*?.*in never_ends_in_the_loop")
    assert_replaced(server, client, connect_h1, old)
    assert "secret" not in server.log


def test_the_gil_that_is_never_passed_on(serve: Callable[..., Server], connect_h1: Callable[..., H1Client]) -> None:
    server, client = hung(serve, connect_h1, "hangs.py:app", "/holds-the-gil")
    [old] = server.worker_pids()
    server.wait_for_log(rf"Worker {old} has not answered for 2(\.\d)? s: something holds Python's GIL; killing")
    server.wait_for_log(r"s: GET /holds-the-gil$")
    server.wait_for_log(rf"Stacks of worker {old}:\n(.*\n)*?.*in holds_the_gil")
    assert_replaced(server, client, connect_h1, old)


def test_a_process_that_was_stopped(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client], tmp_path: Path
) -> None:
    server, client = hung(serve, connect_h1, "hangs.py:app", f"/naps?seconds=60&file={tmp_path}/begun")
    [old] = server.worker_pids()
    wait_until((tmp_path / "begun").exists, "the request to be begun")
    os.kill(old, signal.SIGSTOP)
    server.wait_for_log(rf"Worker {old} has not answered .*the process does not run \(it was stopped by a signal\); killing")
    assert_replaced(server, client, connect_h1, old)


def test_a_wsgi_pool_without_a_free_thread(serve: Callable[..., Server], connect_h1: Callable[..., H1Client]) -> None:
    server, client = hung(serve, connect_h1, "wsgi:hangs.py:wsgi", "/never-ends", hcrs={"wsgi_threads": 1})
    [old] = server.worker_pids()
    server.wait_for_log(rf"Stacks of worker {old}:\n(.*\n)*?.*in never_ends_in_the_loop")
    server.wait_for_log(r"s: GET /never-ends$")
    assert_replaced(server, client, connect_h1, old)


def test_the_others_serve_on_while_one_hangs(serve: Callable[..., Server], connect_h1: Callable[..., H1Client]) -> None:
    server, client = hung(serve, connect_h1, "hangs.py:app", "/never-ends", workers=2)
    served = 0
    while "Stacks of worker" not in server.log:
        assert connect_h1(server.listener).get("/").status == 200
        served += 1
    assert served > 10
    assert client.response().status == 502
    server.wait_for_log(r"Worker \d+ is ready")


@pytest.mark.parametrize(
    ("app", "paths", "options"),
    [
        ("hangs.py:app", ["/naps?seconds=5"] * 4 + ["/computes?seconds=5"] * 4, {}),
        ("hangs.py:app", ["/blocks?seconds=1.2"] * 5, {}),
        ("wsgi:hangs.py:wsgi", ["/naps?seconds=1.2"] * 5, {"wsgi_threads": 1}),
        ("wsgi:hangs.py:wsgi", ["/naps?seconds=5"] * 2, {"wsgi_threads": 3}),
    ],
    ids=["await-and-threads", "short-blocks", "wsgi-one-after-the-other", "wsgi-with-a-free-thread"],
)
def test_a_busy_worker_is_left_alone(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client], app: str, paths: Any, options: Any
) -> None:
    server = serve(app, hcrs={"worker_timeout": TIMEOUT, "queue_timeout": 30, **options})
    workers = server.worker_pids()
    clients = [connect_h1(server.listener) for _ in paths]
    for client, path in zip(clients, paths, strict=True):
        client.request("GET", path)
    assert {int(client.response().body) for client in clients} == set(workers)
    assert "killed" not in server.log


def test_a_wsgi_thread_that_waits_for_its_client_is_not_stuck(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client]
) -> None:
    server = serve("wsgi:hangs.py:wsgi", hcrs={"worker_timeout": TIMEOUT, "wsgi_threads": 1})
    client = connect_h1(server.listener)
    client.request("GET", "/much")
    assert client.head().status == 200
    time.sleep(TIMEOUT * 2)  # so long without a look at the response
    assert "has not answered" not in server.log
    assert len(server.worker_pids()) == 1


def test_no_worker_is_killed_after_the_machine_stood_still(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client]
) -> None:
    server = serve("hangs.py:app", hcrs={"worker_timeout": TIMEOUT})
    workers = server.worker_pids()
    everybody = [server.pid, *workers]
    for pid in everybody:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(TIMEOUT * 2)  # much longer than the timeout
    for pid in everybody:
        os.kill(pid, signal.SIGCONT)
    assert int(connect_h1(server.listener).get("/").body) in workers
    wait_until(lambda: server.worker_pids() == workers, "the workers that there were")


def test_it_can_be_turned_off(serve: Callable[..., Server], connect_h1: Callable[..., H1Client]) -> None:
    server = serve("plain.py:app", hcrs={"worker_timeout": 0})
    arguments = json.loads(connect_h1(server.listener).get("/arguments").body)
    assert "--links" in arguments and "--pulse" not in arguments
