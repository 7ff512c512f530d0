"""Notifications to the service manager over ``NOTIFY_SOCKET``."""

from __future__ import annotations

import re
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from end_to_end.h1_client import H1Client
from end_to_end.server import APPS, DEADLINE, Server


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Callable[[], str]]:
    """A service manager's socket, as a function that waits for the next notification."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
        bound.bind(str(tmp_path / "notify"))
        bound.settimeout(DEADLINE)
        yield lambda: bound.recv(4096).decode()


def test_service_manager_is_notified_of_ready_and_stopping(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client], manager: Callable[[], str], tmp_path: Path
) -> None:
    server = serve("plain.py:app", workers=2, env={"NOTIFY_SOCKET": str(tmp_path / "notify")})
    assert manager() == "READY=1"
    assert connect_h1(server.listener).get().status == 200
    server.signal(signal.SIGHUP)
    assert re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=\d+", manager())
    assert manager() == "READY=1"
    assert server.stop() == 0
    assert manager() == "STOPPING=1"


def test_service_manager_is_notified_of_a_reload_that_fails(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client], manager: Callable[[], str], tmp_path: Path
) -> None:
    (tmp_path / "site.toml").write_text('bind = "127.0.0.1:0"\napplication_path = "mine:app"\n')
    module = tmp_path / "mine.py"
    plain = (APPS / "plain.py").read_text()
    module.write_text(plain)
    server = serve(
        None, config_file=tmp_path / "site.toml", cwd=tmp_path, env={"NOTIFY_SOCKET": str(tmp_path / "notify")}
    )
    assert manager() == "READY=1"
    module.write_text("raise RuntimeError('not yet')\n")
    server.signal(signal.SIGHUP)
    assert manager().startswith("RELOADING=1\n")
    assert manager() == "READY=1"
    server.wait_for_log("goes on serving")
    assert connect_h1(server.listener).get().status == 200


def test_app_does_not_see_the_service_managers_socket(
    serve: Callable[..., Server], manager: Callable[[], str], tmp_path: Path
) -> None:
    server = serve("plain.py:app", env={"NOTIFY_SOCKET": str(tmp_path / "notify")})
    assert manager() == "READY=1"
    for worker in server.worker_pids():
        environment = Path(f"/proc/{worker}/environ").read_bytes()
        assert b"NOTIFY_SOCKET" not in environment


def test_service_manager_that_is_not_there_does_not_stop_the_server(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client], tmp_path: Path
) -> None:
    server = serve("plain.py:app", env={"NOTIFY_SOCKET": str(tmp_path / "nobody")})
    server.wait_for_log(r"Cannot notify the service manager on .* \(NOTIFY_SOCKET\)")
    assert connect_h1(server.listener).get().status == 200


def test_watchdog_hears_of_the_server_as_long_as_it_lives(
    serve: Callable[..., Server], manager: Callable[[], str], tmp_path: Path
) -> None:
    environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "400000"}
    server = serve("plain.py:app", hcrs={"io_threads": 2}, env=environment)
    heard: list[str] = []
    while heard.count("WATCHDOG=1") < 6 or "READY=1" not in heard:
        heard.append(manager())
    for worker in server.worker_pids():
        assert b"WATCHDOG" not in Path(f"/proc/{worker}/environ").read_bytes()
    assert server.stop() == 0


def test_watchdog_of_another_process_is_not_fed(
    serve: Callable[..., Server], manager: Callable[[], str], tmp_path: Path
) -> None:
    environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "100000", "WATCHDOG_PID": "1"}
    server = serve("plain.py:app", env=environment)
    assert manager() == "READY=1"
    assert server.stop() == 0
    assert manager() == "STOPPING=1"
