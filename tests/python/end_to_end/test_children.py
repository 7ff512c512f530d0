"""Children of the app are as those of any program: they obey signals, and hold nothing of the server's.

And the workers, which are children of the server's, are not ended by what is meant for the server.
"""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from end_to_end.h1_client import H1Client
from end_to_end.server import Server

#: What Python ignores in every process, and what its ``subprocess`` has programs not ignore.
IGNORED_BY_PYTHON = {signal.SIGPIPE, signal.SIGXFSZ}

#: Signals whose handlers write a stack before the process ends as it would have.
OF_FAULTHANDLER = {signal.SIGSEGV, signal.SIGFPE, signal.SIGABRT, signal.SIGBUS, signal.SIGILL}

#: Signals that somebody may send to all processes of the service.
TO_THE_UNIT = [
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGWINCH,
]

KINDS = [
    "popen",
    "popen-all-descriptors",
    "bare-fork",
    "process-fork",
    "process-spawn",
    "process-forkserver",
    "executor-fork",
    "executor-spawn",
    "pool-fork",
    "pool-spawn",
]

def child_of(client: H1Client, kind: str, query: str = "") -> Any:
    response = client.get(f"/{kind}?{query}")
    assert response.status == 200, kind
    return json.loads(response.body)


def born_with(worker: Any) -> set[str]:
    """The descriptors that the edge has passed to a worker: the links' sockets, its pulse, and the pipe of loaded files."""
    numbers = re.findall(r"--(?:links|pulse|loaded-files)\0([\d:,]+)", "\0".join(worker["arguments"]))
    assert len(numbers) == 3
    sockets = [link.partition(":")[0] for link in ",".join(numbers).split(",")]
    return {worker["descriptors"][number] for number in sockets}


@pytest.mark.parametrize(
    ("kind", "thread"),
    [*((kind, "") for kind in KINDS), *((kind, "thread=yes") for kind in ("popen", "bare-fork", "pool-fork"))],
)
def test_children_have_ordinary_signals_and_nothing_of_the_server(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client], kind: str, thread: str
) -> None:
    client = connect_h1(serve("children.py:app", use_reloader=True).listener)
    worker = json.loads(client.get("/worker").body)
    child = child_of(client, kind, thread)
    assert set(child["SigIgn"]) - ignored_here() <= IGNORED_BY_PYTHON
    assert set(child["SigCgt"]) - OF_FAULTHANDLER <= {signal.SIGINT}, "Python's KeyboardInterrupt, and no more"
    assert not child["SigBlk"]
    assert child["code"] == (0 if kind.startswith(("executor", "pool")) else -signal.SIGTERM)
    assert not born_with(worker) & set(child["descriptors"].values())
    assert not [what for what in [*child["descriptors"].values(), *child["mapped"]] if "hcrs-" in what]


@pytest.mark.parametrize("kind", ["popen", "bare-fork"])
def test_children_end_by_each_signal(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client], kind: str
) -> None:
    client = connect_h1(serve("children.py:app").listener)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2):
        assert child_of(client, kind, f"signal={number}")["code"] == -number


@pytest.mark.parametrize("worker_class", ["uvloop", "trio"])
def test_children_of_other_loops_end_as_well(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client], worker_class: str
) -> None:
    pytest.importorskip(worker_class)
    client = connect_h1(serve("children.py:app", worker_class=worker_class).listener)
    for kind in ("popen", "bare-fork"):
        assert child_of(client, kind)["code"] == -signal.SIGTERM


@pytest.mark.parametrize("kind", ["popen", "bare-fork", "process-fork"])
def test_children_of_wsgi_apps_end_as_well(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client], kind: str
) -> None:
    client = connect_h1(serve("wsgi:children.py:wsgi").listener)
    assert child_of(client, kind, f"signal={signal.SIGTERM}")["code"] == -signal.SIGTERM


def ignored_here() -> set[int]:
    """The signals that this process ignores, and that the server has inherited."""
    found = re.search(r"^SigIgn:\t([0-9a-f]+)", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None
    return {bit + 1 for bit in range(64) if int(found[1], 16) >> bit & 1}


@pytest.mark.parametrize(
    ("app", "options"),
    [
        ("children.py:app", {}),
        ("children.py:app", {"worker_class": "uvloop"}),
        ("children.py:app", {"worker_class": "trio"}),
        ("wsgi:children.py:wsgi", {}),
    ],
    ids=["asyncio", "uvloop", "trio", "wsgi"],
)
def test_signals_to_the_whole_unit_do_not_end_workers(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client], app: str, options: Any
) -> None:
    if worker_class := options.get("worker_class"):
        pytest.importorskip(worker_class)
    server = serve(app, workers=2, **options)
    workers = server.worker_pids()
    for number in TO_THE_UNIT:
        for worker in workers:
            os.kill(worker, number)
        assert int(connect_h1(server.listener).get("/nothing").body) in workers, signal.Signals(number).name
    assert server.worker_pids() == workers
    assert "killed" not in server.log
    assert not any(map(is_stopped, workers))


def is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def test_handlers_of_the_app_are_called_and_stay_in_its_children(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client]
) -> None:
    server = serve("children.py:app")
    client = connect_h1(server.listener)
    (worker,) = server.worker_pids()
    assert client.get("/handle?name=SIGUSR1&name=SIGTERM").status == 200
    os.kill(worker, signal.SIGTERM)
    assert json.loads(client.get("/came?count=1").body) == [signal.SIGTERM]
    os.kill(worker, signal.SIGUSR1)
    assert json.loads(client.get("/came?count=2").body) == [signal.SIGTERM, signal.SIGUSR1]
    child = child_of(client, "bare-fork", f"signal={signal.SIGHUP}")
    assert {signal.SIGUSR1, signal.SIGTERM} <= set(child["SigCgt"])
    assert child["code"] == -signal.SIGHUP
    assert child_of(client, "popen")["code"] == -signal.SIGTERM


def test_handlers_of_a_wsgi_app_are_called(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client]
) -> None:
    server = serve("wsgi:children.py:WsgiThatHandles()")
    (worker,) = server.worker_pids()
    os.kill(worker, signal.SIGUSR1)
    server.wait_for_log("^handled$")
    assert int(connect_h1(server.listener).get("/nothing").body) == worker


def test_a_signal_to_a_child_does_not_wake_its_parents_handlers(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client]
) -> None:
    """An asyncio loop is woken for signals by a socket, which forked children share with it."""
    client = connect_h1(serve("children.py:app").listener)
    assert client.get("/handle-by-loop").status == 200
    child_of(client, "bare-fork", f"signal={signal.SIGUSR2}")
    assert client.get("/send-self").status == 200
    assert json.loads(client.get("/came?count=1").body) == ["own"]


def test_a_crash_leaves_a_stack_in_the_error_log(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client]
) -> None:
    server = serve("children.py:app")
    [worker] = server.worker_pids()
    assert connect_h1(server.listener).get("/crash").status == 502
    server.wait_for_log(rf"Worker {worker} was killed by SIGSEGV; another is started")
    stack = r"Fatal Python error: Segmentation fault\n(.*\n)*?  File .*children.py.* in crash$"
    server.wait_for_log(rf"\[ERROR\] Worker {worker} has crashed:\n{stack}")
    assert server.log.count("Fatal Python error") == 1


def test_a_crash_of_a_child_is_reported_as_the_childs(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client]
) -> None:
    server = serve("children.py:app")
    assert connect_h1(server.listener).get("/crash-in-a-child").body == str(-signal.SIGSEGV).encode()
    server.wait_for_log("^Fatal Python error: Segmentation fault")
    [worker] = server.worker_pids()
    os.kill(worker, signal.SIGKILL)
    server.wait_for_log(rf"Worker {worker} was killed by SIGKILL; another is started")
    assert "has crashed" not in server.log
