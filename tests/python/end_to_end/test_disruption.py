"""What operators do to a server, while clients of every kind are busy: no request fails and no connection is lost. A worker
that dies or hangs takes along the requests that it has begun, and no other. ``tests/disruption`` measures the same for other
servers."""

from __future__ import annotations

import functools
import os
import re
import signal
import ssl
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from end_to_end.certificates import Pki
from end_to_end.h1_client import H1Client
from end_to_end.replacing import ALL, READY, replace
from end_to_end.server import APPS, Server, command, is_alive, wait_until
from end_to_end.steady_load import H2_KIND, KEPT, NEW, WS_H1, WS_H2, Load

pytestmark = pytest.mark.slow

#: Every connection is the client's own to end.
LASTING = {"keep_alive_max_requests": 10_000_000, "keep_alive_timeout": 60, "graceful_timeout": 20}


class Site:
    """A server with TLS whose app and certificate are files of the test, and the load on it."""

    def __init__(self, serve: Callable[..., Server], pki: Pki, folder: Path, **options: Any) -> None:
        self.folder, self._pki = folder, pki
        self.app = folder / "main.py"
        self.app.write_text((APPS / "steady.py").read_text())
        self.begun = folder / "begun"
        self.begun.mkdir()
        self._issued = 0
        self.renew()
        env = {"STEADY_BEGUN": str(self.begun), "PYTHONDONTWRITEBYTECODE": "1", **options.pop("env", {})}
        pair = {"certfile": f"{folder}/pair.pem", "keyfile": f"{folder}/pair.pem"}
        self.server = serve(f"{self.app}:app", env=env, **{"workers": 2, **pair, **LASTING, **options})
        self.load = Load(self.server.listener.port)

    def renew(self) -> None:
        """Puts a new certificate in place of the old one."""
        self._issued += 1
        self._pki.issue("localhost", f"renewed-{self._issued}.pem")
        temporary = self.folder / "temporary"
        temporary.write_bytes((self._pki.folder / f"renewed-{self._issued}.pem").read_bytes())
        temporary.rename(self.folder / "pair.pem")

    def presented(self) -> bytes:
        """The certificate that a new connection gets."""
        with H1Client(self.server.listener, tls=self.load.context("http/1.1")) as client:
            assert isinstance(client.socket, ssl.SSLSocket)
            return client.socket.getpeercert(binary_form=True) or b""

    def numbers_begun_by(self, pid: int) -> set[int]:
        """The numbers of the requests that a worker has begun."""
        file = self.begun / str(pid)
        return {int(line) for line in file.read_text().split()} if file.exists() else set()


@pytest.fixture
def site(serve: Callable[..., Server], pki: Pki, tmp_path: Path) -> Callable[..., Site]:
    return functools.partial(Site, serve, pki, tmp_path)


# ---- operations that cost nothing ----


def replaces_and_renews(site: Site) -> None:
    """SIGHUP, at the same time as the certificate is renewed."""
    before = site.presented()
    site.renew()
    replace(site.server)
    assert site.presented() != before


def renews(site: Site) -> None:
    """A certificate is taken without a signal."""
    before = site.presented()
    site.renew()
    wait_until(lambda: site.presented() != before, "the new certificate")


def recycles(site: Site) -> None:
    """Workers reach a limit again and again."""
    site.server.wait_for_log(READY, 3, 60)


def scales(site: Site) -> None:
    """SIGTTIN and SIGTTOU."""
    for number, count in ((signal.SIGTTIN, 3), (signal.SIGTTIN, 4), (signal.SIGTTOU, 3), (signal.SIGTTOU, 2), (signal.SIGTTOU, 1)):
        ready = site.server.log.count("is ready")
        site.server.signal(number)
        if number is signal.SIGTTIN:
            site.server.wait_for_log(r"Worker \d+ is ready", ready + 1)
        wait_until(lambda count=count: len(site.server.worker_pids()) == count, f"{count} workers")  # type: ignore[misc]
        site.load.wait_for_more(1)


def stops_and_starts_workers(site: Site) -> None:
    """SIGWINCH ends all workers; requests wait for those of SIGHUP."""
    site.server.signal(signal.SIGWINCH)
    wait_until(lambda: not site.server.worker_pids(), "the end of the workers")
    site.server.signal(signal.SIGHUP)
    wait_until(lambda: len(site.server.worker_pids()) == 2, "two workers")


def breaks_and_mends(site: Site) -> None:
    """SIGHUP while the app cannot be loaded, and once it can."""
    before = set(site.server.worker_pids())
    source = site.app.read_text()
    site.app.write_text("def app(:\n")
    site.server.signal(signal.SIGHUP)
    site.server.wait_for_log(r"before it was ready; worker \d+ goes on serving")
    site.load.wait_for_more()
    assert before <= set(site.server.worker_pids())
    site.app.write_text(source)
    site.server.signal(signal.SIGHUP)
    site.server.wait_for_log(ALL)
    assert not before & set(site.server.worker_pids())


@dataclass(frozen=True)
class Operation:
    """What is done to the server, and what it is configured with for that."""

    do: Callable[[Site], None]
    options: dict[str, Any] = field(default_factory=dict)


def limited(**limit: Any) -> Operation:
    """Workers that are replaced by a limit."""
    kept = {"env": {"STEADY_KEPT": str(1 << 20)}} if "max_worker_rss" in limit else {}
    return Operation(recycles, {**({"max_requests": 100} if not limit else {"hcrs": limit}), **kept})


OPERATIONS = {
    "HUP-and-certificate": Operation(replaces_and_renews),
    "certificate": Operation(renews),
    "max_requests": limited(),
    "max_worker_age": limited(max_worker_age=1.0),
    "max_worker_rss": limited(max_worker_rss=100_000_000),
    "TTIN-TTOU": Operation(scales),
    # A session of its own, as that of a daemon: a terminal's WINCH is about the size of its window.
    "WINCH": Operation(stops_and_starts_workers, {"hcrs": {"queue_timeout": 60}, "started_by": ["setsid"]}),
    "HUP-of-broken-code": Operation(breaks_and_mends),
    "HUP-with-preload": Operation(replaces_and_renews, {"hcrs": {"preload": True}}),
}


def assert_nothing_failed(load: Load) -> None:
    """Asserts that every request was answered, and that no lasting connection has ended."""
    assert load.failures == []
    assert (load.moved, load.reopened) == ([], 0)


@pytest.mark.parametrize("name", OPERATIONS)
def test_no_request_fails_and_no_connection_is_lost(site: Callable[..., Site], name: str) -> None:
    operation = OPERATIONS[name]
    served = site(**operation.options)
    with served.load.running() as load:
        load.wait_for_more()
        operation.do(served)
        load.wait_for_more()
    assert_nothing_failed(load)
    log = served.server.log
    assert "cut off" not in log and "killing" not in log and "accounting:" not in log


def test_another_server_takes_over_and_clients_move(site: Callable[..., Site]) -> None:
    """SIGUSR2 twice. Connections end with the server that has them: over HTTP/2 by GOAWAY, WebSockets by 1001."""
    served = site()
    server, pids = served.server, [served.server.pid]
    try:
        with served.load.running() as load:
            for count in (1, 2):
                load.wait_for_more()
                os.kill(pids[-1], signal.SIGUSR2)
                started = server.wait_for_log(r"Process (\d+) is starting to succeed this server", count)
                pids.append(int(started[-1][1]))
                server.wait_for_log(r"has succeeded this server", count)
                wait_until(lambda: not is_alive(pids[-2]), "the end of the server before")
            load.wait_for_more()
    finally:
        for pid in pids[1:]:
            if is_alive(pid):
                os.kill(pid, signal.SIGTERM)
                wait_until(lambda pid=pid: not is_alive(pid), "the end of the successor")  # type: ignore[misc]
    assert load.failures == []
    assert {reason for _, _, reason in load.moved} <= {"GOAWAY", "closed before", "close 1001"}, load.moved
    assert 2 * 5 <= load.reopened <= 2 * 6, "three over HTTP/1.1 and two or three over HTTP/2 for each successor"


def test_the_reloader_answers_everything_while_code_is_broken(site: Callable[..., Site]) -> None:
    served = site(use_reloader=True)
    served.load.accepted = frozenset({200, 500})
    source = served.app.read_text()
    with served.load.running() as load:
        load.wait_for_more()
        served.app.write_text("def app(:\n")
        served.server.wait_for_log("The app cannot be served")
        before = load.statuses[500]
        wait_until(lambda: load.statuses[500] > before + 20, "the reason as an answer")
        served.app.write_text(source)
        served.server.wait_for_log(ALL)
        load.wait_for_more()
    # A WebSocket is opened anew until there is an app again.
    unanswered = [asked for asked in load.failures if (asked.kind, asked.outcome) not in ((WS_H1, "status 500"), (WS_H2, "status 500"))]
    assert unanswered == []
    assert (load.moved, load.reopened) == ([], 0)


# ---- workers that die ----


def is_killed(served: Site) -> int:
    """SIGKILL."""
    victim = served.server.worker_pids()[0]
    os.kill(victim, signal.SIGKILL)
    return victim


def misbehaves(served: Site, how: str) -> int:
    """A request takes its worker along."""
    before = served.server.worker_pids()
    with H1Client(served.server.listener, tls=served.load.context("http/1.1")) as client:
        assert client.get(f"/?do={how}").status == 502
    return int(wait_until(lambda: next((pid for pid in before if not is_alive(pid)), 0), "the end of the worker"))


def assert_only_begun_requests_are_lost(served: Site, victim: int) -> None:
    """Asserts that each request that failed was begun by the worker that has died, and that it failed as it should."""
    load, begun = served.load, served.numbers_begun_by(victim)
    lost = load.failures
    print(f"\n{len(lost)} requests and {len(load.moved)} WebSockets of {len(load.asked)} were lost: {[(a.kind, a.outcome) for a in lost]}")
    assert len(begun) > 10
    numbers = {asked.number for asked in lost} | {number for _, number, _ in load.moved}
    others = set().union(*(served.numbers_begun_by(int(file.name)) for file in served.begun.iterdir())) - begun
    assert not numbers & others
    # The last one that the worker has claimed may be one whose app it had no time to call.
    assert len(numbers - begun) <= 1
    # What was in flight: at most one request of each client.
    mix = load.mix
    clients = {KEPT: mix.kept, NEW: mix.new, H2_KIND: mix.h2_connections * mix.h2_streams, WS_H1: mix.ws_h1, WS_H2: mix.ws_h2}
    # A response that was begun is cut: over HTTP/1.1 with its connection, over HTTP/2 by a reset of its stream.
    ends = {KEPT: {"status 502", "cut"}, NEW: {"status 502", "cut"}, H2_KIND: {"status 502", "stream reset"}}
    for kind, count in clients.items():
        outcomes = [asked.outcome for asked in lost if asked.kind == kind]
        assert len(outcomes) <= count, kind
        # WebSockets get a Close frame, and a status before they are open.
        assert set(outcomes) <= ends.get(kind, {"status 502"}), kind
    assert {(kind, reason) for kind, _, reason in load.moved} <= {(WS_H1, "close 1012"), (WS_H2, "close 1012")}
    cut = sum(asked.kind == KEPT and asked.outcome != "status 502" for asked in lost)
    assert load.reopened == cut, "no other connection is lost"


CAUSES: dict[str, Callable[[Site], int]] = {
    "kill": is_killed,
    "segfault": functools.partial(misbehaves, how="segfault"),
    "exit": functools.partial(misbehaves, how="exit"),
    "hang": functools.partial(misbehaves, how="hang"),
}


@pytest.mark.parametrize("cause", CAUSES)
def test_a_worker_that_dies_takes_only_its_begun_requests_along(site: Callable[..., Site], cause: str) -> None:
    served = site(hcrs={"worker_timeout": 2, "queue_timeout": 30}, env={"STEADY_NAP": "0.1"})
    for round_ in range(2 if cause == "kill" else 1):
        served.load = Load(served.server.listener.port, first_number=1 + 100_000 * round_)
        with served.load.running() as load:
            load.wait_for_more()
            ready = len(re.findall(r"Worker \d+ is ready", served.server.log))
            victim = CAUSES[cause](served)
            served.server.wait_for_log(r"Worker \d+ is ready", ready + 1)
            load.wait_for_more()
        assert_only_begun_requests_are_lost(served, victim)


MEASURE = Path(__file__).parents[2] / "disruption" / "disruption.py"


def test_short_measurement(tmp_path: Path) -> None:
    """What ``make disruption`` does for every server."""
    options = ["--servers", "hcrs", "--operations", "HUP;kill -9", "--times", "1", "--import-seconds", "0"]
    ran = subprocess.run(
        [sys.executable, str(MEASURE), "--hcrs", command(), "--out", str(tmp_path), *options],
        capture_output=True,
        text=True,
        timeout=80,
    )
    print(ran.stdout)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    (table,) = tmp_path.iterdir()
    assert "| hcrs | HUP | 1 |" in table.read_text() and "| hcrs | kill -9 | 1 |" in table.read_text()
