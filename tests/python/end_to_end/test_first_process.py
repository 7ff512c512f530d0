"""The server as the first process of a PID namespace, as in a container, and as root."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from end_to_end.h1_client import H1Client
from end_to_end.server import Server, find_tool, wait_until


def own_namespace() -> list[str]:
    """A command that makes what follows the first process of a namespace; none if this machine does not allow it."""
    unshare = find_tool("unshare", "util-linux")
    if unshare is None:
        return []
    namespaces = ["--pid", "--fork", "--mount-proc", "--kill-child"]
    for more in ([], ["--user", "--map-root-user"]):
        words = [unshare, *more, *namespaces]
        if subprocess.run([*words, "true"], capture_output=True, check=False).returncode == 0:
            return words
    return []


def zombies(server: Server) -> list[int]:
    """The processes below the server that have ended and have not been reaped."""
    found, look = [], [server.pid]
    while look:
        pid = look.pop()
        try:
            look += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if state == "Z":
            found.append(pid)
    return found


def test_orphans_of_the_app_are_reaped(launch: Callable[..., Server], connect_h1: Callable[..., H1Client]) -> None:
    words = own_namespace()
    if not words:
        pytest.skip("this machine lets nobody make a PID namespace")
    server = launch("forks.py:app", started_by=words).wait_until_running()
    client = connect_h1(server.listener)
    for _ in range(5):
        assert client.get("/orphan").body == b"left"
    # Each of them lives for a moment longer than its parent, and is then a child of the server.
    wait_until(lambda: len(zombies(server)) > 0, "an orphan to end")
    wait_until(lambda: not zombies(server), "all orphans to be reaped")
    # Workers are still waited for by whom they belong to.
    edge = int(Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text())
    worker = int(Path(f"/proc/{edge}/task/{edge}/children").read_text().split()[0])
    os.kill(worker, 9)
    server.wait_for_log("was killed by SIGKILL")
    server.wait_for_log("Worker .* is ready")
    assert connect_h1(server.listener).get().status == 200


def test_root_is_warned_that_user_and_group_apply_to_sockets_only(launch: Callable[..., Server], tmp_path: Path) -> None:
    owner = {"user": os.geteuid(), "group": os.getegid()}
    server = launch("plain.py:app", bind=f"unix:{tmp_path}/socket", **owner).wait_until_running()
    assert ("the server and the app run as root" in server.log) == (os.geteuid() == 0)
    assert server.stop() == 0
