"""Workers are replaced while they serve, by SIGHUP, and no client notices."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from end_to_end.h1_client import H1Client
from end_to_end.h2_client import H2Client
from end_to_end.load import H2Load
from end_to_end.replacing import ALL, READY, replace
from end_to_end.server import Server, wait_until


@pytest.mark.slow
@pytest.mark.timeout(200)
@pytest.mark.parametrize("options", [[], ["--h1"]], ids=["h2", "h1"])
def test_replacing_all_workers_again_and_again_costs_no_request_and_no_connection(
    serve: Callable[..., Server], options: Any
) -> None:
    server = serve("plain.py:app", tls=True, workers=2, keep_alive_max_requests=10_000_000, hcrs={"io_threads": 2})
    began = time.monotonic()
    replace(server)
    # Long enough for three rounds under load, however slow the machine is.
    seconds = min(60, max(12, round(20 * (time.monotonic() - began))))
    before = set(server.worker_pids())
    # Four connections, which h2load does not open again when it loses one.
    load = H2Load(f"https://localhost:{server.listener.port}/", 0, 4, 1 if options else 16, "-D", str(seconds), *options)
    replace(server, rounds=3)
    assert load.is_running, f"it has seen all of them in {seconds} s"
    result = load.result()
    assert result.succeeded == result.ok > 1000, result.output
    assert result.failed == result.errored == result.timed_out == 0, result.output
    after = set(server.worker_pids())
    assert len(after) == 2 and not before & after
    assert len(re.findall(READY, server.log)) == 8
    assert "killed" not in server.log


def test_clients_of_httpx_notice_nothing(serve: Callable[..., Server], browse: Callable[..., httpx.Client]) -> None:
    server = serve("plain.py:app", tls=True, workers=2, keep_alive_max_requests=10_000_000)
    over = threading.Event()
    seen: list[set[int]] = [set(), set()]
    failures: list[object] = []

    def ask(number: int) -> None:
        with browse(server, http2=bool(number)) as client:
            while not over.is_set():
                try:
                    answer = client.post("/digest", content=b"x" * 3000) if len(seen[number]) % 2 else client.get("/pid")
                    answer.raise_for_status()
                except Exception as error:  # whatever it is, it is one too many
                    failures.append(error)
                    return
                if answer.text.isdigit():
                    seen[number].add(int(answer.text))
                answer = client.get("/pid")
                seen[number].add(int(answer.text))

    threads = [threading.Thread(target=ask, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    wait_until(lambda: all(seen), "the first answers")
    replace(server, rounds=3)
    over.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert all(len(pids) >= 4 for pids in seen), "they have seen workers of several generations"


def test_one_connection_lives_through_every_replacement_and_sees_each_new_worker(
    serve: Callable[..., Server], connect_h2: Callable[..., Any], connect_h1: Callable[..., Any]
) -> None:
    server = serve("plain.py:app", keep_alive_timeout=60)
    client, h1 = connect_h2(server.listener), connect_h1(server.listener)
    seen = []
    for _ in range(3):
        seen.append(int(client.get("/pid").body))
        assert int(h1.get("/pid").body) == seen[-1]
        replace(server)
    assert len(set(seen)) == 3
    assert client.goaway is None and not client.closed
    assert server.log.count("lifespan.shutdown was seen") == 3
    assert server.log.count("Replacing all workers (SIGHUP)") == 3


@pytest.mark.parametrize(
    ("app", "worker_class", "path"), [("wsgi.py:app", "asyncio", "/environ"), ("plain.py:app", "trio", "/")]
)
def test_wsgi_and_trio_workers_are_replaced_too(
    serve: Callable[..., Server], connect_h2: Callable[..., H2Client], app: str, worker_class: str, path: str
) -> None:
    server = serve(app, workers=2, worker_class=worker_class, keep_alive_timeout=60)
    client = connect_h2(server.listener)
    before = set(server.worker_pids())
    assert client.get(path).status == 200
    replace(server, rounds=2)
    assert not before & set(server.worker_pids())
    assert client.get(path).status == 200 and client.goaway is None
    assert "killed" not in server.log and "ERROR" not in server.log


def test_signals_that_come_while_it_is_done_are_one(
    serve: Callable[..., Server], connect_h2: Callable[..., H2Client]
) -> None:
    server = serve("plain.py:app", workers=2)
    for _ in range(20):
        server.signal(signal.SIGHUP)
        time.sleep(0.005)
    server.wait_for_log(ALL)
    assert 2 <= len(re.findall(READY, server.log)) <= 6
    assert len(server.worker_pids()) == 2


def test_sighup_follows_the_link_that_the_server_was_started_in(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client], tmp_path: Path
) -> None:
    app = """
async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"RELEASE"})
"""
    for release in ("first", "second"):
        (tmp_path / release).mkdir()
        (tmp_path / release / "main.py").write_text(app.replace("RELEASE", release))
    current = tmp_path / "current"
    current.symlink_to("first")
    config = tmp_path / "hcrs.toml"
    config.write_text("bind = '127.0.0.1:0'\napplication_path = 'main:app'\nerrorlog = '-'\n")
    server = serve(config_file=config, cwd=current, env={"PWD": str(current), "PYTHONDONTWRITEBYTECODE": "1"})
    client = connect_h1(server.listener)
    assert client.get().body == b"first"
    current.unlink()
    current.symlink_to("second")
    os.kill(server.worker_pids()[0], signal.SIGKILL)
    server.wait_for_log(r"Worker \d+ is ready")
    assert connect_h1(server.listener).get().body == b"first", "nobody has asked for the other one"
    server.signal(signal.SIGHUP)
    server.wait_for_log("All workers have been replaced")
    assert connect_h1(server.listener).get().body == b"second"
