"""Two servers behind HAProxy, which speaks HTTP/2 with them as ``examples/deploy/haproxy.cfg`` says: one after the other
is drained and started again, under load, and no client sees an error."""

from __future__ import annotations

import csv
import re
import signal
import socket
import ssl
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from end_to_end.h1_client import H1Client
from end_to_end.h2_client import H2Client
from end_to_end.server import Listening, Server, find_tool, wait_until
from end_to_end.ws_client import CLOSE, TEXT, WsClient, open_over_h1, open_over_h2

EXAMPLE = Path(__file__).parents[3] / "examples" / "deploy" / "haproxy.cfg"

#: The most requests of a client, far above what it makes while two servers are restarted.
MOST = 20_000

#: The code with which a server closes its WebSockets when it drains (RFC 6455 section 7.4.1).
GOING_AWAY = 1001

#: Messages of a WebSocket before its client closes it.
MESSAGES = 20


def free_port() -> int:
    """A port of which nothing is bound."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


class Front:
    """A running HAProxy."""

    def __init__(self, folder: Path, text: str, port: int) -> None:
        tool = find_tool("haproxy", "haproxy")
        if tool is None:
            pytest.skip("haproxy is missing: apt-get install haproxy")
        self.listener = Listening("https", "127.0.0.1", port)
        self._admin = folder / "admin.sock"
        self._log = (folder / "haproxy.log").open("w+b")
        (folder / "haproxy.cfg").write_text(text)
        self._process = subprocess.Popen(
            [tool, "-db", "-f", str(folder / "haproxy.cfg")], stdout=self._log, stderr=subprocess.STDOUT
        )

    @property
    def log(self) -> str:
        """What it has written so far."""
        return Path(str(self._log.name)).read_text()

    def status(self, server: str) -> str:
        """Its verdict on a server: ``UP``, ``DOWN``, or on the way to either."""
        with socket.socket(socket.AF_UNIX) as admin:
            admin.settimeout(5)
            admin.connect(str(self._admin))
            admin.sendall(b"show stat\n")
            answer = b""
            while piece := admin.recv(1 << 16):
                answer += piece
        rows = csv.DictReader(answer.decode().removeprefix("# ").splitlines())
        return next(row["status"] for row in rows if row["svname"] == server)

    def is_up(self, server: str) -> bool:
        """Whether its checks of the server succeed."""
        assert self._process.poll() is None, self.log
        return self._admin.exists() and self.status(server) == "UP"

    def stop(self) -> None:
        """Ends it."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(20)
        self._log.close()


def configured(folder: Path, certificate: dict[str, str], backend: str, ports: list[int], port: int) -> str:
    """The example with the addresses and files of this machine."""
    text = EXAMPLE.read_text()
    pair = folder / "site.pem"
    pair.write_text(Path(certificate["certfile"]).read_text() + Path(certificate["keyfile"]).read_text())
    authority = Path(certificate["certfile"]).with_name("ca.pem")
    for there, here in {
        "maxconn 20000\n": "maxconn 200\n",
        "    bind :80\n": "",
        "bind :443 ": f"bind 127.0.0.1:{port} ",
        "/etc/haproxy/site.pem": str(pair),
        "/etc/haproxy/app-ca.pem": str(authority),
        "/run/haproxy/admin.sock": str(folder / "admin.sock"),
        "default_backend app\n": f"default_backend {backend}\n",
        "app.example.com": "localhost",
        "uri /-/ready": "uri /",
    }.items():
        assert there in text, there
        text = text.replace(there, here)
    # The sections of the other backend go, so that nothing of it is checked.
    sections = re.split(r"(?=^(?:global|defaults|frontend|backend)\b)", text, flags=re.MULTILINE)
    kept = [each for each in sections if not each.startswith("backend") or each.startswith(f"backend {backend}\n")]
    text = "".join(kept)
    for number, each in enumerate(ports, 11):
        text, replaced = re.subn(rf"10\.0\.0\.{number}:\d+", f"127.0.0.1:{each}", text)
        assert replaced == 1, text
    return text


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
@pytest.mark.parametrize("backend", ["app", "app_h2c"])
def test_servers_are_drained_and_restarted_behind_haproxy_without_a_failed_request(
    backend: str,
    serve: Callable[..., Server],
    clients: Callable[[Listening], list[Client]],
    certificate: dict[str, str],
    tmp_path: Path,
) -> None:
    ports = [free_port(), free_port()]
    port = free_port()

    def start(which: int) -> Server:
        keys = certificate if backend == "app" else {}
        return serve("fleet.py:app", bind=f"127.0.0.1:{ports[which]}", workers=2, graceful_timeout=10, **keys)

    load: list[Client] = []

    def answered_by_all(*pids: int) -> bool:
        return all(client.failures or all(client.answered[str(pid)] > 2 for pid in pids) for client in load)

    def restart(which: int, name: str) -> None:
        assert servers[which].stop() == 0
        wait_until(lambda: not front.is_up(name), f"HAProxy to see that {name} is gone")
        servers[which] = start(which)
        wait_until(lambda: front.is_up(name), f"HAProxy to see that {name} is back")
        wait_until(lambda: answered_by_all(servers[which].pid), f"answers of the new {name}")

    servers = [start(0), start(1)]
    front = Front(tmp_path, configured(tmp_path, certificate, backend, ports, port), port)
    try:
        wait_until(lambda: front.is_up("one") and front.is_up("two"), "HAProxy to reach both servers")
        load += clients(front.listener)
        wait_until(lambda: answered_by_all(*(server.pid for server in servers)), "answers of both servers")
        for which, name in enumerate(("one", "two")):
            restart(which, name)
        for client in load:
            client.end()
        counts = {client.name: (sum(client.answered.values()), client.failures) for client in load}
        assert not any(failures for _, failures in counts.values()), (counts, front.log[-5000:])
        assert all(total > 20 for total, _ in counts.values()), counts
    finally:
        front.stop()
