"""Sockets that a service manager passes, as systemd does for a socket unit (``sd_listen_fds(3)``)."""

from __future__ import annotations

import json
import os
import re
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from end_to_end.h1_client import H1Client
from end_to_end.server import Listening, Server, find_tool, wait_until

Serve = Callable[..., Server]

#: Starts a command with sockets from descriptor 3 on, as a manager does after its fork.
_STARTER = """
import json, os, sys
sockets, names, command = json.loads(sys.argv[1]), sys.argv[2], sys.argv[3:]
copies = [os.dup2(fd, 100 + at) for at, fd in enumerate(sockets)]
for at, copy in enumerate(copies):
    os.dup2(copy, 3 + at)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(sockets))} | ({"LISTEN_FDNAMES": names} if names else {})
os.execv(command[0], command)
"""


class Manager:
    """A service manager: it holds the sockets, and passes them to each service that it starts."""

    def __init__(self, launch: Serve) -> None:
        self._launch = launch
        self.sockets: list[socket.socket] = []

    def listen(self, count: int) -> list[int]:
        """Makes sockets that listen, and returns their ports."""
        made = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
        self.sockets += made
        return [each.getsockname()[1] for each in made]

    def start(self, names: str = "", app: str | None = "plain.py:app", **options: object) -> Server:
        """Starts a service without waiting for it."""
        numbers = [each.fileno() for each in self.sockets]
        starter = [sys.executable, "-c", _STARTER, json.dumps(numbers), names]
        return self._launch(app, started_by=starter, pass_fds=numbers, **options)

    def close(self) -> None:
        """Closes the sockets."""
        for each in self.sockets:
            each.close()


@pytest.fixture
def manager(launch: Serve) -> Iterator[Manager]:
    """A service manager without sockets."""
    made = Manager(launch)
    yield made
    made.close()


def served(server: Server, count: int) -> list[tuple[str, int]]:
    """Waits for that many listeners, and returns their schemes and ports."""
    server.wait_for_log("Running on", count)
    return [(scheme, int(port)) for scheme, port in re.findall(r"Running on (\w+)://\S+:(\d+) ", server.log)]


def test_passed_sockets_take_the_place_of_the_default_address(
    manager: Manager, connect_h1: Callable[..., H1Client], tmp_path: Path
) -> None:
    ports = manager.listen(2)
    (tmp_path / "hcrs.toml").write_text("")
    plain = Path(__file__).parent / "apps" / "plain.py"
    server = manager.start(app=None, config_file=tmp_path / "hcrs.toml", flags=[f"{plain}:app"])
    assert served(server, 2) == [("http", port) for port in ports]
    for port in ports:
        assert connect_h1(Listening("http", "127.0.0.1", port)).get().body == b"hello"
    assert server.stop() == 0


def test_names_decide_whether_clients_speak_tls(manager: Manager, connect_h1: Callable[..., H1Client]) -> None:
    first, second = manager.listen(2)
    server = manager.start("http:https", tls=True, insecure_bind="127.0.0.1:0")
    assert served(server, 2) == [("http", first), ("https", second)]
    assert connect_h1(Listening("http", "127.0.0.1", first)).get().body == b"hello"
    assert connect_h1(Listening("https", "127.0.0.1", second)).get().body == b"hello"
    assert server.stop() == 0


def test_sockets_without_such_names_take_the_places_of_the_addresses_in_order(manager: Manager) -> None:
    first, second = manager.listen(2)
    server = manager.start("hcrs.socket:hcrs.socket", tls=True, insecure_bind="127.0.0.1:1", hcrs={"redirect_http": True})
    assert served(server, 2) == [("https", first), ("http", second)]
    assert H1Client(Listening("http", "127.0.0.1", second)).get("/a").header("location") == f"https://127.0.0.1:{first}/a"
    assert "Nothing listens" not in server.log
    assert server.stop() == 0


def test_addresses_that_no_socket_replaces_are_logged(manager: Manager) -> None:
    (port,) = manager.listen(1)
    server = manager.start(bind=["127.0.0.1:1", "127.0.0.1:2"])
    assert served(server, 1) == [("http", port)]
    server.wait_for_log("Nothing listens on 127.0.0.1:2: the service manager has passed sockets")
    assert server.stop() == 0


def test_a_socket_named_https_needs_a_certificate(manager: Manager) -> None:
    manager.listen(1)
    server = manager.start("https")
    assert server.wait_for_exit() == 78
    assert "LISTEN_FDNAMES: the socket fd://3 is named https, but there is no certificate" in server.log


@pytest.mark.parametrize(("binds", "named"), [(["fd://3"], ["4"]), (["fd://3", "fd://4"], [])])
def test_sockets_that_no_fd_address_names_are_logged(manager: Manager, binds: list[str], named: list[str]) -> None:
    manager.listen(2)
    server = manager.start(bind=binds)
    assert len(served(server, len(binds))) == len(binds)
    told = [line for line in server.log.splitlines() if "passed sockets" in line]
    assert len(told) == bool(named)
    assert [word.partition("//")[2] for line in told for word in line.split() if "//" in word] == named
    assert server.stop() == 0


def test_variables_and_sockets_are_not_passed_to_workers(manager: Manager) -> None:
    manager.listen(1)
    server = manager.start("http")
    served(server, 1)
    inode = os.fstat(manager.sockets[0].fileno()).st_ino
    for pid in server.worker_pids():
        assert b"LISTEN_" not in Path(f"/proc/{pid}/environ").read_bytes()
        open_files = [os.readlink(each) for each in Path(f"/proc/{pid}/fd").iterdir()]
        assert f"socket:[{inode}]" not in open_files
    assert server.stop() == 0


def test_clients_that_connect_during_a_restart_are_served_by_the_next_server(manager: Manager) -> None:
    (port,) = manager.listen(1)
    where = Listening("http", "127.0.0.1", port)
    first = manager.start()
    served(first, 1)
    assert first.stop() == 0
    with H1Client(where) as waiting:
        waiting.request()
        second = manager.start()
        assert waiting.response().body == b"hello"
    assert second.stop() == 0


def test_systemd_socket_activate_starts_the_server_with_the_first_connection(launch: Serve) -> None:
    tool = find_tool("systemd-socket-activate", "systemd")
    if tool is None:
        pytest.skip("systemd-socket-activate is missing: apt-get install systemd")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = launch("plain.py:app", started_by=[tool, f"--listen=127.0.0.1:{port}", "--fdname=http"])
    server.wait_for_log("Listening on")
    with H1Client(Listening("http", "127.0.0.1", port)) as client:
        assert client.get().body == b"hello"
    assert served(server, 1) == [("http", port)]
    wait_until(server.worker_pids, "the worker")
    assert server.stop() == 0
