"""SIGUSR2: another server takes over the listeners, and no connection is refused."""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from end_to_end.h1_client import H1Client
from end_to_end.h2_client import H2Client
from end_to_end.server import Listening, Server, is_alive, wait_until

STARTS = r"Process (\d+) is starting to succeed this server \(SIGUSR2\)"
SUCCEEDED = r"Shutting down: process (\d+) has succeeded this server"


class Visitors:
    """Clients that open one connection after the other, and count the requests on each."""

    def __init__(self, listener: Listening) -> None:
        self.served: list[bytes] = []
        self.failures: list[BaseException] = []
        self._listener = listener

    @contextmanager
    def visiting(self, count: int = 3) -> Iterator[None]:
        """Lets so many of them visit for the time of a ``with``. None of them may fail."""
        stopped = threading.Event()
        threads = [threading.Thread(target=self._visit, args=(number, stopped)) for number in range(count)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stopped.set()
            for thread in threads:
                thread.join(30)
        assert self.failures == []

    def _visit(self, number: int, stopped: threading.Event) -> None:
        while not stopped.is_set():
            try:
                with H1Client(self._listener) as client:
                    response = client.get("/pid" if number else "/nap?seconds=0.05")
                    assert response.status == 200
                    self.served.append(response.body)
            except (AssertionError, OSError, EOFError) as failure:
                self.failures.append(failure)

    def wait_for_more(self, count: int = 20) -> None:
        """Waits until as many more requests were served."""
        aim = len(self.served) + count
        wait_until(lambda: len(self.served) >= aim, f"{count} more visits")


@contextmanager
def succeeded(server: Server) -> Iterator[int]:
    """Lets another server succeed this one for the time of a ``with``. Yields its process id; it has to end well."""
    server.worker_pids()
    before = len(re.findall(STARTS, server.log))
    server.signal(signal.SIGUSR2)
    pid = int(server.wait_for_log(STARTS, before + 1)[-1][1])
    try:
        yield pid
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not is_alive(pid), "the end of the successor")
    finally:
        if is_alive(pid):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
def test_no_connection_is_refused_and_no_request_lost(
    serve: Callable[..., Server], connect_h2: Callable[..., H2Client], tmp_path: Path, key: str, threads: Any
) -> None:
    pid_file = tmp_path / "hcrs.pid"
    server = serve("plain.py:app", workers=2, pid_path=str(pid_file), graceful_timeout=20, hcrs={"io_threads": threads})
    client, other = connect_h2(server.listener), connect_h2(server.listener)
    waiting = client.request("GET", "/nap?seconds=2")
    visitors = Visitors(server.listener)
    with visitors.visiting():
        visitors.wait_for_more()
        with succeeded(server) as successor:
            server.wait_for_log(SUCCEEDED)
            assert pid_file.read_text() == str(successor)
            other.wait_for_goaway()
            assert client.response(waiting).status == 200, "it was begun before"
            wait_until(lambda: not server.is_running, "the end of the first server")
            assert not pid_file.with_name("hcrs.pid.oldbin").exists()
            visitors.wait_for_more()
            # Once more, by the new one.
            os.kill(successor, signal.SIGUSR2)
            third = int(server.wait_for_log(STARTS, 2)[1][1])
            server.wait_for_log(SUCCEEDED, 2)
            wait_until(lambda: not is_alive(successor), "the end of the second server")
            visitors.wait_for_more()
            assert pid_file.read_text() == str(third)
    try:
        assert server.log.count("accounting:") == 0
    finally:
        os.kill(third, signal.SIGTERM)
        wait_until(lambda: not is_alive(third), "the end of the third server")
    assert not pid_file.exists()


def test_a_successor_that_cannot_start_changes_nothing(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client], tmp_path: Path
) -> None:
    app = tmp_path / "app.py"
    working = "async def app(scope, receive, send):\n    await send({'type': 'http.response.start', 'status': 204, 'headers': []})\n"
    working += "    await send({'type': 'http.response.body'})\n"
    app.write_text(working)
    pid_file = tmp_path / "hcrs.pid"
    server = serve(f"{app}:app", pid_path=str(pid_file), hcrs={"lifespan": "off"})
    client = connect_h1(server.listener)
    assert client.get().status == 204
    app.write_text("raise RuntimeError('half written')\n")
    server.signal(signal.SIGUSR2)
    server.wait_for_log(r"Process \d+ exited with status 1 before it could succeed this server, which continues to serve")
    assert client.get().status == 204
    assert pid_file.read_text() == str(server.pid)
    assert "RuntimeError: half written" in server.log
    app.write_text(working)
    with succeeded(server) as successor:
        server.wait_for_log(SUCCEEDED)
        assert connect_h1(server.listener).get().status == 204
        assert pid_file.read_text() == str(successor)
        wait_until(lambda: not server.is_running, "the end of the first server")


def test_unix_sockets_and_inherited_descriptors_are_passed_on(serve: Callable[..., Server], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as passed:
        server = serve(
            "plain.py:app",
            bind=[f"unix:{tmp_path}/socket", f"fd://{passed.fileno()}"],
            pass_fds=[passed.fileno()],
        )
        where = passed.getsockname()
    with succeeded(server):
        server.wait_for_log(SUCCEEDED)
        wait_until(lambda: not server.is_running, "the end of the first server")
        for family, address in ((socket.AF_UNIX, f"{tmp_path}/socket"), (socket.AF_INET, where)):
            with socket.socket(family, socket.SOCK_STREAM) as client:
                client.settimeout(10)
                client.connect(address)
                client.sendall(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
                assert client.recv(100).startswith(b"HTTP/1.1 200")


def test_the_service_manager_learns_the_new_process(serve: Callable[..., Server], tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(10)
        server = serve("plain.py:app", env={"NOTIFY_SOCKET": str(tmp_path / "notify")})
        with succeeded(server) as successor:
            server.wait_for_log(SUCCEEDED)
            wait_until(lambda: not server.is_running, "the end of the first server")
            manager.setblocking(False)
            messages = []
            while True:
                try:
                    messages.append(manager.recv(4096).decode())
                except BlockingIOError:
                    break
            assert f"MAINPID={successor}" in messages
            after = messages[messages.index(f"MAINPID={successor}") :]
            assert not any("STOPPING" in message for message in after), "the service goes on"


def test_the_program_that_is_named_is_started_even_if_its_file_was_replaced(
    launch: Callable[..., Server], tmp_path: Path
) -> None:
    """As an upgrade of the package does."""
    server = launch("plain.py:app").wait_until_running()
    program = Path(server.arguments[0])
    wrapper = tmp_path / "hcrs"
    wrapper.write_text(f"#!{sys.executable}\nimport os, sys\nos.execv({str(program)!r}, [*sys.argv, '--name=next'])\n")
    wrapper.chmod(0o755)
    server.stop()
    python = {"flags": ["--python", sys.executable]}
    link = tmp_path / "current"
    link.symlink_to(program)
    server = launch("plain.py:app", started_by=["sh", "-c", f'shift; exec {link} "$@"', "sh"], **python)
    server.wait_until_running()
    link.unlink()
    link.symlink_to(wrapper)
    with succeeded(server) as successor:
        server.wait_for_log(SUCCEEDED)
        assert Path(f"/proc/{successor}/cmdline").read_bytes().startswith(b"next: edge ")
        wait_until(lambda: not server.is_running, "the end of the first server")
