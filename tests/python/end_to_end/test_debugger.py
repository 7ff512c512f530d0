"""``breakpoint()`` in an app, with the server in a terminal; and workers that stand in a debugger are not taken for hung."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from end_to_end.h1_client import H1Client
from end_to_end.server import APPS, DEADLINE, Listening, Server, command, wait_until

PROMPT = r"\(Pdb\) "


class Terminal:
    """A terminal in which ``hcrs`` runs, in its foreground as a shell would have it."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self._ours, theirs = pty.openpty()
        self.before = termios.tcgetattr(theirs)
        self._text = ""
        self.process = subprocess.Popen(
            [command(), "--bind", "127.0.0.1:0", "--graceful-timeout", "0.5", *arguments],
            cwd=folder,
            env={**os.environ, "TERM": "dumb"},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            preexec_fn=_lead_session,
        )
        self.theirs = theirs  # kept open, or what was written last is lost with the process

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Waits until the terminal shows the pattern, and forgets what stands before its end."""
        end = time.monotonic() + DEADLINE
        while (found := re.search(pattern, self._text, re.MULTILINE)) is None:
            assert self._read(end - time.monotonic()), f"{pattern!r} is not in\n{self._text}"
        self._text = self._text[found.end() :]
        return found

    def wait_for_exit(self) -> int:
        """Waits until ``hcrs`` has ended, and returns its exit code."""
        end = time.monotonic() + DEADLINE
        while (code := self.process.poll()) is None:
            assert time.monotonic() < end, self._text
            self._read(0.02)  # a terminal that nobody reads is full at some time
        return code

    def _read(self, timeout: float) -> bool:
        if not select.select([self._ours], [], [], max(0.0, timeout))[0]:
            return False
        self._text += os.read(self._ours, 1 << 16).decode(errors="replace").replace("\r\n", "\n")
        return True

    def press(self, keys: str) -> None:
        """Types a text."""
        os.write(self._ours, keys.encode())

    def listener(self) -> Listening:
        """Waits until ``hcrs`` serves."""
        return Listening("http", "127.0.0.1", int(self.wait_for(r"Running on http://127.0.0.1:(\d+)")[1]))

    def close(self) -> None:
        """Ends what still runs."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._ours)
        os.close(self.theirs)


def _lead_session() -> None:
    os.setsid()
    os.close(os.open(os.ttyname(0), os.O_RDWR))  # the first terminal that it opens becomes its own


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def start(*arguments: str) -> Terminal:
        opened.append(Terminal(tmp_path, *arguments))
        return opened[-1]

    yield start
    for made in opened:
        made.close()


@pytest.mark.parametrize("app", ["asgi:{}:app", "wsgi:{}:wsgi"], ids=["asgi", "wsgi"])
def test_breakpoint_is_answered_in_the_terminal(
    terminal: Callable[..., Terminal], connect_h1: Callable[..., H1Client], app: str
) -> None:
    server = terminal(app.format(APPS / "debugged.py"), "--worker-timeout", "1")
    client = connect_h1(server.listener())
    client.request("GET", "/breakpoint")
    server.wait_for(PROMPT)
    time.sleep(2.5)  # more than twice as long as a worker may stand still that nobody debugs
    server.press("p value\n")
    server.wait_for(f"'before'\n{PROMPT}")
    server.press("value = 'changed'\n")
    server.wait_for(PROMPT)
    server.press("c\n")
    pid, value = client.response().body.decode().split()
    assert value == "changed"
    assert client.get("/").body.decode().split() == [pid, "before"]
    assert "worker_timeout" not in server._text


def test_ctrl_c_ends_the_server_in_order(
    terminal: Callable[..., Terminal], connect_h1: Callable[..., H1Client]
) -> None:
    server = terminal(f"{APPS}/debugged.py:app")
    worker = int(connect_h1(server.listener()).get("/").body.split()[0])
    server.press("\x03")
    server.wait_for(r"Shutting down \(SIGINT\)")
    assert server.wait_for_exit() == 0
    assert "Traceback" not in server._text and "KeyboardInterrupt" not in server._text
    wait_until(lambda: not Path(f"/proc/{worker}").exists(), "the worker's end")


def test_ctrl_c_ends_a_server_that_stands_in_the_debugger(
    terminal: Callable[..., Terminal], connect_h1: Callable[..., H1Client]
) -> None:
    server = terminal(f"{APPS}/debugged.py:app")
    client = connect_h1(server.listener())
    client.request("GET", "/breakpoint")
    server.wait_for(PROMPT)
    server.press("\x03")
    server.wait_for(r"Shutting down \(SIGINT\)")
    end = time.monotonic() + DEADLINE
    while server.process.poll() is None and time.monotonic() < end:
        server.press("\x03")  # said twice it ends at once, if it is not the same key press
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.process.wait(1.2)
    assert server.wait_for_exit() == 3
    # The debugger had taken the terminal's echo and lines for itself, and was killed.
    assert termios.tcgetattr(server.theirs) == server.before


def test_ctrl_c_ends_a_start(terminal: Callable[..., Terminal], tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("import time\nprint('loading', flush=True)\ntime.sleep(60)\n")
    server = terminal("main:app")
    server.wait_for("loading")
    server.press("\x03")
    assert server.wait_for_exit() == 0
    assert "Traceback" not in server._text


@pytest.mark.parametrize("arguments", [["--workers", "2"], []], ids=["two workers", "no terminal"])
def test_other_workers_have_no_terminal(
    terminal: Callable[..., Terminal], serve: Callable[..., Server], connect_h1: Callable[..., H1Client], arguments: list[str]
) -> None:
    listener = terminal(f"{APPS}/debugged.py:app", *arguments).listener() if arguments else serve("debugged.py:app").listener
    assert connect_h1(listener).get("/stdin").body.split()[1] == b"False"


@pytest.mark.slow
def test_a_worker_in_any_debugger_is_not_taken_for_hung(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client]
) -> None:
    server = serve("debugged.py:app", hcrs={"worker_timeout": 1}, env={"HELD": "3"})
    before = server.worker_pids()
    assert connect_h1(server.listener).get("/held").status == 200
    assert server.worker_pids() == before
    assert "has not answered" not in server.log
