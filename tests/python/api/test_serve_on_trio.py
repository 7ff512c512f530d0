"""``hcrs.trio.serve``, called by programs as Hypercorn's is."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from api.conftest import DEADLINE, Program
from end_to_end.server import command, is_alive, wait_until

pytest.importorskip("trio")
Start = Callable[[str], Program]

#: What follows the prelude's app and configuration here.
ON_TRIO = """
import time
import trio
from hcrs.trio import serve

class Printing:
    # What a nursery gives to what it starts, for programs that have no nursery.
    def started(self, urls=None):
        listening(urls)

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            print(message["type"], flush=True)
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    if scope["path"] == "/slow":
        print("slow", flush=True)
        try:
            await trio.sleep_forever()
        finally:
            print("cut off", flush=True)
    if scope["path"] == "/busy":
        print("busy", flush=True)
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            pass
    if scope["path"] == "/late":
        print("late", flush=True)
        await trio.sleep(0.3)
    if scope["path"] == "/error":
        raise ZeroDivisionError("of the app")
    body = f"{scope['path']} {scope['http_version']} {os.getpid()}".encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})

async def serve_until_stdin(served=app, **options):
    async with trio.open_nursery() as nursery:
        stop = trio.Event()
        start = lambda task_status: serve(
            served, config, shutdown_trigger=stop.wait, task_status=task_status, **options
        )
        print("listening", *await nursery.start(start), flush=True)
        await trio.to_thread.run_sync(sys.stdin.readline)
        stop.set()
"""


@pytest.fixture
def start_on_trio(start: Start) -> Start:
    """Starts a program whose source follows both preludes."""
    return lambda source: start(ON_TRIO + source)


def get(url: str, **options: object) -> httpx.Response:
    with httpx.Client(timeout=DEADLINE, **options) as client:  # type: ignore[arg-type]
        return client.get(url)


def in_background(url: str) -> tuple[threading.Thread, list[tuple[int, str]]]:
    answers: list[tuple[int, str]] = []

    def ask() -> None:
        with contextlib.suppress(httpx.TransportError):
            response = get(url)
            answers.append((response.status_code, response.text))

    asking = threading.Thread(target=ask)
    asking.start()
    return asking, answers


def test_the_urls_are_the_value_of_a_start_in_a_nursery(start_on_trio: Start) -> None:
    program = start_on_trio("trio.run(serve_until_stdin)\nprint('end')\n")
    assert program.line() == "lifespan.startup"
    [url] = program.listening()
    assert get(f"{url}/a").text == f"/a 1.1 {program.process.pid}", "the app runs in the program's process"
    assert get(f"{url}/error").status_code == 500
    [edge] = program.edges()
    asking, answers = in_background(f"{url}/late")
    assert program.line() == "late"
    program.say("stop")
    assert program.end() == ["lifespan.shutdown", "end"]
    asking.join()
    assert answers == [(200, f"/late 1.1 {program.process.pid}")], "it was let finish"
    assert not is_alive(edge)
    assert program.errors.count("ZeroDivisionError: of the app") == 1
    assert "Error in ASGI Framework" in program.errors


def test_tls_and_http2(start_on_trio: Start, tmp_path: Path) -> None:
    subprocess.run([command(), "cert", "dev", "--dir", str(tmp_path)], check=True, capture_output=True)
    files = {"certfile": str(tmp_path / "cert.pem"), "keyfile": str(tmp_path / "key.pem")}
    program = start_on_trio(f"""
config = Config.from_mapping({files!r}, bind="localhost:0")
trio.run(serve_until_stdin)
""")
    assert program.line() == "lifespan.startup"
    [url] = program.listening()
    trusted = ssl.create_default_context(cafile=files["certfile"])
    response = get(url.replace("127.0.0.1", "localhost") + "/s", http2=True, verify=trusted)
    assert (response.http_version, response.text) == ("HTTP/2", f"/s 2 {program.process.pid}")
    program.say("stop")
    assert program.end() == ["lifespan.shutdown"]


@pytest.mark.parametrize("path", ["late", "busy"])
def test_ctrl_c_drains_as_with_hypercorn(start_on_trio: Start, path: str) -> None:
    program = start_on_trio("trio.run(lambda: serve(app, config, task_status=Printing()))\nprint('end')\n")
    assert program.line() == "lifespan.startup"
    [url] = program.listening()
    asking, answers = in_background(f"{url}/{path}")
    assert program.line() == path
    program.process.send_signal(signal.SIGINT)  # it may strike while the app runs, and is no error of the app
    assert program.end() == ["lifespan.shutdown", "end"]
    asking.join()
    assert answers == [(200, f"/{path} 1.1 {program.process.pid}")], "it was let finish"


def test_a_second_ctrl_c_cuts_off(start_on_trio: Start) -> None:
    program = start_on_trio("""
config.graceful_timeout = 60
try:
    trio.run(lambda: serve(app, config, task_status=Printing()))
except KeyboardInterrupt:
    print("interrupted")
""")
    assert program.line() == "lifespan.startup"
    [url] = program.listening()
    asking, answers = in_background(f"{url}/slow")
    assert program.line() == "slow"
    program.process.send_signal(signal.SIGINT)
    wait_until(lambda: "Shutting down" in program.errors, "the drain to begin", DEADLINE)
    program.process.send_signal(signal.SIGINT)
    assert program.end() == ["cut off", "lifespan.shutdown", "interrupted"]
    asking.join()
    assert all(status == 500 for status, _ in answers), "or the connection is lost"


def test_what_does_not_finish_in_time_is_cut_off(start_on_trio: Start) -> None:
    program = start_on_trio("config.graceful_timeout = 0.2\ntrio.run(serve_until_stdin)\nprint('end')\n")
    assert program.line() == "lifespan.startup"
    [url] = program.listening()
    asking, answers = in_background(f"{url}/slow")
    assert program.line() == "slow"
    program.say("stop")
    assert program.end() == ["cut off", "lifespan.shutdown", "end"]
    asking.join()
    assert [status for status, _ in answers] == [503]


def test_cancelling_it_drains_as_well(start_on_trio: Start) -> None:
    program = start_on_trio("""
async def main():
    async with trio.open_nursery() as nursery:
        print("listening", *await nursery.start(serve_app), flush=True)
        await trio.to_thread.run_sync(sys.stdin.readline)
        nursery.cancel_scope.cancel()
    print("cancelled", nursery.cancel_scope.cancelled_caught)

async def serve_app(task_status):
    await serve(app, config, task_status=task_status)

trio.run(main)
""")
    assert program.line() == "lifespan.startup"
    [url] = program.listening()
    asking, answers = in_background(f"{url}/late")
    assert program.line() == "late"
    program.say("cancel")
    assert program.end() == ["lifespan.shutdown", "cancelled True"]
    asking.join()
    assert answers == [(200, f"/late 1.1 {program.process.pid}")], "it was let finish"


def test_cancelling_it_ends_a_startup_that_hangs(start_on_trio: Start) -> None:
    program = start_on_trio("""
async def hanging(scope, receive, send):
    print("hangs", flush=True)
    await trio.sleep_forever()

async def main():
    with trio.move_on_after(1) as scope:
        await serve(hanging, config)
    print("cancelled", scope.cancelled_caught)

trio.run(main)
""")
    assert program.end() == ["hangs", "cancelled True"]


def test_the_death_of_the_edge_is_an_error_and_no_group(start_on_trio: Start) -> None:
    program = start_on_trio("""
from hcrs.edge import EdgeLostError

async def main():
    try:
        await serve(app, config, task_status=Printing())
    except EdgeLostError as error:
        print(error)

trio.run(main)
""")
    assert program.line() == "lifespan.startup"
    program.listening()
    [edge] = program.edges()
    os.kill(edge, signal.SIGKILL)
    assert program.end() == ["lifespan.shutdown", f"the edge, process {edge}, was killed by SIGKILL"]


def test_a_start_that_fails_raises_and_not_in_a_group(start_on_trio: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        program = start_on_trio(f"""
from hcrs.config import ConfigError
from hcrs.edge import EdgeStartError
from hcrs.lifespan import LifespanFailureError, LifespanTimeoutError

async def failing(scope, receive, send):
    await receive()
    await send({{"type": "lifespan.startup.failed", "message": "no database"}})

async def slow(scope, receive, send):
    await trio.sleep_forever()

async def broken_trigger():
    raise LookupError("of the trigger")

async def attempt(served, **options):
    try:
        await serve(served, config, **options)
    except Exception as error:
        print(type(error).__name__, error)

async def main():
    await attempt(failing)
    config.startup_timeout = 0.1
    await attempt(slow)
    config.startup_timeout = 60
    await attempt(app, shutdown_trigger=broken_trigger)
    config.bind = "127.0.0.1:{held.getsockname()[1]}"
    await attempt(app)
    config.bind = 5
    await attempt(app)

trio.run(main)
""")
        lines = program.end()
    assert lines[0].startswith("LifespanFailureError") and "no database" in lines[0]
    assert lines[1].startswith("LifespanTimeoutError Timeout whilst awaiting startup")
    assert lines[2:5] == ["lifespan.startup", "lifespan.shutdown", "LookupError of the trigger"]
    assert lines[5].startswith("EdgeStartError") and "cannot listen on 127.0.0.1:" in lines[5]
    assert lines[6].startswith("ConfigError")


def test_one_after_the_other_leaves_nothing_behind(start_on_trio: Start) -> None:
    program = start_on_trio("""
import signal

async def main():
    async def once():
        async with trio.open_nursery() as nursery:
            await nursery.start(lambda task_status: serve(app, config, task_status=task_status))
            nursery.cancel_scope.cancel()

    held = lambda: (len(os.listdir("/proc/self/fd")), trio.lowlevel.current_statistics().tasks_living)
    handler = signal.getsignal(signal.SIGINT)
    await once()
    before = held()
    for _ in range(3):
        await once()
    print(before == held(), before, held())
    print(signal.getsignal(signal.SIGINT) is handler, signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)

trio.run(main)
""")
    lines = program.end()
    assert lines[:8] == ["lifespan.startup", "lifespan.shutdown"] * 4
    assert lines[8].startswith("True") and lines[9] == "True True", lines


@pytest.mark.parametrize("mode", [None, "wsgi"])
def test_wsgi_runs_in_threads(start_on_trio: Start, mode: str | None) -> None:
    program = start_on_trio(f"""
import threading, time

def wsgi(environ, start_response):
    start_response("200 OK", [("content-type", "text/plain")])
    if environ["PATH_INFO"] == "/block":
        print("blocked", flush=True)
        time.sleep(0.5)
    return [threading.current_thread().name.encode(), b" ", environ["wsgi.input"].read()]

config.hcrs = {{"wsgi_threads": 2}}
trio.run(lambda: serve_until_stdin(wsgi, mode={mode!r}))
print("end")
""")
    [url] = program.listening()
    assert httpx.post(url, content=b"x" * 100_000).text.endswith(" " + "x" * 100_000)
    asking, answers = in_background(f"{url}/block")
    assert program.line() == "blocked"
    assert get(url).text.startswith("hcrs-wsgi-"), "another thread answers"
    program.say("stop")
    asking.join()
    assert answers[0][0] == 200 and answers[0][1].startswith("hcrs-wsgi-"), "it was let finish"
    assert program.end() == ["end"]


def test_settings_of_processes_give_a_warning(start_on_trio: Start) -> None:
    program = start_on_trio("config.workers = 4\nconfig.debug = True\ntrio.run(serve_until_stdin)\n")
    program.line()
    program.listening()
    assert len(program.edges()) == 1
    program.say("stop")
    program.end()
    assert "UserWarning: Config.workers has no effect on serve()" in program.errors
    assert "UserWarning: Config.debug has no effect on serve()" in program.errors


def test_quart_trio_with_its_lifespan(start_on_trio: Start) -> None:
    pytest.importorskip("quart_trio")
    program = start_on_trio("""
from quart_trio import QuartTrio

site = QuartTrio("site")

@site.before_serving
async def open_database():
    print("open", flush=True)

@site.after_serving
async def close_database():
    print("close", flush=True)

@site.get("/library")
async def library():
    await trio.sleep(0)
    return "trio"

trio.run(serve_until_stdin, site)
""")
    assert program.line() == "open"
    [url] = program.listening()
    assert get(f"{url}/library").text == "trio"
    program.say("stop")
    assert program.end() == ["close"]
