"""The trio worker: tasks of a nursery, waits of trio, lifespan and drain."""

from __future__ import annotations

from ast import literal_eval
from pathlib import Path

import pytest

from worker.conftest import Serve
from worker.fake_edge import (
    APP_FAILED,
    AWAITS_BODY,
    DATA,
    DONE,
    FAILED,
    RESPONSE,
    Worker,
    request_head,
)

APP = """
    import contextvars, sys
    from pathlib import Path
    import sniffio, trio

    HEAD = {"type": "http.response.start", "status": 200}
    variable = contextvars.ContextVar("variable", default="unset")
    seen = []

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                assert (await receive()) == {"type": "lifespan.startup"}
                scope["state"]["library"] = sniffio.current_async_library()
                variable.set("set by lifespan")
                await send({"type": "lifespan.startup.complete"})
                assert (await receive()) == {"type": "lifespan.shutdown"}
                Path("shutdown").touch()
                await send({"type": "lifespan.shutdown.complete"})
                await trio.sleep_forever()
        else:
            await globals()[scope["path"][1:]](scope, receive, send)

    async def answer(send, value):
        await send(HEAD)
        await send({"type": "http.response.body", "body": repr(value).encode()})

    async def hello(scope, receive, send):
        before = variable.get()
        variable.set("set by a request")
        await answer(send, (scope["state"]["library"], sniffio.current_async_library(), before))

    async def together(scope, receive, send):
        seen.append(1)
        while len(seen) < 3:
            await trio.sleep(0.001)
        await answer(send, "met")

    async def echo(scope, receive, send):
        await send(HEAD)
        more = True
        while more:
            message = await receive()
            more = message["more_body"]
            await send({"type": "http.response.body", "body": message["body"], "more_body": more})

    async def big(scope, receive, send):
        await send(HEAD)
        await send({"type": "http.response.body", "body": bytes(1 << 20), "more_body": True})
        seen.append("sent")
        await send({"type": "http.response.body"})

    async def gone(scope, receive, send):
        await receive()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hear, receive, nursery.cancel_scope)
            await send(HEAD)
            while True:
                await send({"type": "http.response.body", "body": b"event", "more_body": True})

    async def hear(receive, scope):
        seen.append((await receive())["type"])
        scope.cancel()

    async def asks_without_waiting(scope, receive, send):
        found = []
        for _ in range(3):
            with trio.CancelScope() as cancelled:
                cancelled.cancel()
                found.append((await receive())["type"])
        await answer(send, found)

    async def report(scope, receive, send):
        await answer(send, seen)

    async def raises(scope, receive, send):
        raise LookupError("in the app")

    async def raises_in_a_group(scope, receive, send):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(raises, scope, receive, send)
            await trio.sleep_forever()

    async def exits(scope, receive, send):
        await trio.sleep(0)
        sys.exit(3)

    async def returns(scope, receive, send):
        pass

    async def lingers(scope, receive, send):
        await answer(send, "served")
        await trio.sleep(0.2)
        Path("finished").touch()

    async def sleeps(scope, receive, send):
        await answer(send, "served")
        try:
            await trio.sleep_forever()
        finally:
            Path("cancelled").touch()

    async def endless(scope, receive, send):
        await send(HEAD)
        while True:
            await send({"type": "http.response.body", "body": b"", "more_body": True})

    async def shielded(scope, receive, send):
        await answer(send, "served")
        with trio.CancelScope(shield=True):
            await trio.sleep_forever()
"""


@pytest.fixture
def on_trio(serve: Serve) -> Serve:
    """Runs a module's source in a worker on trio."""
    return lambda source, *arguments, **how: serve(source, "--worker-class", "trio", *arguments, **how)


def report(running: Worker) -> object:
    return literal_eval(running.link.fetch(b"/report").body.decode())


def test_each_request_is_a_task_of_trio_in_its_own_context(on_trio: Serve, tmp_path: Path) -> None:
    running = on_trio(APP, links=2)
    for link in (*running.links, *running.links):
        assert literal_eval(link.fetch(b"/hello").body.decode()) == ("trio", "trio", "unset")
    streams = [running.link.get(b"/together") for _ in range(3)]
    assert {running.link.response(stream).body for stream in streams} == {b"'met'"}
    assert running.drain() == 0
    assert running.stderr == ""
    assert (tmp_path / "shutdown").exists()


def test_bodies_flow_both_ways_by_credit(on_trio: Serve) -> None:
    running = on_trio(APP)
    stream = running.link.request(request_head(b"POST", b"/echo", body=True), end=False, expects=True)
    running.link.expect(stream, RESPONSE)
    running.link.expect(stream, AWAITS_BODY)
    for piece in (b"one", b"two"):
        running.link.data(stream, piece)
        assert running.link.expect(stream, DATA).payload == piece
    running.link.data(stream, b"three", end=True)
    last = running.link.expect(stream, DATA)
    assert last.payload == b"three" and last.is_end

    stream = running.link.get(b"/big")
    running.link.expect(stream, RESPONSE)
    received = running.link.used_up_window(stream)
    assert running.link.quiet() and report(running) == []
    running.link.credit(stream, 2 << 20)
    assert len(received + running.link.rest(stream)) == 1 << 20


def test_a_client_that_goes_is_a_message_and_cancels_nothing(on_trio: Serve) -> None:
    running = on_trio(APP)
    stream = running.link.get(b"/gone")
    running.link.expect(stream, RESPONSE)
    running.link.reset(stream)
    while running.link.expect(stream, DATA, APP_FAILED, DONE).kind != DONE:
        pass
    assert report(running) == ["http.disconnect"]


def test_a_message_that_is_there_comes_although_the_wait_is_cancelled(on_trio: Serve) -> None:
    running = on_trio(APP)
    assert running.link.fetch(b"/asks_without_waiting").body == b"['http.request']"
    stream = running.link.request(request_head(b"POST", b"/asks_without_waiting", body=True), end=False)
    assert running.link.response(stream).body == b"[]"
    assert running.drain() == 0
    assert running.stderr == ""


@pytest.mark.parametrize(
    ("path", "logged"),
    [
        (b"/raises", "LookupError: in the app"),
        (b"/raises_in_a_group", "LookupError: in the app"),
        (b"/exits", "SystemExit: 3"),
        (b"/returns", "the app has returned without completing its response"),
    ],
)
def test_a_failed_app_resets_its_stream_and_harms_no_other(on_trio: Serve, path: bytes, logged: str) -> None:
    running = on_trio(APP)
    for _ in range(2):
        running.link.expect(running.link.get(path), APP_FAILED)
    assert running.link.fetch(b"/hello").status == 200
    assert running.drain() == 0
    assert "[ERROR] Error in ASGI Framework" in running.stderr and logged in running.stderr


def test_drain_lets_tasks_end_and_cancels_those_that_do_not(on_trio: Serve, tmp_path: Path) -> None:
    running = on_trio(APP)
    for path in (b"/lingers", b"/sleeps"):
        assert running.link.fetch(path).body == b"'served'"
    running.link.expect(running.link.get(b"/endless"), RESPONSE)
    assert running.drain(0.5) == 0
    assert all((tmp_path / name).exists() for name in ("finished", "cancelled", "shutdown"))
    (line,) = running.stderr.splitlines()
    assert "[WARNING] 2 tasks of requests were cut off at the end of the drain: " in line
    assert "GET /sleeps" in line and "GET /endless" in line


def test_drain_does_not_wait_for_a_task_that_cannot_be_cancelled(on_trio: Serve) -> None:
    running = on_trio(APP)
    assert running.link.fetch(b"/shielded").body == b"'served'"
    assert running.drain(0.1) == 0
    assert "Abandoning requests that did not end in time: 1 (GET /shielded)" in running.stderr


def test_when_the_edge_is_gone_the_worker_cancels_shuts_down_and_ends(on_trio: Serve, tmp_path: Path) -> None:
    running = on_trio(APP)
    assert running.link.fetch(b"/sleeps").body == b"'served'"
    assert running.hang_up() == 0
    assert (tmp_path / "cancelled").exists() and (tmp_path / "shutdown").exists()


LIFESPAN = """
    import trio

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            {code}
        else:
            await send({{"type": "http.response.start", "status": 200}})
            await send({{"type": "http.response.body", "body": b"served"}})
"""


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("await send({'type': 'lifespan.startup.failed', 'message': 'no database'})", "'no database'"),
        ("await trio.sleep_forever()", "Timeout whilst awaiting startup for 0.2 s"),
        ("raise SystemExit(3)", "SystemExit(3)"),
    ],
)
def test_a_startup_that_fails_is_reported(on_trio: Serve, code: str, said: str) -> None:
    running = on_trio(LIFESPAN.format(code=code), "--startup-timeout", "0.2", ready=False)
    frame = running.link.read()
    assert frame.kind == FAILED and said in frame.payload.decode().splitlines()[-1]
    assert running.process.wait(20) == 1


def test_an_app_without_lifespan_is_served(on_trio: Serve) -> None:
    running = on_trio(LIFESPAN.format(code="raise LookupError('no lifespan here')"))
    assert running.link.fetch().body == b"served"
    assert running.drain() == 0
    assert "continuing without Lifespan support" in running.stderr


def test_lifespan_can_be_left_out(on_trio: Serve) -> None:
    running = on_trio(LIFESPAN.format(code="await receive(); raise LookupError('asked')"), "--lifespan", "off")
    assert running.link.fetch().body == b"served"
    assert running.drain() == 0 and running.stderr == ""


def test_a_shutdown_that_takes_too_long_is_cut(on_trio: Serve) -> None:
    code = "await receive(); await send({'type': 'lifespan.startup.complete'}); await trio.sleep_forever()"
    running = on_trio(LIFESPAN.format(code=code), "--shutdown-timeout", "0.2")
    assert running.drain() == 1
    assert "Timeout whilst awaiting shutdown" in running.stderr


def test_the_absence_of_trio_is_reported(on_trio: Serve, tmp_path: Path) -> None:
    (tmp_path / "trio.py").write_text("raise ModuleNotFoundError(\"No module named 'trio'\")")
    running = on_trio("async def app(scope, receive, send): ...", ready=False)
    said = running.link.read()
    assert said.kind == FAILED and "run 'pip install trio' or choose 'asyncio'" in said.payload.decode()


LEFT_BEHIND = """
    import contextvars, trio

    variable = contextvars.ContextVar("variable", default="unset")
    seen = []

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            async with trio.open_nursery() as nursery:
                scope["state"].update(nursery=nursery, gate=trio.Event())
                await receive()
                await send({"type": "lifespan.startup.complete"})
                await receive()
                nursery.cancel_scope.cancel()
            await send({"type": "lifespan.shutdown.complete"})
            return
        path, gate = scope["path"], scope["state"]["gate"]
        if path == "/seen":
            gate.set()
            while len(seen) < 6:
                await trio.sleep(0.001)
            await answer(send, repr(seen))
            return
        variable.set(path)
        scope["state"]["nursery"].start_soon(later, gate, "nursery")
        trio.lowlevel.spawn_system_task(later, gate, "system", context=contextvars.copy_context())
        if path == "/raises":
            raise LookupError("after it has left a task behind")
        if path == "/gone":
            await receive()
            assert (await receive())["type"] == "http.disconnect"
            return
        await answer(send, "answered")

    async def answer(send, text):
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": text.encode()})

    async def later(gate, where):
        try:
            await gate.wait()
            seen.append((where, variable.get()))
        except BaseException as error:
            seen.append((where, repr(error)))
            raise
"""


def test_tasks_that_an_app_leaves_behind_live_on_in_its_context(serve: Serve) -> None:
    running = serve(LEFT_BEHIND, "--worker-class", "trio")
    assert running.link.fetch(b"/answered").body == b"answered"
    running.link.expect(running.link.get(b"/raises"), APP_FAILED)
    stream = running.link.get(b"/gone")
    running.link.ping()
    running.link.reset(stream)
    running.link.expect(stream, DONE)
    seen = literal_eval(running.link.fetch(b"/seen").body.decode())
    paths = ["/answered", "/gone", "/raises"]
    assert sorted(seen) == [(where, path) for where in ("nursery", "system") for path in paths]
    assert running.drain() == 0


LOADED = """
    import sys

    async def app(scope, receive, send):
        loaded = sorted(name for name in sys.modules if name.startswith("hcrs.trio"))
        unused = [name for name in ("hcrs.config", "hcrs.edge", "hcrs.embed") if name in sys.modules]
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": repr((loaded, unused)).encode()})
"""


def test_the_modules_for_programs_that_embed_the_server_are_not_loaded(on_trio: Serve) -> None:
    loaded, unused = literal_eval(on_trio(LOADED, "--lifespan", "off").link.fetch(b"/").body.decode())
    assert loaded == ["hcrs.trio", "hcrs.trio.event_loop", "hcrs.trio.lifespan", "hcrs.trio.runner"]
    assert unused == []
