"""``capture_output``: what workers write to standard output and standard error is in the error log."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from end_to_end.h1_client import H1Client
from end_to_end.key_rows import shows
from end_to_end.server import APPS, Listening, Server, wait_until
from end_to_end.terminal import Terminal

#: What stands in front of a line; the process is the group.
PREFIX = r"^\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4}\] \[(\d+)\] \[INFO\] "


@shows("output.py:app", capture_output=True)
def test_output_is_logged_line_by_line_with_the_worker(server: Server, connect_h1: Callable[..., H1Client]) -> None:
    client = connect_h1(server.listener)
    worker = client.get("/print").body.decode()
    client.get("/child")
    for line in ("imported", "printed", "to stderr", "from a child"):
        assert server.wait_for_log(rf"{PREFIX}{line}$")[0][1] == worker
    assert server.output == ""
    # The worker's own messages are in the log as they were.
    assert client.get("/fail").status == 500
    server.wait_for_log(r"^RuntimeError: failed$")
    server.wait_for_log(rf"^\[[^]]+\] \[{worker}\] \[ERROR\] Error in ASGI Framework$")


def test_output_cannot_forge_lines_of_the_log(serve: Callable[..., Server], connect_h1: Callable[..., H1Client]) -> None:
    server = serve("output.py:app", hcrs={"capture_output": True})
    client = connect_h1(server.listener)
    client.get("/raw")
    client.get("/long")
    server.wait_for_log(rf"{PREFIX}from \\xff\\x1b\[2J C$")
    server.wait_for_log(rf"{PREFIX}\[2000-01-01 00:00:00 \+0000\] \[1\] \[ERROR\] forged$")
    assert [len(found[2]) for found in server.wait_for_log(rf"{PREFIX}(x+)$", 3)] == [8192, 8192, 3616]


@pytest.mark.parametrize("preload", [False, True], ids=["spawned", "forked"])
def test_output_goes_to_a_file_at_every_level_and_the_last_words_come_before_the_end(
    launch: Callable[..., Server], tmp_path: Path, preload: bool
) -> None:
    log, path = tmp_path / "error.log", tmp_path / "socket"
    server = launch(
        "output.py:app",
        errorlog=str(log),
        loglevel="error",
        bind=f"unix:{path}",
        hcrs={"capture_output": True, "preload": preload},
    )

    def found(pattern: str) -> list[re.Match[str]]:
        return list(re.finditer(pattern, log.read_text() if log.exists() else "", re.MULTILINE))

    wait_until(lambda: found(rf"{PREFIX}imported$"), "the output of the import")
    client = wait_until(lambda: connected(path), "the listener")
    client.get("/print")
    wait_until(lambda: found(rf"{PREFIX}to stderr$"), "the output")
    worker = int(found(rf"{PREFIX}printed$")[0][1])
    assert worker in server.worker_pids()
    assert (int(found(rf"{PREFIX}imported$")[0][1]) == worker) != preload
    client.request("GET", "/die")
    wait_until(lambda: found("was killed by SIGKILL"), "the end of the worker")
    text = log.read_text()
    assert f"[{worker}] [INFO] last line\n" in text and f"[{worker}] [INFO] last words\n" in text
    assert text.index("last words") < text.index("was killed by SIGKILL")
    # And that of the one in its place.
    client = wait_until(lambda: connected(path), "the listener")
    other = int(client.get("/print").body)
    wait_until(lambda: found(rf"^\[[^]]+\] \[{other}\] \[INFO\] to stderr$"), "the output of the next one")
    assert other != worker and server.log == "" and server.output == ""
    assert server.stop() == 0


def connected(path: Path) -> H1Client | None:
    """A client on a unix socket, once a server listens there."""
    try:
        return H1Client(Listening("http", "localhost", 0, str(path)))
    except OSError:
        return None


def test_a_worker_does_not_wait_for_a_log_that_is_not_read(launch: Callable[..., Server], tmp_path: Path) -> None:
    lines, fifo, path = 400_000, tmp_path / "log", tmp_path / "socket"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
    server = launch("output.py:app", errorlog=str(fifo), bind=f"unix:{path}", hcrs={"capture_output": True})
    client = wait_until(lambda: connected(path), "the listener")
    assert client.get(f"/flood?lines={lines}").status == 200
    # What the log has no room for is counted, once there is room.
    seen = bytearray()

    def counted() -> int:
        try:
            while piece := os.read(reader, 1 << 16):
                seen.extend(piece)
        except BlockingIOError:
            client.get("/print")
        written = len(re.findall(rb"\] line \d{7}\n", bytes(seen)))
        lost = sum(map(int, re.findall(rb"^\((\d+) lines were lost before this one\)$", bytes(seen), re.MULTILINE)))
        return written if written + lost >= lines else 0

    written = wait_until(counted, "all lines, written or counted", 60)
    assert 0 < written < lines, "the log was not read"
    os.close(reader)
    assert server.stop() == 0


def test_the_terminal_of_a_single_worker_is_left_to_it(tmp_path: Path, connect_h1: Callable[..., H1Client]) -> None:
    server = Terminal(tmp_path, [f"{APPS}/debugged.py:app", "--bind", "127.0.0.1:0", "--graceful-timeout", "0.5", "--capture-output"])
    try:
        server.wait_for("The output of the worker is not captured: it has the terminal")
        client = connect_h1(server.listener())
        client.request("GET", "/breakpoint")
        server.wait_for(r"\(Pdb\) ")
        server.press("c\n")
        assert client.response().status == 200
    finally:
        server.close()
