"""Replacements whose new worker fails, hangs or dies, and those that a stop or a signal meets halfway."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from end_to_end.h1_client import H1Client
from end_to_end.h2_client import H2Client
from end_to_end.replacing import ALL, READY
from end_to_end.server import Server, wait_until
from source_numbers import numbers

CLAIM = numbers("hcrs-link/src/claim.rs")
LINK_VERSION, SLOTS = CLAIM["LINK_VERSION"], CLAIM["SLOTS"]


def test_new_worker_that_cannot_start_leaves_the_old_one_serving(
    serve: Callable[..., Server], connect_h2: Callable[..., H2Client], tmp_path: Path
) -> None:
    flag = tmp_path / "broken"
    server = serve("lifespans.py:breakable", env={"BREAK": str(flag)}, workers=2, keep_alive_timeout=60)
    client = connect_h2(server.listener)
    before = server.worker_pids()
    flag.touch()
    server.signal(signal.SIGHUP)
    server.wait_for_log(r"Worker \d+ cannot serve the app")
    server.wait_for_log("Lifespan failure in startup. 'no database'")
    server.wait_for_log(r"before it was ready; worker \d+ goes on serving, another is tried in 0.5 s")
    server.wait_for_log(r"goes on serving, another is tried in 1 s")
    assert client.get().status == 200
    assert set(before) <= set(server.worker_pids())
    flag.unlink()
    server.wait_for_log(ALL)
    assert not set(before) & set(server.worker_pids())
    assert client.get().status == 200 and client.goaway is None


def test_workers_go_on_serving_when_another_version_was_installed_under_them(
    serve: Callable[..., Server], connect_h2: Callable[..., H2Client], tmp_path: Path
) -> None:
    """New workers find another number in the memory that they share with the edge."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        "if os.path.exists(os.environ['INSTALLED']) and '--links' in sys.orig_argv:\n"
        "    links = sys.orig_argv[sys.orig_argv.index('--links') + 1]\n"
        "    for link in links.split(','):\n"
        f"        os.pwrite(int(link.split(':')[1]), ({LINK_VERSION} + 1).to_bytes(8, 'little'), {SLOTS} * 8)\n"
    )
    installed = tmp_path / "installed"
    server = serve("plain.py:app", env={"PYTHONPATH": str(tmp_path), "INSTALLED": str(installed)})
    client = connect_h2(server.listener)
    before = server.worker_pids()
    installed.touch()
    server.signal(signal.SIGHUP)
    server.wait_for_log(rf"^the running hcrs uses version {LINK_VERSION + 1} of the link protocol .*restart hcrs, because a reload is not enough$")
    server.wait_for_log(r"worker \d+ goes on serving")
    assert client.get().body == b"hello"
    assert set(before) <= set(server.worker_pids())
    installed.unlink()


def test_new_worker_that_hangs_gives_way_to_the_next_signal(
    serve: Callable[..., Server], connect_h2: Callable[..., H2Client], tmp_path: Path
) -> None:
    app = tmp_path / "mended.py"
    source = (Path(__file__).parent / "apps" / "plain.py").read_text()
    app.write_text(source)
    server = serve(f"{app}:app", workers=2)
    before = server.worker_pids()
    app.write_text(f"import time\nopen({str(tmp_path / 'hangs')!r}, 'w').close()\ntime.sleep(600)\n")
    server.signal(signal.SIGHUP)
    wait_until((tmp_path / "hangs").exists, "the new worker to hang")
    app.write_text(source)
    server.signal(signal.SIGHUP)
    server.wait_for_log(ALL)
    assert not set(before) & set(server.worker_pids())
    assert connect_h2(server.listener).get().status == 200


@pytest.fixture
def held(serve: Callable[..., Server], tmp_path: Path) -> Any:
    """A server of two workers whose next worker is starting and will not be ready before ``hold`` is removed."""
    hold = tmp_path / "hold"
    server = serve("lifespans.py:held", env={"HOLD": str(hold)}, workers=2)
    before = server.worker_pids()
    hold.touch()
    server.signal(signal.SIGHUP)
    wait_until(lambda: len(server.worker_pids()) == 3, "a third worker")
    (new,) = set(server.worker_pids()) - set(before)
    return server, hold, before, new


def test_old_worker_that_dies_while_its_replacement_starts_is_not_replaced_twice(
    held: Any, connect_h2: Callable[..., H2Client]
) -> None:
    server, hold, before, new = held
    client = connect_h2(server.listener)
    for old in before:  # one of them is the one that is being replaced
        os.kill(old, signal.SIGKILL)
    server.wait_for_log(r"was killed by SIGKILL; its replacement is starting already")
    server.wait_for_log(r"was killed by SIGKILL; another is started")
    hold.unlink()
    assert json.loads(client.get().body)["pid"] not in before
    server.wait_for_log(ALL)
    assert len(server.worker_pids()) == 2 and new in server.worker_pids()


def test_new_worker_that_dies_while_it_starts_is_started_again(held: Any, connect_h2: Callable[..., H2Client]) -> None:
    server, hold, before, new = held
    os.kill(new, signal.SIGKILL)
    server.wait_for_log(rf"Worker {new} was killed by SIGKILL before it was ready; worker \d+ goes on serving")
    assert json.loads(connect_h2(server.listener).get().body)["pid"] in before
    hold.unlink()
    server.wait_for_log(ALL)
    assert len(server.worker_pids()) == 2 and not {new, *before} & set(server.worker_pids())


def test_stop_during_a_replacement_ends_well(held: Any, connect_h1: Callable[..., H1Client]) -> None:
    server, _, before, _ = held
    assert connect_h1(server.listener).get().status == 200
    assert set(before) <= set(server.worker_pids())
    assert server.stop() == 0
    server.wait_for_workers_end()
    assert "ERROR" not in server.log


def test_stop_while_the_old_worker_finishes_ends_well(
    serve: Callable[..., Server], connect_h2: Callable[..., H2Client]
) -> None:
    server = serve("plain.py:app", graceful_timeout=20)
    client = connect_h2(server.listener)
    nap = client.request("GET", "/nap?seconds=2")
    client.ping()
    wait_until(lambda: client.get("/pid").status == 200, "the request before it to have begun")
    server.signal(signal.SIGHUP)
    server.wait_for_log(READY)
    server.signal(signal.SIGTERM)
    response = client.response(nap)
    assert response.status == 200
    assert server.wait_for_exit() == 0
    assert server.log.count("lifespan.shutdown was seen") == 2
    assert "ERROR" not in server.log
    server.wait_for_workers_end()


def test_signal_while_the_server_starts_replaces_what_was_started_before(
    launch: Callable[..., Server], tmp_path: Path
) -> None:
    hold = tmp_path / "hold"
    hold.touch()
    server = launch("lifespans.py:held", env={"HOLD": str(hold)})

    def workers() -> list[int]:
        """Without the short run of the interpreter that is tried out before."""
        found = {pid: Path(f"/proc/{pid}/cmdline") for pid in server.worker_pids()}
        return [pid for pid, words in found.items() if words.exists() and b"worker" in words.read_bytes()]

    first = wait_until(workers, "the first worker")
    server.signal(signal.SIGHUP)
    server.wait_for_log(r"they will be replaced when they are ready \(SIGHUP\)")
    hold.unlink()
    server.wait_until_running()
    server.wait_for_log(ALL)
    assert not set(first) & set(server.worker_pids())
    assert server.stop() == 0
