"""Beginnings and ends: lifespan, exit codes, and the lines of the access log."""

from __future__ import annotations

import re
import signal
from pathlib import Path
from typing import Any

import pytest

from end_to_end.h1_client import H1Client
from end_to_end.server import Server, wait_until
from parity.comparison import compare
from parity.conversation import Answer, same_words
from parity.differences import DIFFERENCES
from parity.servers import Pair, running

LIFESPANS = {
    "state": "plain.py:app",
    "unsupported": "lifespans.py:unsupported",
    "fails": "lifespans.py:fails",
    "raises": "lifespans.py:raises",
    "hangs": "lifespans.py:hangs",
    "fails-at-shutdown": "lifespans.py:fails_at_shutdown",
    "hangs-at-shutdown": "lifespans.py:hangs_at_shutdown",
    "exits": "lifespans.py:exits",
    "import-fails": "broken.py:app",
    "no-such-app": "plain.py:nothing",
    "no-such-module": "nowhere.py:app",
}
CASES = [f"lifespan/{name}" for name in LIFESPANS] + ["access-log", "signal/SIGTERM", "signal/SIGINT"]


def life(server: Server, number: int = signal.SIGTERM) -> Answer:
    """From the start to the end: whether it served, and its exit code."""
    try:
        server.wait_until_running()
    except AssertionError:
        return {"serves": False, "code": server.wait_for_exit()}
    with H1Client(server.listener) as client:
        status = client.get("/").status
    server.signal(number)
    return {"serves": True, "status": status, "code": server.wait_for_exit()}


def lives(folder: Any, app: str, number: int = signal.SIGTERM, **config: Any) -> dict[str, Answer]:
    """Of both, which live at the same time."""
    pair = Pair(folder, app, **config)
    try:
        return {name: life(server, number) for name, server in pair}
    finally:
        pair.destroy()


@pytest.mark.parametrize("name", LIFESPANS)
def test_starts_and_exit_codes_are_the_same(name: Any, tmp_path: Path) -> None:
    answers = lives(tmp_path, LIFESPANS[name], startup_timeout=1, shutdown_timeout=1, graceful_timeout=1)
    compare(f"lifespan/{name}", answers["hypercorn"], answers["hcrs"], DIFFERENCES)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_signals_end_both(name: str, tmp_path: Path) -> None:
    answers = lives(tmp_path, "plain.py:app", number=signal.Signals[name])
    compare(f"signal/{name}", answers["hypercorn"], answers["hcrs"], DIFFERENCES)


#: Requests whose lines are compared; what a broken one leaves is seen behind it.
LOGGED = {
    "get": b"GET /?a=1 HTTP/1.1\r\nhost: a\r\nuser-agent: tests\r\nreferer: http://a/\r\n\r\n",
    "post": b"POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc",
    "encoded": b"GET /a%20b%22 HTTP/1.1\r\nhost: a\r\n\r\n",
    "head": b"HEAD / HTTP/1.1\r\nhost: a\r\n\r\n",
    "old": b"GET / HTTP/1.0\r\n\r\n",
    "error": b"GET /fail?after=nothing HTTP/1.1\r\nhost: a\r\n\r\n",
    "nothing": b"GET /status?status=204 HTTP/1.1\r\nhost: a\r\n\r\n",
    "refused": b"GET / HTTP/1.1\r\nhost: a\r\nx a: b\r\n\r\n",
    "end": b"GET /end HTTP/1.1\r\nhost: a\r\n\r\n",
}


def test_lines_of_the_access_log_are_the_same(tmp_path: Path) -> None:
    answers: dict[str, Answer] = {"hypercorn": {}, "hcrs": {}}
    with running(tmp_path, "plain.py:app", accesslog="-", keep_alive_timeout=30) as pair:
        for kind, server in pair:
            for name, raw in LOGGED.items():
                before = len(server.output.splitlines())
                with H1Client(server.listener) as client:
                    client.send(raw)
                    client.socket.settimeout(5)
                    client.socket.recv(1 << 16)
                    if (kind, name) != ("hypercorn", "refused"):
                        wait_until(lambda: len(server.output.splitlines()) > before, f"the line of {name}")  # noqa: B023
                    lines = [same_words(line, client) for line in server.output.splitlines()[before:]]
                pids = f"{server.pid}|" + "|".join(map(str, server.worker_pids()))
                lines = [re.sub(rf"\b({pids})\b", "<pid>", line) for line in lines]
                lines = [re.sub(r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "[<time>", line) for line in lines]
                lines = [re.sub(r"\[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d", "[<time>", line) for line in lines]
                answers[kind][f"line {name}"] = lines
    compare("access-log", answers["hypercorn"], answers["hcrs"], DIFFERENCES)
