"""The processes and their surroundings: titles, as ``ps`` and others show them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

from end_to_end.h1_client import H1Client
from end_to_end.key_rows import shows
from end_to_end.server import APPS, Server, wait_until

PLAIN = str(APPS / "plain.py") + ":app"


def shown(pid: int) -> tuple[str, str]:
    """The command line and the short name of a process."""
    process = Path(f"/proc/{pid}")
    line = (process / "cmdline").read_bytes().rstrip(b"\0").decode()
    return line, (process / "comm").read_text().rstrip("\n")


def titles(server: Server) -> list[tuple[str, str]]:
    """Those of the workers."""
    return sorted(shown(pid) for pid in server.worker_pids())


@shows("plain.py:app", proc_name="shop", workers=2)
def test_processes_have_titles_that_begin_with_proc_name(server: Server) -> None:
    expected = [(f"shop: worker {number} ({PLAIN})", f"shop: worker {number}") for number in (1, 2)]
    assert titles(server) == expected
    assert shown(server.pid) == (f"shop: edge {PLAIN}", "shop")
    before = server.worker_pids()
    server.signal(signal.SIGHUP)
    server.wait_for_log("All workers have been replaced")
    wait_until(lambda: titles(server) == expected, "the titles of the successors")
    assert not set(before) & set(server.worker_pids())


def test_titles_are_what_ps_shows_and_leave_the_environment_alone(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client]
) -> None:
    server = serve("plain.py:app")
    (worker,) = server.worker_pids()
    listed = subprocess.run(
        ["ps", "-ww", "-o", "args=", "-p", f"{server.pid},{worker}"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert sorted(line.rstrip() for line in listed) == [f"hcrs: edge {PLAIN}", f"hcrs: worker 1 ({PLAIN})"]
    for pid in (server.pid, worker):
        assert f"PATH={os.environ['PATH']}\0" in Path(f"/proc/{pid}/environ").read_text()
    assert b'"--links"' in connect_h1(server.listener).get("/arguments").body, "Python has a copy"


def test_a_title_longer_than_the_arguments_is_cut_off(serve: Callable[..., Server]) -> None:
    server = serve("plain.py:app", flags=["--name", "n" * 2000])
    (worker,) = server.worker_pids()
    line, comm = shown(worker)
    assert re.fullmatch(r"n{1000,2000}(: worker 1 .*)?", line), line
    assert comm == "nnnnn: worker 1"
    assert shown(server.pid)[1] == "n" * 15
