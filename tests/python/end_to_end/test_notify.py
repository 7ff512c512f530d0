"""Notifications to the service manager over ``NOTIFY_SOCKET``."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from end_to_end.h1_client import H1Client
from end_to_end.server import APPS, DEADLINE, Server


class Manager:
    """A service manager's socket."""

    def __init__(self, bound: socket.socket) -> None:
        self._bound = bound

    def notification(self) -> dict[str, str]:
        """Waits for the next notification, and returns its assignments."""
        lines = self._bound.recv(4096).decode().splitlines()
        return {name: value for name, _, value in (line.partition("=") for line in lines)}

    def wait_for(self, name: str) -> dict[str, str]:
        """Waits for the next notification that assigns the variable."""
        while name not in (found := self.notification()):
            pass
        return found

    def wait_for_status(self, status: str) -> dict[str, str]:
        """Waits for the next notification with this status."""
        while (found := self.notification()).get("STATUS") != status:
            pass
        return found


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    """A service manager."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
        bound.bind(str(tmp_path / "notify"))
        bound.settimeout(DEADLINE)
        yield Manager(bound)


def test_service_manager_is_notified_of_ready_and_stopping(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client], manager: Manager, tmp_path: Path
) -> None:
    server = serve("plain.py:app", workers=2, env={"NOTIFY_SOCKET": str(tmp_path / "notify")})
    for ready in range(3):
        starting = manager.notification()
        assert starting == {"STATUS": f"Starting: {ready} of 2 workers ready", "EXTEND_TIMEOUT_USEC": "80000000"}
    assert manager.notification() == {"READY": "1", "STATUS": "Serving: 2 of 2 workers ready"}
    assert connect_h1(server.listener).get().status == 200
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    server.signal(signal.SIGHUP)
    reloading = manager.notification()
    assert (reloading["RELOADING"], reloading["STATUS"]) == ("1", "Reloading: 2 of 2 workers ready")
    assert before <= int(reloading["MONOTONIC_USEC"]) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    for _ in range(2):
        assert manager.notification()["STATUS"] == "Reloading: 2 of 2 workers ready"
    assert manager.notification() == {"READY": "1", "STATUS": "Serving: 2 of 2 workers ready"}
    assert server.stop() == 0
    stopping = manager.notification()
    assert stopping["STOPPING"] == "1"
    assert stopping["STATUS"] == "Stopping: requests in flight finish within 3 s"
    assert stopping["EXTEND_TIMEOUT_USEC"] == "83000000"
    assert manager.notification()["STATUS"] == "Stopping: the app shuts down"


def test_status_tells_of_a_worker_that_has_died(serve: Callable[..., Server], manager: Manager, tmp_path: Path) -> None:
    server = serve("plain.py:app", workers=2, env={"NOTIFY_SOCKET": str(tmp_path / "notify")})
    manager.wait_for("READY")
    os.kill(server.worker_pids()[0], signal.SIGKILL)
    manager.wait_for_status("Serving: 1 of 2 workers ready")
    manager.wait_for_status("Serving: 2 of 2 workers ready")


def test_welcome_page_is_ready_without_workers(
    serve: Callable[..., Server], manager: Manager, tmp_path: Path
) -> None:
    serve(None, env={"NOTIFY_SOCKET": str(tmp_path / "notify")})
    assert manager.wait_for("READY") == {"READY": "1", "STATUS": "Serving the welcome page"}


def test_service_manager_is_notified_of_a_reload_that_fails(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client], manager: Manager, tmp_path: Path
) -> None:
    (tmp_path / "site.toml").write_text('bind = "127.0.0.1:0"\napplication_path = "mine:app"\n')
    module = tmp_path / "mine.py"
    plain = (APPS / "plain.py").read_text()
    module.write_text(plain)
    server = serve(
        None, config_file=tmp_path / "site.toml", cwd=tmp_path, env={"NOTIFY_SOCKET": str(tmp_path / "notify")}
    )
    assert manager.wait_for("READY")["READY"] == "1"
    module.write_text("raise RuntimeError('not yet')\n")
    server.signal(signal.SIGHUP)
    assert manager.wait_for("RELOADING")["RELOADING"] == "1"
    assert manager.wait_for("READY")["READY"] == "1"
    server.wait_for_log("goes on serving")
    assert connect_h1(server.listener).get().status == 200


def test_app_does_not_see_the_service_managers_socket(
    serve: Callable[..., Server], manager: Manager, tmp_path: Path
) -> None:
    server = serve("plain.py:app", env={"NOTIFY_SOCKET": str(tmp_path / "notify")})
    assert manager.wait_for("READY")["READY"] == "1"
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
    serve: Callable[..., Server], manager: Manager, tmp_path: Path
) -> None:
    environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "400000"}
    server = serve("plain.py:app", hcrs={"io_threads": 2}, env=environment)
    heard: list[str] = []
    while heard.count("WATCHDOG") < 6 or "READY" not in heard:
        heard += manager.notification()
    for worker in server.worker_pids():
        assert b"WATCHDOG" not in Path(f"/proc/{worker}/environ").read_bytes()
    assert server.stop() == 0


def test_watchdog_of_another_process_is_not_fed(
    serve: Callable[..., Server], manager: Manager, tmp_path: Path
) -> None:
    environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "100000", "WATCHDOG_PID": "1"}
    server = serve("plain.py:app", env=environment)
    assert manager.wait_for("READY")["READY"] == "1"
    assert server.stop() == 0
    while "STOPPING" not in (heard := manager.notification()):
        assert "WATCHDOG" not in heard
