"""The commands of the README: the FastAPI example with two workers, curl and h2load."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from end_to_end.load import H2Load
from end_to_end.server import Server, command, find_tool

ROOT = Path(__file__).parents[3]


@pytest.fixture
def example(launch: Callable[..., Server], tmp_path: Path) -> Server:
    """As ``make run`` starts it, but on a free port and with the certificate elsewhere."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    made = subprocess.run([command(), "cert", "dev", "--dir", "certs"], cwd=tmp_path, check=True, capture_output=True)
    assert b"certs/cert.pem" in made.stdout
    config = tmp_path / "hypercorn.toml"
    shutil.copy(ROOT / "config" / "hypercorn.toml", config)
    server = launch(None, config_file=config, cwd=tmp_path, flags=["--bind", "localhost:0"])
    return server.wait_until_running()


def url(server: Server) -> str:
    return f"https://localhost:{server.listener.port}/"


def test_curl_gets_the_example_over_http_2(example: Server, tmp_path: Path) -> None:
    curl = find_tool("curl", "curl")
    if curl is None:
        pytest.skip("curl is missing: apt-get install curl")
    assert len(example.worker_pids()) == 2

    def get(path: str) -> str:
        run = subprocess.run(
            [curl, "-sS", "-N", "--max-time", "20", "--cacert", "certs/cert.pem", url(example) + path],
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )
        assert run.stderr == ""
        return run.stdout

    index = json.loads(get(""))
    assert (index["message"], index["http_version"], index["scheme"]) == ("Hello from hcrs", "2", "https")
    assert index["worker"] in example.worker_pids()
    assert get("stream?interval=0.01") == "".join(f"data: {number}\n\n" for number in range(5))
    assert example.stop() == 0


@pytest.mark.slow
def test_h2load_gets_nothing_but_2xx(example: Server) -> None:
    result = H2Load(url(example), 20_000, 8, 32).result()
    assert (result.total, result.ok, result.failed) == (20_000, 20_000, 0), result.output
    assert example.stop() == 0


@pytest.mark.slow
def test_h2load_loses_only_begun_requests_when_a_worker_is_killed(example: Server) -> None:
    worker = example.worker_pids()[0]
    load = H2Load(url(example), 20_000, 8, 32)
    time.sleep(0.7)  # into the middle of the load
    os.kill(worker, signal.SIGKILL)
    result = load.result()
    assert result.errored == result.timed_out == 0, result.output
    assert result.server_errors == result.failed <= 8 * 32, result.output
    assert result.ok == 20_000 - result.failed
    example.wait_for_log(rf"Worker {worker} was killed by SIGKILL; another is started")
    example.wait_for_log(r"Worker \d+ is ready")
    assert len(example.worker_pids()) == 2
    print(f"{result.failed} of 20000 requests were lost with the worker")
    assert example.stop() == 0
