"""From start to end: loading, lifespan, drain, and the edge's death."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from worker.conftest import Serve
from worker.fake_edge import FAILED, LINK_VERSION, READY, command, worker

LIFESPAN = """
    import asyncio, sys

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            {lifespan}
        else:
            await send({{"type": "http.response.start", "status": 200}})
            await send({{"type": "http.response.body", "body": b"served"}})
"""
LIFESPAN_HEAD = "assert (await receive()) == {'type': 'lifespan.startup'}; "
STARTED = LIFESPAN_HEAD + "await send({'type': 'lifespan.startup.complete'}); "


def lifespan(code: str) -> str:
    return LIFESPAN.format(lifespan=code)


def failure(serve: Serve, source: str, *arguments: str, app: str = "main:app") -> tuple[str, int]:
    """The message of a worker that cannot serve, and its exit code."""
    running = serve(source, *arguments, app=app, links=2, ready=False)
    said = [link.read() for link in running.links]
    assert all(frame.kind == FAILED for frame in said) and said[0].payload == said[1].payload
    return said[0].payload.decode(), running.process.wait(20)


def test_every_link_becomes_ready_and_is_read(serve_on: Serve) -> None:
    running = serve_on(lifespan("return"), links=3)
    for link in running.links:
        link.ping()
        assert link.fetch().body == b"served"


def test_a_worker_of_another_version_of_the_link_ends_with_words_that_say_what_to_do(serve: Serve) -> None:
    running = serve(lifespan("return"), ready=False, version=LINK_VERSION + 1)
    assert running.process.wait(20) == 1
    assert f"version {LINK_VERSION + 1} of the link" in running.stderr and f"version {LINK_VERSION}:" in running.stderr
    assert "restart hcrs" in running.stderr and "Traceback" not in running.stderr


def test_drain_ends_the_worker_once_every_link_has_said_so(serve_on: Serve) -> None:
    running = serve_on(
        lifespan(STARTED + "await receive(); await send({'type': 'lifespan.shutdown.complete'})"), links=2
    )
    running.links[0].drain()
    assert running.links[1].fetch().body == b"served"
    running.links[1].drain()
    assert running.process.wait(20) == 0
    assert running.stderr == ""


def test_startup_and_shutdown_run_once_in_order(serve: Serve, tmp_path: Path) -> None:
    running = serve(
        lifespan(
            "from pathlib import Path; log = Path('log').open('a', buffering=1); "
            + STARTED
            + "log.write('started '); log.write((await receive())['type']); "
            "await send({'type': 'lifespan.shutdown.complete'})"
        )
    )
    assert running.link.fetch().body == b"served"
    assert running.drain() == 0
    assert (tmp_path / "log").read_text() == "started lifespan.shutdown"


@pytest.mark.parametrize(
    "code", ["raise LookupError('no lifespan here')", "return", "await receive(); return"]
)
def test_an_app_without_lifespan_is_served(serve: Serve, code: str) -> None:
    running = serve(lifespan(code))
    assert running.link.fetch().body == b"served"
    assert running.drain() == 0
    told = "ASGI Framework Lifespan error, continuing without Lifespan support: LookupError('no lifespan here')\n"
    assert (f"[WARNING] {told}" in running.stderr) == ("raise" in code)
    assert "Traceback" not in running.stderr, "most frameworks without lifespan raise"


def test_the_traceback_of_an_app_without_lifespan_is_logged_at_debug(serve: Serve) -> None:
    running = serve(lifespan("raise LookupError('no lifespan here')"), "--loglevel", "debug")
    assert running.drain() == 0
    assert "\nLookupError: no lifespan here\n" in running.stderr, "the traceback is told"


def test_what_a_startup_raises_stops_the_start(serve: Serve) -> None:
    said, code = failure(serve, lifespan("await receive(); raise LookupError('no database')"))
    assert "\nLookupError: no database\n" in said, "the traceback is told"
    assert said.splitlines()[-1].endswith("Lifespan failure in startup. 'LookupError('no database')'")
    assert code == 1


def test_lifespan_can_be_left_out(serve: Serve) -> None:
    running = serve(lifespan("await receive(); raise LookupError('asked')"), "--lifespan", "off")
    assert running.link.fetch().body == b"served"
    assert running.drain() == 0 and running.stderr == ""


@pytest.mark.parametrize("code", ["raise LookupError('no lifespan here')", "return"])
def test_lifespan_can_be_demanded(serve: Serve, code: str) -> None:
    said, exit_code = failure(serve, lifespan(code), "--lifespan", "on")
    assert "LifespanFailureError: Lifespan failure in startup." in said and exit_code == 1


def test_a_failed_startup_is_reported_to_the_edge(serve: Serve) -> None:
    said, code = failure(
        serve,
        lifespan(LIFESPAN_HEAD + "await send({'type': 'lifespan.startup.failed', 'message': 'no database'})"),
    )
    assert said.splitlines()[-1].endswith("LifespanFailureError: Lifespan failure in startup. 'no database'")
    assert code == 1


def test_an_app_that_exits_in_startup_has_failed(serve: Serve) -> None:
    said, code = failure(serve, lifespan("sys.exit(3)"))
    assert "SystemExit(3)" in said and code == 1


def test_a_startup_that_takes_too_long_is_reported_to_the_edge(serve: Serve) -> None:
    said, code = failure(serve, lifespan("await asyncio.sleep(60)"), "--startup-timeout", "0.2")
    assert "LifespanTimeoutError: Timeout whilst awaiting startup for 0.2 s" in said
    assert code == 1


def test_a_failed_shutdown_is_logged_and_in_the_exit_code(serve: Serve) -> None:
    running = serve(
        lifespan(
            STARTED + "await receive(); await send({'type': 'lifespan.shutdown.failed', 'message': 'locked'})"
        )
    )
    assert running.drain() == 1
    assert "Lifespan failure in shutdown. 'locked'" in running.stderr


def test_a_shutdown_that_raises_is_in_the_exit_code(serve: Serve) -> None:
    running = serve(lifespan(STARTED + "await receive(); raise LookupError('in shutdown')"))
    assert running.drain() == 1
    assert "LookupError: in shutdown" in running.stderr


def test_a_shutdown_that_takes_too_long_is_cut(serve: Serve) -> None:
    running = serve(lifespan(STARTED + "await asyncio.sleep(60)"), "--shutdown-timeout", "0.2")
    assert running.drain() == 1
    assert "Timeout whilst awaiting shutdown" in running.stderr


def test_a_lifespan_that_dies_later_is_logged_and_the_app_served_on(serve: Serve) -> None:
    running = serve(lifespan(STARTED + "raise LookupError('later')"))
    assert running.link.fetch().body == b"served"
    assert running.drain() == 0
    assert "[ERROR] ASGI Framework Lifespan error, shutdown without Lifespan support" in running.stderr


def test_a_lifespan_message_out_of_place_raises_in_the_app(serve: Serve) -> None:
    running = serve(lifespan(STARTED + "await send({'type': 'lifespan.startup.complete'})"))
    running.drain()
    assert "UnexpectedMessageError: Unexpected message type, lifespan.startup.complete" in running.stderr


@pytest.mark.parametrize(
    ("source", "app", "said"),
    [
        ("import nothing_like_this", "main:app", "ModuleNotFoundError: No module named 'nothing_like_this'"),
        ("", "main:int.nothing", "AttributeError: type object 'int' has no attribute 'nothing'"),
        ("", "main:1 +", "SyntaxError"),
        (
            "",
            "fcgi:main:app",
            "ValueError: Invalid mode 'fcgi' in the application path, must be 'asgi' or 'wsgi'",
        ),
        ("import sys; sys.exit(4)", "main:app", "SystemExit: 4"),
    ],
)
def test_an_app_that_cannot_be_loaded_is_reported_with_its_traceback(
    serve: Serve, source: str, app: str, said: str
) -> None:
    text, code = failure(serve, source, app=app)
    assert text.startswith("Traceback (most recent call last):\n") and said in text
    assert code == 1


@pytest.mark.parametrize("source", ["1 +", "import sys\ndef load():\n    sys.exit('no')\nload()"])
def test_a_traceback_begins_with_the_app(serve: Serve, source: str) -> None:
    text, _ = failure(serve, source)
    first = text.splitlines()[1 if text.startswith("Traceback") else 0]
    assert first.endswith(("main.py\", line 1", "main.py\", line 4, in <module>")), text


@pytest.mark.parametrize(
    ("source", "app", "said"),
    [
        ("", "other:app", "Cannot load application from 'other:app', module not found. There is no other in /"),
        ("", "main.part:app", "Cannot load application from 'main.part:app', module not found."),
        ("", "main:app", "'main:app', application not found. main defines no callables."),
        (
            "import json\nfrom pathlib import Path\nlimit = 3\ndef make_app(): pass\ndef a(): pass",
            "main",
            "Cannot load application from 'main', application not found. main defines make_app, a.",
        ),
        ("app = {}", "main:app", "Cannot load application from 'main:app': it is of type dict, which is neither ASGI nor WSGI"),
    ],
)
def test_an_app_that_does_not_exist_is_reported_in_one_line(serve: Serve, source: str, app: str, said: str) -> None:
    text, code = failure(serve, source, app=app)
    assert said in text and text.count("\n") == 1
    assert code == 1


@pytest.mark.parametrize(
    "path",
    [
        "main",
        "main:app",
        "main.py:app",
        "asgi:main:app",
        "./main:make('x')",
        "sub/../main.py:holder.app",
        "main:make(name='a:b')",
        "asgi:main:make(name='a:b')",
        "asgi:make(name='a:b')",
        "asgi:app",
    ],
)
def test_application_paths_are_those_of_hypercorn(serve: Serve, tmp_path: Path, path: str) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "asgi.py").write_text("from main import app, make")
    source = (
        lifespan("return") + "\n    def make(name):\n        return app\n\n    class holder:\n        pass\n"
    )
    assert serve(source + "    holder.app = app\n", app=path).link.fetch().body == b"served"


def test_a_path_puts_its_directory_first(serve: Serve, tmp_path: Path) -> None:
    package = tmp_path / "src" / "package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "beside.py").write_text("ANSWER = b'served'")
    source = textwrap.dedent(lifespan("return")).replace('b"served"', "ANSWER")
    (package / "web.py").write_text("from package.beside import ANSWER\n" + source)
    assert serve("", app="src/package.web:app").link.fetch().body == b"served"


def test_the_absence_of_uvloop_is_reported(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "uvloop.py").write_text("raise ModuleNotFoundError(\"No module named 'uvloop'\")")
    said, code = failure(serve, lifespan("return"), "--worker-class", "uvloop")
    assert "run 'pip install uvloop' or choose 'asyncio'" in said and code == 1


def test_signals_of_the_terminal_leave_the_decision_to_the_edge(serve: Serve) -> None:
    running = serve(lifespan("return"))
    running.process.send_signal(signal.SIGINT)
    running.process.send_signal(signal.SIGTERM)
    assert running.link.fetch().body == b"served"
    assert running.drain() == 0


def test_when_the_edge_is_gone_the_worker_cancels_shuts_down_and_ends(
    serve_on: Serve, tmp_path: Path
) -> None:
    running = serve_on(
        """
        import asyncio
        from pathlib import Path

        async def app(scope, receive, send):
            if scope["type"] == "lifespan":
                await receive()
                await send({"type": "lifespan.startup.complete"})
                await receive()
                Path("shutdown").touch()
                await send({"type": "lifespan.shutdown.complete"})
                return
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                Path("cancelled").touch()
                raise
        """
    )
    running.link.get()
    running.link.ping()
    assert running.hang_up() == 0
    assert (tmp_path / "cancelled").exists() and (tmp_path / "shutdown").exists()
    assert running.stderr == ""


def test_a_task_that_runs_on_after_its_response_may_end_before_the_drain_does(
    serve: Serve, tmp_path: Path
) -> None:
    running = serve(
        """
        import asyncio
        from pathlib import Path

        async def app(scope, receive, send):
            if scope["type"] == "http":
                await send({"type": "http.response.start", "status": 200})
                await send({"type": "http.response.body", "body": b"served"})
                await asyncio.sleep(0.2)
                Path("finished").touch()
        """
    )
    assert running.link.fetch().body == b"served"
    assert running.drain() == 0
    assert (tmp_path / "finished").exists()


def test_a_task_that_never_ends_is_cancelled_by_the_drain(serve: Serve) -> None:
    running = serve(
        """
        import asyncio

        async def app(scope, receive, send):
            if scope["type"] == "http":
                await send({"type": "http.response.start", "status": 200})
                await send({"type": "http.response.body", "body": b"served"})
                await asyncio.sleep(60)
        """
    )
    assert [running.link.fetch(target).body for target in (b"/mail", b"/mail?to=b")] == [b"served"] * 2
    assert running.drain(0.2) == 0
    (line,) = running.stderr.splitlines()
    assert line.endswith("[WARNING] 2 tasks of requests were cut off at the end of the drain: GET /mail (2)")
    assert running.link.finished().is_end


def test_a_task_that_cannot_be_cancelled_is_left_behind_and_the_shutdown_runs(serve: Serve) -> None:
    running = serve(
        """
        import asyncio, sys

        async def app(scope, receive, send):
            if scope["type"] == "lifespan":
                await receive()
                await send({"type": "lifespan.startup.complete"})
                await receive()
                print("shut down", file=sys.stderr)
                await send({"type": "lifespan.shutdown.complete"})
                return
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": b"served"})
            while True:
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    pass
        """
    )
    assert running.link.fetch().body == b"served"
    assert running.drain(0.1) == 0
    assert "Abandoning requests that did not end in time: 1 (GET /)" in running.stderr
    assert "shut down" in running.stderr
    assert not running.link.finished().is_end


def test_every_link_tells_of_the_signal_and_the_handler_is_called_once(serve: Serve) -> None:
    running = serve(
        LIFESPAN.format(lifespan="return")
        + """
    import signal
    signal.signal(signal.SIGTERM, lambda number, frame: print("told", number, file=sys.stderr, flush=True))
    """,
        links=2,
    )
    for link in running.links:
        link.stopping(signal.SIGTERM)
        link.stopping(signal.SIGUSR1)  # is none of those that stop a server
    assert running.links[0].fetch().body == b"served"
    assert running.drain() == 0
    assert running.stderr.splitlines() == [f"told {signal.SIGTERM.value}"]


def test_what_a_handler_raises_is_logged_and_ends_nothing(serve: Serve) -> None:
    running = serve(
        LIFESPAN.format(lifespan="return")
        + """
    import signal
    signal.signal(signal.SIGTERM, lambda number, frame: 1 / 0)
    """
    )
    running.link.stopping(signal.SIGTERM)
    assert running.link.fetch().body == b"served"
    assert running.drain() == 0
    assert "[ERROR] Error in the app's handler of SIGTERM" in running.stderr and "ZeroDivisionError" in running.stderr


def test_child_process_that_does_not_end_is_named_and_left_behind(serve: Serve) -> None:
    running = serve(
        """
        import multiprocessing, signal, time

        child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(20,), name="Warehouse")

        async def app(scope, receive, send):
            if scope["type"] == "lifespan":
                await receive()
                child.start()
                await send({"type": "lifespan.startup.complete"})
                await receive()
                await send({"type": "lifespan.shutdown.complete"})
        """
    )
    assert running.drain() == 0
    assert "[WARNING] Exiting although these have not ended: process Warehouse" in running.stderr


@pytest.mark.slow
def test_what_atexit_does_not_end_is_left_behind(serve: Serve) -> None:
    running = serve("import atexit, time\natexit.register(time.sleep, 600)\n" + textwrap.dedent(lifespan("return")))
    assert running.drain() == 0
    assert "Exiting although the interpreter has not shut down" in running.stderr


def test_a_worker_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    code = f"""
        import os, signal, sys
        sys.path.insert(0, {str(Path(__file__).parents[1])!r})
        from pathlib import Path
        from worker.fake_edge import worker
        with worker(Path({str(tmp_path)!r}), {lifespan("return")!r}) as running:
            print(running.process.pid, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
    """
    started = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False
    )
    pid = int(started.stdout)
    assert started.returncode == -signal.SIGKILL
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    ended, _, _ = select.select([pidfd], [], [], 10)
    os.close(pidfd)
    assert ended, "the worker has outlived its parent"


def test_links_that_are_no_descriptors_are_refused() -> None:
    for links in ("3", "a:b", "3:4,", "1:2", "900:901"):
        refused = subprocess.run(command("main:app", links), capture_output=True, text=True, check=False)
        assert refused.returncode != 0 and "arguments are required" not in refused.stderr, refused.stderr


def test_ready_is_the_first_word(tmp_path: Path) -> None:
    with worker(tmp_path, lifespan("return"), ready=False) as running:
        assert running.link.read().kind == READY
