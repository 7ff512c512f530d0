"""Workers are replaced while they serve, by SIGHUP, and no client notices."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h2.errors
import httpx
import pytest

from end_to_end.blocked_workers import is_written
from end_to_end.h1_client import Closed, H1Client
from end_to_end.h2_client import H2Client
from end_to_end.load import H2Load
from end_to_end.server import Server, is_alive, wait_until
from end_to_end.ws_client import WsClient, open_over_h1, open_over_h2
from source_numbers import numbers

CLAIM = numbers("hcrs-link/src/claim.rs")
LINK_VERSION, SLOTS = CLAIM["LINK_VERSION"], CLAIM["SLOTS"]

READY = r"Worker \d+ is ready and replaces worker \d+"
ALL = "All workers have been replaced"


def replace(server: Server, rounds: int = 1) -> None:
    """Replaces all workers, and waits until the old ones are gone."""
    for number in range(server.log.count(ALL) + 1, server.log.count(ALL) + rounds + 1):
        server.signal(signal.SIGHUP)
        server.wait_for_log(ALL, number)


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


def test_download_and_upload_under_way_finish_on_the_old_worker(
    serve: Callable[..., Server], connect_h2: Callable[..., Any], connect_h1: Callable[..., Any]
) -> None:
    server = serve("plain.py:app")
    client, h1 = connect_h2(server.listener), connect_h1(server.listener)
    old = int(client.get("/pid").body)
    size = 20 << 20
    download = client.request("GET", f"/download?size={size}&key=download")
    client.counted.add(download)
    client.held.add(download)
    client.wait(lambda: client.streams[download].length >= 1 << 16, "a part of the download")
    upload = client.request("POST", "/digest", body=b"a" * 50_000, end=False)
    h1.send("POST /digest HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100000\r\n\r\n")
    h1.send(b"b" * 50_000)
    client.ping()
    wait_until(lambda: int(client.get("/progress?key=download").body) > 0, "the download to have begun")
    server.signal(signal.SIGHUP)
    server.wait_for_log(READY)
    assert int(client.get("/pid").body) != old
    assert is_alive(old)
    client.send(upload, b"a" * 50_000, end=True)
    h1.send(b"b" * 50_000)
    assert json.loads(client.response(upload).body) == digest_of(b"a" * 100_000)
    assert json.loads(h1.response().body) == digest_of(b"b" * 100_000)
    assert is_alive(old), "the download is under way"
    client.held.discard(download)
    client.release(download)
    assert client.response(download).length == size
    assert client.streams[download].ended
    server.wait_for_log(ALL)
    assert not is_alive(old)
    assert int(h1.get("/pid").body) in server.worker_pids()


def test_worker_ends_before_a_slow_client_has_read_its_response(
    serve: Callable[..., Server], connect_h2: Callable[..., H2Client]
) -> None:
    server = serve("plain.py:app")
    client = connect_h2(server.listener, window=1000)
    old = int(client.get("/pid").body)
    # Less than the edge takes from a worker before the client reads; the worker is done with it.
    download = client.request("GET", "/download?size=60000&byte=7&piece=20000&key=tail")
    client.held.add(download)
    client.wait(lambda: client.streams[download].length == 1000, "what the window takes")
    assert client.get("/note?key=tail").body == b"sent"
    replace(server)
    assert not is_alive(old)
    client.held.discard(download)
    client.release(download)
    assert client.response(download).body == bytes([7]) * 60_000
    assert client.streams[download].ended


def test_slow_upload_to_a_wsgi_worker_finishes(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client]
) -> None:
    server = serve("wsgi.py:app")
    (old,) = server.worker_pids()
    client, other = connect_h1(server.listener), connect_h1(server.listener)
    client.send("POST /echo HTTP/1.1\r\nhost: localhost\r\ncontent-length: 200000\r\n\r\n")
    client.send(b"a" * 100_000)
    assert other.get("/environ").status == 200
    server.signal(signal.SIGHUP)
    server.wait_for_log(READY)
    assert is_alive(old) and other.get("/environ").status == 200
    client.send(b"b" * 100_000)
    assert client.response().body == b"a" * 100_000 + b"b" * 100_000
    server.wait_for_log(ALL)
    assert not is_alive(old)


def digest_of(data: bytes) -> dict[str, object]:
    return {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}


@pytest.mark.parametrize("version", ["h1", "h2"])
def test_websocket_goes_on_until_the_grace_is_over_and_is_closed_with_1012(
    serve: Callable[..., Server], connect_h1: Callable[..., Any], connect_h2: Callable[..., Any], version: str
) -> None:
    server = serve("sockets.py:app", hcrs={"retire_timeout": 2})
    if version == "h1":
        socket: WsClient = open_over_h1(connect_h1(server.listener), "/echo")
    else:
        socket = open_over_h2(connect_h2(server.listener), "/echo")
    began = time.monotonic()
    server.signal(signal.SIGHUP)
    server.wait_for_log(READY)
    socket.send("still here")
    assert socket.receive() == "still here"
    assert socket.closed() == (1012, "")
    assert 2 <= time.monotonic() - began < 10
    server.wait_for_log(ALL)
    assert "ERROR" not in server.log


def test_app_receives_the_close_of_its_websocket(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client], tmp_path: Path
) -> None:
    app = tmp_path / "last_words.py"
    app.write_text(
        "import os\n"
        "async def app(scope, receive, send):\n"
        "    assert scope['type'] == 'websocket'\n"
        "    await receive()\n"
        "    await send({'type': 'websocket.accept'})\n"
        "    os.write(2, f'the app received {await receive()}\\n'.encode())\n"
    )
    server = serve(f"{app}:app", hcrs={"retire_timeout": 0.3, "lifespan": "off"})
    socket = open_over_h1(connect_h1(server.listener), "/")
    replace(server)
    assert socket.closed() == (1012, "")
    server.wait_for_log(r"the app received \{'type': 'websocket.disconnect', 'code': 1012, 'reason': ''\}")
    assert "ERROR" not in server.log


def test_request_that_outlasts_the_grace_gets_502_and_the_worker_ends_in_order(
    serve: Callable[..., Server], connect_h1: Callable[..., Any], connect_h2: Callable[..., Any]
) -> None:
    server = serve("plain.py:app", hcrs={"retire_timeout": 0.5}, keep_alive_timeout=60)
    client, h1 = connect_h2(server.listener), connect_h1(server.listener)
    waiting = client.request("GET", "/gate?key=never")
    begun = client.request("GET", "/until-disconnect?key=never&start=1")
    client.wait(lambda: client.streams[begun].length == 5, "the first piece")
    h1.request("GET", "/until-disconnect?key=h1&start=1")
    assert h1.head().status == 200 and h1.chunk() == b"first"
    replace(server)
    assert client.response(waiting).status == 502
    assert client.response(begun).reset == h2.errors.ErrorCodes.INTERNAL_ERROR
    with pytest.raises(Closed):
        h1.chunk()
    assert client.get().status == 200 and client.goaway is None
    assert "lifespan.shutdown was seen" in server.log
    assert "killing it" not in server.log


@pytest.mark.slow
def test_worker_that_is_blocked_gives_up_what_it_has_not_begun_and_is_killed(
    serve: Callable[..., Server], connect_h2: Callable[..., H2Client], tmp_path: Path
) -> None:
    server = serve("plain.py:app", hcrs={"retire_timeout": 0.5})
    client = connect_h2(server.listener)
    blocked = client.request("GET", f"/block?file={tmp_path}/blocked")
    wait_until(lambda: is_written(tmp_path / "blocked"), "the worker to be blocked")
    old = int((tmp_path / "blocked").read_text())
    waiting = [client.request("POST", "/digest", body=bytes(1000)) for _ in range(50)]
    client.ping()
    server.signal(signal.SIGHUP)
    for stream in waiting:
        assert json.loads(client.response(stream).body)["bytes"] == 1000
    assert client.response(blocked).status == 502
    server.wait_for_log(f"Worker {old} does not end; killing it")
    server.wait_for_log(ALL)
    assert client.get().status == 200


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


def test_new_worker_that_cannot_start_leaves_the_old_one_serving(
    serve: Callable[..., Server], connect_h2: Callable[..., H2Client], tmp_path: Path
) -> None:
    flag = tmp_path / "broken"
    server = serve("lifespans.py:breakable", env={"BREAK": str(flag)}, workers=2, keep_alive_timeout=60)
    client = connect_h2(server.listener)
    before = server.worker_pids()
    flag.touch()
    server.signal(signal.SIGHUP)
    server.wait_for_log(r"Worker \d+ cannot serve the app")
    server.wait_for_log("Lifespan failure in startup. 'no database'")
    server.wait_for_log(r"before it was ready; worker \d+ goes on serving, another is tried in 0.5 s")
    server.wait_for_log(r"goes on serving, another is tried in 1 s")
    assert client.get().status == 200
    assert set(before) <= set(server.worker_pids())
    flag.unlink()
    server.wait_for_log(ALL)
    assert not set(before) & set(server.worker_pids())
    assert client.get().status == 200 and client.goaway is None


@pytest.fixture
def held(serve: Callable[..., Server], tmp_path: Path) -> Any:
    """A server of two workers whose next worker is starting and will not be ready before ``hold`` is removed."""
    hold = tmp_path / "hold"
    server = serve("lifespans.py:held", env={"HOLD": str(hold)}, workers=2)
    before = server.worker_pids()
    hold.touch()
    server.signal(signal.SIGHUP)
    wait_until(lambda: len(server.worker_pids()) == 3, "a third worker")
    (new,) = set(server.worker_pids()) - set(before)
    return server, hold, before, new


def test_workers_go_on_serving_when_another_version_was_installed_under_them(
    serve: Callable[..., Server], connect_h2: Callable[..., H2Client], tmp_path: Path
) -> None:
    """New workers find another number in the memory that they share with the edge."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        "if os.path.exists(os.environ['INSTALLED']) and '--links' in sys.orig_argv:\n"
        "    links = sys.orig_argv[sys.orig_argv.index('--links') + 1]\n"
        "    for link in links.split(','):\n"
        f"        os.pwrite(int(link.split(':')[1]), ({LINK_VERSION} + 1).to_bytes(8, 'little'), {SLOTS} * 8)\n"
    )
    installed = tmp_path / "installed"
    server = serve("plain.py:app", env={"PYTHONPATH": str(tmp_path), "INSTALLED": str(installed)})
    client = connect_h2(server.listener)
    before = server.worker_pids()
    installed.touch()
    server.signal(signal.SIGHUP)
    server.wait_for_log(rf"^the running hcrs uses version {LINK_VERSION + 1} of the link protocol .*restart hcrs, because a reload is not enough$")
    server.wait_for_log(r"worker \d+ goes on serving")
    assert client.get().body == b"hello"
    assert set(before) <= set(server.worker_pids())
    installed.unlink()


def test_stop_during_a_replacement_ends_well(held: Any, connect_h1: Callable[..., H1Client]) -> None:
    server, _, before, _ = held
    assert connect_h1(server.listener).get().status == 200
    assert set(before) <= set(server.worker_pids())
    assert server.stop() == 0
    server.wait_for_workers_end()
    assert "ERROR" not in server.log


def test_stop_while_the_old_worker_finishes_ends_well(
    serve: Callable[..., Server], connect_h2: Callable[..., H2Client]
) -> None:
    server = serve("plain.py:app", graceful_timeout=20)
    client = connect_h2(server.listener)
    nap = client.request("GET", "/nap?seconds=2")
    client.ping()
    wait_until(lambda: client.get("/pid").status == 200, "the request before it to have begun")
    server.signal(signal.SIGHUP)
    server.wait_for_log(READY)
    server.signal(signal.SIGTERM)
    response = client.response(nap)
    assert response.status == 200
    assert server.wait_for_exit() == 0
    assert server.log.count("lifespan.shutdown was seen") == 2
    assert "ERROR" not in server.log
    server.wait_for_workers_end()


def test_old_worker_that_dies_while_its_replacement_starts_is_not_replaced_twice(
    held: Any, connect_h2: Callable[..., H2Client]
) -> None:
    server, hold, before, new = held
    client = connect_h2(server.listener)
    for old in before:  # one of them is the one that is being replaced
        os.kill(old, signal.SIGKILL)
    server.wait_for_log(r"was killed by SIGKILL; its replacement is starting already")
    server.wait_for_log(r"was killed by SIGKILL; another is started")
    hold.unlink()
    assert json.loads(client.get().body)["pid"] not in before
    server.wait_for_log(ALL)
    assert len(server.worker_pids()) == 2 and new in server.worker_pids()


def test_new_worker_that_dies_while_it_starts_is_started_again(held: Any, connect_h2: Callable[..., H2Client]) -> None:
    server, hold, before, new = held
    os.kill(new, signal.SIGKILL)
    server.wait_for_log(rf"Worker {new} was killed by SIGKILL before it was ready; worker \d+ goes on serving")
    assert json.loads(connect_h2(server.listener).get().body)["pid"] in before
    hold.unlink()
    server.wait_for_log(ALL)
    assert len(server.worker_pids()) == 2 and not {new, *before} & set(server.worker_pids())


def test_signal_while_the_server_starts_replaces_what_was_started_before(
    launch: Callable[..., Server], tmp_path: Path
) -> None:
    hold = tmp_path / "hold"
    hold.touch()
    server = launch("lifespans.py:held", env={"HOLD": str(hold)})

    def workers() -> list[int]:
        """Without the short run of the interpreter that is tried out before."""
        found = {pid: Path(f"/proc/{pid}/cmdline") for pid in server.worker_pids()}
        return [pid for pid, words in found.items() if words.exists() and b"hcrs.worker" in words.read_bytes()]

    first = wait_until(workers, "the first worker")
    server.signal(signal.SIGHUP)
    server.wait_for_log("Replacing all workers")
    hold.unlink()
    server.wait_until_running()
    server.wait_for_log(ALL)
    assert not set(first) & set(server.worker_pids())
    assert server.stop() == 0


def test_replaced_worker_has_a_time_of_its_own(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client]
) -> None:
    server = serve("plain.py:app", graceful_timeout=0.1)
    client = connect_h1(server.listener)
    client.request("GET", "/nap?seconds=2")
    assert connect_h1(server.listener).get().status == 200
    server.signal(signal.SIGHUP)
    assert client.response().status == 200
    server.wait_for_log(ALL)
    assert "cut off" not in server.log


def test_log_tells_how_many_a_replacement_has_cut_off(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client]
) -> None:
    server = serve("plain.py:app", hcrs={"retire_timeout": 0.5})
    clients = [connect_h1(server.listener) for _ in range(2)]
    for client in clients:
        client.request("GET", "/until-disconnect?key=never")
    assert connect_h1(server.listener).get("/note?key=never-begun").status == 200
    (old,) = server.worker_pids()
    replace(server)
    assert all(client.response().status == 502 for client in clients)
    server.wait_for_log(rf"\[WARNING\].*2 requests that worker {old} had in flight were cut off, 0\.5 s after it was replaced")


def test_new_worker_that_hangs_gives_way_to_the_next_signal(
    serve: Callable[..., Server], connect_h2: Callable[..., H2Client], tmp_path: Path
) -> None:
    app = tmp_path / "mended.py"
    source = (Path(__file__).parent / "apps" / "plain.py").read_text()
    app.write_text(source)
    server = serve(f"{app}:app", workers=2)
    before = server.worker_pids()
    app.write_text(f"import time\nopen({str(tmp_path / 'hangs')!r}, 'w').close()\ntime.sleep(600)\n")
    server.signal(signal.SIGHUP)
    wait_until((tmp_path / "hangs").exists, "the new worker to hang")
    app.write_text(source)
    server.signal(signal.SIGHUP)
    server.wait_for_log(ALL)
    assert not set(before) & set(server.worker_pids())
    assert connect_h2(server.listener).get().status == 200


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
