"""Broken code with ``use_reloader``: requests are answered with the reason until it is mended, no connection is refused, and
requests that come while workers start wait for the new code."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from end_to_end.h1_client import Closed, H1Client
from end_to_end.h2_client import H2Client
from end_to_end.project import MAIN, Project
from end_to_end.server import Listening, Server, wait_until

GIVEN_UP = "The app cannot be served; requests are answered with the reason until a file changes"
RESTARTING = r"Replacing all workers \(\S*/main.py has changed\)"
ALL = "All workers have been replaced"

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
HANDSHAKE = (
    "upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)

#: Written before the app's code: it is loaded slowly.
SLOWLY = "import time; time.sleep(1.5)\n"


class Knocking:
    """Makes a new connection for each request, one after the other."""

    def __init__(self, where: Listening) -> None:
        self.answers: list[tuple[int, bytes]] = []
        self.errors: list[Exception] = []
        self._where = where
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="knocking", daemon=True)

    def _run(self) -> None:
        while not self._is_over.wait(0.01) and len(self.answers) < 10_000:
            try:
                with H1Client(self._where) as client:
                    response = client.get("/", "connection: close\r\n")
                    self.answers.append((response.status, response.body))
            except (OSError, Closed) as error:
                self.errors.append(error)

    def has_got(self, body: bytes) -> bool:
        """Whether the last answer has this in its body."""
        return bool(self.answers) and body in self.answers[-1][1]

    @contextmanager
    def going_on(self) -> Iterator[Knocking]:
        """Knocks meanwhile."""
        self._thread.start()
        try:
            yield self
        finally:
            self._is_over.set()
            self._thread.join(30)


@pytest.fixture
def launch_project(launch: Callable[..., Server], project: Project) -> Callable[..., Server]:
    def start(**options: object) -> Server:
        app, env = f"{project.folder}/main.py:app", {"PYTHONDONTWRITEBYTECODE": "1"}
        return launch(app, use_reloader=True, keep_alive_timeout=60, env=env, **options)

    return start


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ("def app(:", "SyntaxError: "),
        ("raise SystemExit('not <yet>')", "not <yet>"),
        ("import os; os._exit(5)", "exited with status 5 before it was ready"),
    ],
    ids=["syntax", "exit", "death"],
)
def test_a_first_start_that_fails_is_explained_until_the_code_is_mended(
    launch_project: Callable[..., Server], project: Project, connect_h2: Callable[..., H2Client], broken: str, reason: str
) -> None:
    project.write("main.py", broken)
    server = launch_project(workers=2).wait_until_running()
    client = connect_h2(server.listener)
    response = client.get()
    assert response.status == 500
    assert reason in response.body.decode(), response.body
    assert response.body.startswith(b"The app cannot be served.\n") and b"</" not in response.body
    assert b"importlib" not in response.body and b"hcrs/worker" not in response.body, "only the app's own frames"
    project.write("main.py", broken + "  # still so")
    server.wait_for_log(GIVEN_UP, 2)
    assert client.get().status == 500
    project.write("main.py", MAIN)
    server.wait_for_log(RESTARTING, 2)
    assert client.get().body == b"first"
    server.wait_for_log(ALL)
    assert len(server.worker_pids()) == 2
    assert client.goaway is None
    assert server.stop_and_check() == 0


def test_browsers_get_a_page_and_other_clients_text(
    launch_project: Callable[..., Server], project: Project, connect_h1: Callable[..., H1Client]
) -> None:
    project.write("main.py", "raise RuntimeError('<b>&')")
    server = launch_project().wait_until_running()
    page = httpx.get(f"{server.listener.url}/any/path", headers={"accept": BROWSER})
    assert (page.status_code, page.headers["content-type"]) == (500, "text/html; charset=utf-8")
    assert page.headers["cache-control"] == "no-store"
    assert "RuntimeError: &lt;b&gt;&amp;" in page.text and "<script" not in page.text and "<b>" not in page.text
    posted = httpx.post(server.listener.url, headers={"accept": BROWSER}, content=b"x" * 100_000)
    assert posted.status_code == 500 and "RuntimeError" in posted.text
    text = httpx.get(server.listener.url)
    assert (text.status_code, text.headers["content-type"]) == (500, "text/plain; charset=utf-8")
    assert text.text.endswith("RuntimeError: <b>&\n"), text.text
    client = connect_h1(server.listener)
    client.request("HEAD")
    head = client.response(to_head=True)
    assert (head.status, head.header("content-length")) == (500, str(len(text.content)))
    assert client.get("/socket", HANDSHAKE).status == 500
    assert server.stop_and_check() == 0


def test_requests_that_wait_for_code_that_fails_get_the_reason(
    launch_project: Callable[..., Server], project: Project, connect_h1: Callable[..., H1Client]
) -> None:
    project.write("main.py", SLOWLY + "raise RuntimeError('at last')")
    server = launch_project().wait_until_running()
    waiting = [connect_h1(server.listener) for _ in range(3)]
    for client, headers in zip(waiting, ["", f"accept: {BROWSER}\r\n", HANDSHAKE], strict=True):
        client.request("GET", "/", headers)
    assert GIVEN_UP not in server.log, "they come while the app is loaded"
    responses = [client.response() for client in waiting]
    assert [response.status for response in responses] == [500, 500, 500]
    assert all(b"RuntimeError: at last" in response.body for response in responses)
    assert b"<pre>" in responses[1].body and b"<pre>" not in responses[0].body + responses[2].body
    assert server.stop_and_check() == 0


def test_requests_that_come_during_a_restart_are_answered_by_the_new_code(
    serve_project: Callable[..., Server], project: Project, connect_h2: Callable[..., H2Client]
) -> None:
    server = serve_project(workers=2)
    client = connect_h2(server.listener)
    assert client.get().body == b"first"
    project.write("main.py", SLOWLY + project.read("main.py").replace("first", "second"))
    server.wait_for_log(RESTARTING)
    streams = [client.request("GET", "/") for _ in range(20)]
    other = connect_h2(server.listener)
    assert other.get().body == b"second"
    assert {client.response(stream).body for stream in streams} == {b"second"}
    assert client.goaway is None


def test_no_connection_is_refused_from_the_start_through_breaks_and_mends(
    launch_project: Callable[..., Server], project: Project
) -> None:
    project.write("main.py", SLOWLY + project.read("main.py"))
    server = launch_project().wait_until_running()
    with Knocking(server.listener).going_on() as knocking:
        wait_until(lambda: knocking.has_got(b"first"), "the app")
        project.break_code()
        wait_until(lambda: knocking.has_got(b"SyntaxError"), "the reason")
        project.edit("main.py", "first", "second")
        server.wait_for_log(GIVEN_UP, 2)
        project.mend_code()
        wait_until(lambda: knocking.has_got(b"second"), "the mended app")
    assert not knocking.errors
    assert {(status, body if status == 200 else b"") for status, body in knocking.answers} == {
        (200, b"first"),
        (500, b""),
        (200, b"second"),
    }
    assert server.stop_and_check() == 0


def test_requests_in_flight_finish_while_others_learn_of_the_break(
    serve_project: Callable[..., Server], project: Project, connect_h2: Callable[..., H2Client], tmp_path: Path
) -> None:
    project.edit(
        "main.py",
        '    assert scope["type"] == "http"\n',
        '    assert scope["type"] == "http"\n'
        '    if scope["path"] == "/slow":\n'
        "        import asyncio, pathlib\n"
        f"        pathlib.Path({str(tmp_path / 'begun')!r}).touch()\n"
        f"        while not pathlib.Path({str(tmp_path / 'go')!r}).exists():\n"
        "            await asyncio.sleep(0.02)\n"
        '        scope["path"] = "/"\n',
    )
    server = serve_project(graceful_timeout=30)
    client = connect_h2(server.listener)
    slow = client.request("GET", "/slow")
    wait_until((tmp_path / "begun").exists, "the slow request to begin")
    project.break_code()
    server.wait_for_log(GIVEN_UP)
    assert client.get().status == 500
    (tmp_path / "go").touch()
    response = client.response(slow)
    assert (response.status, response.body) == (200, b"first")
    project.mend_code()
    server.wait_for_log(ALL)
    assert client.get().body == b"first"


def test_a_worker_that_dies_and_cannot_come_back_is_explained(
    serve_project: Callable[..., Server], project: Project, connect_h2: Callable[..., H2Client], tmp_path: Path
) -> None:
    flag = tmp_path / "flag"
    flag.touch()
    project.edit("main.py", "import importlib\n", f"import importlib\nopen({str(flag)!r})\n")
    project.edit("main.py", "    assert scope", "    import os; scope['path'] != '/die' or os._exit(3)\n    assert scope")
    server = serve_project()
    client = connect_h2(server.listener)
    assert client.get().body == b"first"
    flag.unlink()
    assert client.get("/die").status == 502
    response = client.get()
    assert response.status == 500 and b"FileNotFoundError" in response.body
    flag.touch()
    server.signal(signal.SIGHUP)
    server.wait_for_log(ALL)
    assert client.get().body == b"first"


def test_new_code_may_have_what_only_one_process_can_have(
    serve_project: Callable[..., Server], project: Project, connect_h2: Callable[..., H2Client]
) -> None:
    """As the port on which a debugger listens: the old worker ends before the new one starts."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    listen = f"import socket; only_one = socket.create_server(('127.0.0.1', {port}), reuse_port=False)"
    project.edit("main.py", "import importlib\n", f"import importlib\n{listen}\n")
    server = serve_project()
    client = connect_h2(server.listener)
    for old, new in [("first", "second"), ("second", "third")]:
        assert client.get().body.decode() == old
        project.edit("main.py", old, new)
        server.wait_for_log(ALL, 1 if new == "second" else 2)
    assert client.get().body == b"third"
    assert GIVEN_UP not in server.log


def test_workers_that_are_forked_have_the_code_of_the_last_change(
    serve_project: Callable[..., Server], project: Project, connect_h2: Callable[..., H2Client]
) -> None:
    server = serve_project(workers=2, hcrs={"preload": True})
    client = connect_h2(server.listener)
    assert client.get().body == b"first"
    project.break_code()
    server.wait_for_log(GIVEN_UP)
    assert b"SyntaxError" in client.get().body
    project.edit("main.py", "first", "second")
    server.wait_for_log(GIVEN_UP, 2)
    project.mend_code()
    server.wait_for_log(ALL)
    assert [client.get().body for _ in range(4)] == [b"second"] * 4
    assert client.goaway is None


def test_a_server_whose_code_is_broken_can_be_stopped(
    launch_project: Callable[..., Server], project: Project, connect_h1: Callable[..., H1Client]
) -> None:
    project.write("main.py", "def app(:")
    server = launch_project().wait_until_running()
    server.wait_for_log("SyntaxError")
    server.signal(signal.SIGHUP)
    server.wait_for_log(GIVEN_UP, 2)
    assert connect_h1(server.listener).get().status == 500
    start = time.monotonic()
    assert server.stop_and_check() == 0
    assert time.monotonic() - start < 20, "nothing is waited for"
