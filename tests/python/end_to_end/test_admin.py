"""The admin interface: what it reports, the commands that use it, and who it does not listen to."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from end_to_end.blocked_workers import blocked
from end_to_end.chromium import Chromium
from end_to_end.h1_client import H1Client
from end_to_end.h2_client import H2Client
from end_to_end.key_rows import shows
from end_to_end.server import Server, command, find_tool, wait_until
from end_to_end.test_succession import succeeded


class Admin:
    """A client of a server's admin interface, over a unix socket or TCP."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.address = server.wait_for_log(r"The admin interface is at http://(\S+)")[0][1]

    def hcrs(self, *words: str, code: int = 0) -> str:
        """Runs a command, which has to exit with the code. Returns its output."""
        done = subprocess.run(
            [command(), *words, "--admin-bind", self.address], capture_output=True, text=True, timeout=60
        )
        assert done.returncode == code, done.stderr
        return done.stdout if code == 0 else done.stderr

    def status(self) -> dict[str, Any]:
        """The state of the server."""
        told: dict[str, Any] = json.loads(self.hcrs("status", "--json"))
        return told

    def get(self, path: str, fields: str = "", method: str = "GET", host: str = "localhost") -> tuple[int, str]:
        """The status and the body of a reply."""
        unix = self.address.startswith("unix:")
        with socket.socket(socket.AF_UNIX if unix else socket.AF_INET) as client:
            client.settimeout(30)
            where: Any = self.address[5:] if unix else ("127.0.0.1", int(self.address.rpartition(":")[2]))
            client.connect(where)
            client.sendall(f"{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{fields}\r\n".encode())
            reply = b"".join(iter(lambda: client.recv(65536), b""))
        head, _, body = reply.partition(b"\r\n\r\n")
        return int(head.split(b" ")[1]), body.decode()


@pytest.fixture
def administered(serve: Callable[..., Server], tmp_path: Path) -> Callable[..., tuple[Server, Admin]]:
    """Starts a server with an admin interface."""

    def start(app: str = "plain.py:app", hcrs: dict[str, Any] | None = None, **config: Any) -> tuple[Server, Admin]:
        server = serve(app, hcrs={"admin_bind": f"unix:{tmp_path}/admin", **(hcrs or {})}, **config)
        return server, Admin(server)

    return start


def test_the_state_names_workers_requests_and_connections(
    administered: Callable[..., tuple[Server, Admin]], connect_h2: Callable[..., H2Client], key: str
) -> None:
    server, admin = administered(workers=2, tls=True)
    client = connect_h2(server.listener)
    assert client.get().status == 200
    waiting = client.request("GET", f"/gate?key={key}")
    wait_until(lambda: admin.status()["requests"]["in_flight"] == 1, "the request")
    status = admin.status()
    assert status["server"]["pid"] == server.pid and status["server"]["state"] == "serving"
    assert sorted(worker["pid"] for worker in status["workers"]) == server.worker_pids()
    assert [worker["slot"] for worker in status["workers"]] == [1, 2]
    assert all(worker["state"] == "ready" and worker["rss"] > 1_000_000 for worker in status["workers"])
    assert sum(worker["in_flight"] for worker in status["workers"]) == 1
    assert status["requests"]["by_protocol"]["h2"] == 1 and status["requests"]["by_status"]["2xx"] == 1
    [request] = status["in_flight"]
    assert (request["method"], request["path"], request["stage"]) == ("GET", "/gate", "app")
    assert request["worker"] in server.worker_pids() and request["stream"] == waiting
    assert status["connections"]["open"] == 1 and status["connections"]["handshakes"] == 1
    assert "localhost" in status["certificates"][0]["names"] and status["certificates"][0]["left"] > 0
    shown = admin.hcrs("status", "--once")
    assert "GET /gate" in shown and "\x1b" not in shown, "no colors where there is no terminal"
    assert all(len(line) <= 80 for line in shown.splitlines())
    client.reset(waiting)
    # Its own requests are in no log and in no metrics.
    assert admin.status()["requests"]["total"] <= 2


def test_metrics_are_read_by_the_clients_of_prometheus(
    administered: Callable[..., tuple[Server, Admin]], connect_h2: Callable[..., H2Client]
) -> None:
    server, admin = administered(workers=2)
    client = connect_h2(server.listener)
    for _ in range(10):
        assert client.get().status == 200
    _, text = admin.get("/metrics")
    families = {family.name: family for family in text_string_to_metric_families(text)}
    requests = families["hcrs_requests"].samples
    assert [sample.value for sample in requests if sample.labels == {"protocol": "h2", "status": "2xx"}] == [10]
    durations = families["hcrs_request_duration_seconds"].samples
    assert [
        sample.value
        for sample in durations
        if sample.name.endswith("_count") and sample.labels == {"protocol": "h2"}
    ] == [10]
    _, text = admin.get("/metrics", "accept: application/openmetrics-text; version=1.0.0\r\n")
    # The older form has no type for facts, whose name it shows with its suffix.
    names = {family.name for family in openmetrics.text_string_to_metric_families(text)}  # type: ignore[no-untyped-call]
    assert names == {name.removesuffix("_info") for name in families}


def test_only_the_servers_user_opens_the_socket(administered: Callable[..., tuple[Server, Admin]], tmp_path: Path) -> None:
    _, admin = administered()
    assert (tmp_path / "admin").stat().st_mode & 0o777 == 0o600
    assert admin.get("/nothing")[0] == 404
    assert admin.get("/stop")[0] == 405
    assert admin.get("/stop", method="POST", host="evil.example")[0] == 403
    assert admin.get("/stop", "origin: http://evil.example\r\n", method="POST")[0] == 403
    assert admin.status()["server"]["state"] == "serving"


@shows("plain.py:app", admin_bind="127.0.0.1:0")
def test_commands_change_a_running_server(server: Server, connect_h1: Callable[..., H1Client]) -> None:
    admin = Admin(server)
    before = server.worker_pids()
    assert admin.hcrs("scale", "3") == "the server runs 3 workers from now on\n"
    wait_until(lambda: len(server.worker_pids()) == 3, "three workers")
    admin.hcrs("scale", "1")
    wait_until(lambda: len(server.worker_pids()) == 1, "one worker")
    admin.hcrs("reload")
    server.wait_for_log("All workers have been replaced")
    wait_until(lambda: len(server.worker_pids()) == 1 and server.worker_pids() != before, "another worker")
    assert admin.hcrs("reopen") == "the logs were reopened\n"
    assert "File" in admin.hcrs("dump") and connect_h1(server.listener).get().status == 200
    restarts = dict(re.findall(r'hcrs_worker_restarts_total\{cause="(\w+)"\} (\d+)', admin.get("/metrics")[1]))
    assert (restarts["scale"], restarts["reload"]) == ("2", "1")
    assert admin.hcrs("stop") == "the server is stopping\n"
    assert server.wait_for_exit() == 0
    assert "no server can be reached" in admin.hcrs("status", code=1)


@shows("plain.py:app", admin_bind="127.0.0.1:0", live_path="/alive", ready_path="/ready", ready_workers=2, public_health=True, workers=2)
def test_probes_follow_the_workers_and_the_operator(
    server: Server, connect_h1: Callable[..., H1Client], connect_h2: Callable[..., H2Client]
) -> None:
    admin = Admin(server)

    def public() -> tuple[int, int]:
        client = connect_h1(server.listener)
        return client.get("/alive").status, client.get("/ready").status

    assert public() == (200, 200) and admin.get("/ready") == (200, "ready\n")
    assert connect_h2(server.listener).get("/ready").status == 200
    admin.hcrs("drain")
    assert public() == (200, 503) and admin.get("/ready") == (503, "not ready\n")
    assert admin.status()["server"]["state"] == "draining"
    assert connect_h1(server.listener).get("/").status == 200, "it still serves"
    admin.hcrs("drain", "--off")
    assert public() == (200, 200)
    os.kill(server.worker_pids()[0], signal.SIGKILL)
    wait_until(lambda: public() == (200, 503), "one worker to be too few")
    wait_until(lambda: public() == (200, 200), "the other one")


def test_without_public_health_the_paths_are_the_apps(administered: Callable[..., tuple[Server, Admin]], connect_h1: Callable[..., H1Client]) -> None:
    server, admin = administered()
    assert connect_h1(server.listener).get("/-/live").status == 404, "the app's answer"
    assert admin.get("/-/live") == (200, "live\n")


def test_probes_and_reports_are_answered_while_workers_are_blocked(
    administered: Callable[..., tuple[Server, Admin]], tmp_path: Path
) -> None:
    server, admin = administered()
    with blocked(server, tmp_path / "block"):
        assert admin.get("/-/live") == (200, "live\n")
        assert admin.status()["in_flight"][0]["path"] == "/block"
        assert "blocks the worker" in admin.hcrs("dump") or "time.sleep" in admin.hcrs("dump")


def test_a_successor_takes_the_interface_over(administered: Callable[..., tuple[Server, Admin]]) -> None:
    server, admin = administered()
    assert admin.status()["server"]["pid"] == server.pid
    with succeeded(server) as successor:
        server.wait_for_log(r"has succeeded this server")
        wait_until(lambda: not server.is_running, "the end of the first server")
        assert admin.status()["server"]["pid"] == successor


def test_the_view_is_drawn_again_in_a_terminal(administered: Callable[..., tuple[Server, Admin]]) -> None:
    _, admin = administered()
    ours, theirs = pty.openpty()
    view = subprocess.Popen([command(), "status", "--admin-bind", admin.address], stdout=theirs, stdin=theirs, stderr=theirs)
    os.close(theirs)
    try:
        seen = b""
        while seen.count(b"\x1b[H") < 3:
            seen += os.read(ours, 4096)
        assert b"\x1b[32mserving\x1b[0m" in seen
    finally:
        view.kill()
        view.wait()
        os.close(ours)


@pytest.mark.slow
def test_the_page_shows_the_server_and_what_clients_send_stays_text(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client], key: str, tmp_path: Path
) -> None:
    program, certutil = find_tool("chromium", "chromium"), find_tool("certutil", "libnss3-tools")
    if program is None or certutil is None:
        pytest.skip("chromium or certutil is missing: apt-get install chromium libnss3-tools")
    subprocess.run([command(), "cert", "dev", "--dir", str(tmp_path / "certs")], check=True, capture_output=True)
    server = serve("plain.py:app", hcrs={"admin_bind": "127.0.0.1:0"})
    admin = Admin(server)
    client = connect_h1(server.listener)
    client.request("GET", f"/gate?key={key}")
    browser = Chromium(program, certutil, tmp_path / "home", tmp_path / "certs" / "ca.pem")
    try:
        page = browser.open(f"http://{admin.address}/")
        assert page.text_when("state", "serving") == "serving"
        assert str(server.worker_pids()[0]) in page.text_when("workers", "ready")
        assert "GET /gate" in page.text_when("requests", "/gate")
        admin.hcrs("drain")
        assert page.text_when("state", "draining") == "draining", "it follows by itself"
    finally:
        browser.close()
    assert connect_h1(server.listener).get(f"/go?key={key}").status == 200
    assert client.response().status == 200
