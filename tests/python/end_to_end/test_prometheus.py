"""The metrics and the dashboard, as Prometheus itself reads them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from end_to_end.h1_client import H1Client
from end_to_end.h2_client import H2Client
from end_to_end.server import Server, find_tool, wait_until
from end_to_end.test_admin import Admin
from end_to_end.test_fleet import free_port
from end_to_end.test_metrics import expressions

#: What a range over time has to hold: two scrapes at least.
RANGE = "5s"

#: Metrics that need what this test does not have: faults, handshakes, deaths, upstreams, names of ACME.
WITHOUT_SAMPLES = ("_faults_total", "hcrs_upstream_", "hcrs_acme_")


def tool(name: str) -> str:
    """A program of Prometheus."""
    found = find_tool(name, "prometheus")
    if found is None:
        pytest.skip(f"{name} is missing: apt-get install prometheus")
    return found


@pytest.fixture
def admin(serve: Callable[..., Server]) -> Admin:
    return Admin(serve("plain.py:app", workers=2, hcrs={"admin_bind": "127.0.0.1:0"}))


def test_names_follow_the_conventions(admin: Admin) -> None:
    checked = subprocess.run(
        [tool("promtool"), "check", "metrics"], input=admin.get("/metrics")[1], capture_output=True, text=True, timeout=60
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


class Prometheus:
    """A server that scrapes one target every half second."""

    def __init__(self, folder: Path, target: str) -> None:
        folder.mkdir()
        scrapes = {"job_name": "hcrs", "static_configs": [{"targets": [target]}]}
        intervals = {"scrape_interval": "500ms", "scrape_timeout": "500ms"}
        config = folder / "prometheus.json"
        config.write_text(json.dumps({"global": intervals, "scrape_configs": [scrapes]}))
        self._url = f"http://127.0.0.1:{free_port()}"
        self._log = (folder / "log").open("wb")
        flags = [f"--config.file={config}", f"--storage.tsdb.path={folder}", f"--web.listen-address={self._url[7:]}"]
        self._process = subprocess.Popen([tool("prometheus"), *flags], stdout=self._log, stderr=self._log)

    def query(self, expression: str) -> list[Any]:
        """The series of an expression now; none while it starts."""
        try:
            answer = httpx.get(f"{self._url}/api/v1/query", params={"query": expression}, timeout=30, trust_env=False)
        except httpx.TransportError:
            assert self._process.poll() is None, Path(self._log.name).read_text()
            return []
        if answer.status_code == 503:
            return []
        assert answer.status_code == 200, (expression, answer.text)
        series: list[Any] = answer.json()["data"]["result"]
        return series

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._log.close()


@pytest.fixture
def prometheus(admin: Admin, tmp_path: Path) -> Iterator[Prometheus]:
    started = Prometheus(tmp_path / "prometheus", admin.address)
    yield started
    started.close()


@pytest.mark.slow
def test_each_panel_of_the_dashboard_has_a_result(
    admin: Admin,
    prometheus: Prometheus,
    connect_h1: Callable[..., H1Client],
    connect_h2: Callable[..., H2Client],
) -> None:
    one, two = connect_h1(admin.server.listener), connect_h2(admin.server.listener)

    def has_counted() -> bool:
        one.get()
        two.get("/status?status=503")
        return len(prometheus.query(f"rate(hcrs_requests_total[{RANGE}]) > 0")) >= 2

    wait_until(has_counted, "a rate of requests of both protocols")
    for expression in expressions():
        filled = expression.replace("$__rate_interval", RANGE).replace("$instance", ".*")
        series = prometheus.query(filled)
        assert series or any(name in expression for name in WITHOUT_SAMPLES), expression
