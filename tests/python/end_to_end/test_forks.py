"""Apps that fork: a child of a worker has no part in its links, and does not keep a dead worker's requests waiting."""

from __future__ import annotations

import functools
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from end_to_end.h1_client import H1Client
from end_to_end.h2_client import H2Client
from end_to_end.server import Server, is_alive, wait_until


@pytest.fixture
def orphans() -> Iterator[Any]:
    """Numbers of processes that the test's app has forked; they are killed after it."""
    pids: list[int] = []
    yield pids
    for pid in pids:
        if is_alive(pid):
            os.kill(pid, signal.SIGKILL)


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def has_descriptors(pid: int, most: int) -> bool:
    return descriptors(pid) <= most


@pytest.mark.parametrize(
    ("app", "path", "options"),
    [
        ("forks.py:app", "/fork", {}),
        ("forks.py:app", "/pool", {}),
        ("forks.py:app", "/fork", {"worker_class": "uvloop"}),
        ("forks.py:app", "/fork", {"use_reloader": True}),
        ("wsgi:forks.py:wsgi", "/fork", {}),
    ],
    ids=["fork", "pool", "uvloop", "reloader", "wsgi"],
)
def test_a_dead_workers_requests_end_at_once_though_its_children_live(
    serve: Callable[..., Server], connect_h2: Callable[..., H2Client], tmp_path: Path, orphans: Any, app: str, path: str, options: Any
) -> None:
    if options.get("worker_class") == "uvloop":
        pytest.importorskip("uvloop")
    server = serve(app, **options)
    client = connect_h2(server.listener)
    before: int | None = None
    for death in range(3):
        orphans += map(int, client.get(path).body.split())
        sleeping = client.request("GET", f"/sleep?file={tmp_path}/{death}")
        pid = int(content_of(tmp_path / str(death)))
        os.kill(pid, signal.SIGKILL)
        assert client.response(sleeping).status == 502, "though the links are open in its children for two minutes"
        assert int(client.get("/").body) != pid
        assert is_alive(orphans[-1]), "it has outlived its parent"
        server.wait_for_log(r"Worker \d+ is ready", count=death + 1)
        before = before or descriptors(server.pid)
        wait_until(functools.partial(has_descriptors, server.pid, before), "the edge to close what it had of the dead worker")


@pytest.mark.parametrize("app", ["forks.py:app", "wsgi:forks.py:wsgi"], ids=["asgi", "wsgi"])
def test_a_stop_does_not_wait_for_the_children_of_the_workers(
    launch: Callable[..., Server], connect_h1: Callable[..., H1Client], orphans: Any, app: str
) -> None:
    server = launch(app)
    server.wait_until_running()
    orphans.append(int(connect_h1(server.listener).get("/fork").body))
    server.signal(signal.SIGTERM)
    wait_until(lambda: not server.is_running, "the end of the server")
    assert is_alive(orphans[0])
    os.kill(orphans[0], signal.SIGKILL)  # it holds the standard error that is read to its end
    assert server.wait_for_exit() == 0


def test_what_a_forked_child_sends_is_discarded(
    serve: Callable[..., Server], connect_h2: Callable[..., H2Client], tmp_path: Path
) -> None:
    server = serve("forks.py:app")
    client = connect_h2(server.listener)
    for turn in range(3):
        assert client.get(f"/both-answer?file={tmp_path}/{turn}").body == b"parent " * 4000
        assert content_of(tmp_path / str(turn)) == "0", "the child ends as if the edge had gone"
    assert int(client.get("/").body) in server.worker_pids()
    assert "link" not in server.log


def content_of(path: Any) -> Any:
    return wait_until(lambda: path.exists() and path.read_text(), f"{path} to be written")
