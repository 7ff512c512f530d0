"""``breakpoint()`` in an app, with the server in a terminal; and workers that stand in a debugger are not taken for hung."""

from __future__ import annotations

import contextlib
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from end_to_end.h1_client import H1Client
from end_to_end.server import APPS, DEADLINE, Server, wait_until
from end_to_end.terminal import Terminal

PROMPT = r"\(Pdb\) "


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def start(*arguments: str) -> Terminal:
        opened.append(Terminal(tmp_path, [*arguments, "--bind", "127.0.0.1:0", "--graceful-timeout", "0.5"]))
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


@pytest.mark.slow
@pytest.mark.parametrize("words", [["--reload"], ["dev", "--insecure-bind", "127.0.0.1:0", "--access-logfile", ""]], ids=["reload", "dev"])
def test_breakpoint_is_answered_by_each_worker_that_a_change_starts(
    terminal: Callable[..., Terminal], connect_h1: Callable[..., H1Client], tmp_path: Path, words: list[str]
) -> None:
    source = (APPS / "debugged.py").read_text()
    (tmp_path / "main.py").write_text(source)
    server = terminal(*words, "main:app")
    listener = server.listener()
    assert connect_h1(listener).get("/").status == 200
    for count in range(3):
        client = connect_h1(listener)
        client.request("GET", "/breakpoint")
        server.wait_for(PROMPT)
        if count == 1:
            # A worker that stands in the debugger is left behind, and ended after graceful_timeout.
            (tmp_path / "main.py").write_text(source + "# again, and longer\n")
            server.wait_for("All workers have been replaced")
            assert client.response().status == 502
            server.wait_for("was killed by SIGKILL")
            continue
        server.press("value = 'changed'\n")
        server.wait_for(PROMPT)
        server.press("c\n")
        assert client.response().body.split()[1] == b"changed"
        if count == 0:
            (tmp_path / "main.py").write_text(source + "# changed\n")
            server.wait_for("All workers have been replaced")


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
