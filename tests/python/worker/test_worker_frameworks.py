"""Properties that frameworks and libraries rely on: true tasks, contexts of their own, anyio's and sniffio's rules."""

from __future__ import annotations

from ast import literal_eval

from end_to_end.server import wait_until
from worker.conftest import Serve
from worker.fake_edge import APP_FAILED, CREDIT, DATA, DONE, RESPONSE, request_head

TASKS = """
    import asyncio, contextvars, threading

    variable = contextvars.ContextVar("variable", default="unset")
    order = []

    async def app(scope, receive, send):
        if scope["type"] != "http":
            variable.set("set by lifespan")
            return
        before = variable.get()
        variable.set(scope["path"])
        task = asyncio.current_task()
        loop = asyncio.get_running_loop()
        facts = {
            "before": before,
            "task": isinstance(task, asyncio.Task),
            "listed": task in asyncio.all_tasks(),
            "loop": task.get_loop() is loop,
            "call_soon": "call_soon" in vars(loop) if hasattr(loop, "__dict__") else False,
            "thread": threading.current_thread() is threading.main_thread(),
        }
        order.append("first step of " + scope["path"])
        loop.call_soon(order.append, "called soon by " + scope["path"])
        child = asyncio.create_task(nested())
        await asyncio.sleep(0)
        facts["child"] = await child
        facts["after"] = variable.get()
        facts["same"] = asyncio.current_task() is task
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": repr((facts, order)).encode()})

    async def nested():
        return variable.get(), asyncio.current_task() is not None
"""


def test_a_first_step_is_that_of_a_true_task_in_its_own_context(serve_on: Serve) -> None:
    running = serve_on(TASKS)
    streams = [running.link.get(b"/%d" % n) for n in range(3)]
    for number, stream in enumerate(streams):
        facts, order = literal_eval(running.link.response(stream).body.decode())
        assert facts == {
            "before": "unset",
            "task": True,
            "listed": True,
            "loop": True,
            "call_soon": False,
            "thread": True,
            "child": (f"/{number}", True),
            "after": f"/{number}",
            "same": True,
        }
        firsts = [f"first step of /{n}" for n in range(number + 1)]
        assert [word for word in order if word.startswith("first")][: number + 1] == firsts


LEFT_BEHIND = """
    import asyncio, contextvars

    variable = contextvars.ContextVar("variable")
    gate, seen, kept = None, [], set()

    async def app(scope, receive, send):
        global gate
        if scope["type"] == "lifespan":
            gate = asyncio.Event()
            return
        path = scope["path"]
        if path == "/seen":
            gate.set()
            while len(seen) < 3:
                await asyncio.sleep(0.001)
            await answer(send, repr(seen))
        else:
            variable.set(path)
            kept.add(asyncio.create_task(later()))
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

    async def later():
        try:
            await gate.wait()
            seen.append(variable.get())
        except BaseException as error:
            seen.append(repr(error))
"""


def test_tasks_that_an_app_leaves_behind_live_on_in_its_context(serve_on: Serve) -> None:
    running = serve_on(LEFT_BEHIND)
    assert running.link.fetch(b"/answered").body == b"answered"
    running.link.expect(running.link.get(b"/raises"), APP_FAILED)
    stream = running.link.get(b"/gone")
    running.link.ping()
    running.link.reset(stream)
    running.link.expect(stream, DONE)
    seen = literal_eval(running.link.fetch(b"/seen").body.decode())
    assert sorted(seen) == ["/answered", "/gone", "/raises"]
    assert running.drain() == 0


def test_a_task_factory_of_the_app_is_used(serve_on: Serve) -> None:
    running = serve_on(
        """
        import asyncio
        made = []

        def factory(loop, coro, **how):
            made.append(coro.__name__)
            return asyncio.Task(coro, loop=loop, **how)

        async def app(scope, receive, send):
            if scope["type"] == "lifespan":
                asyncio.get_running_loop().set_task_factory(factory)
                return
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": repr(made).encode()})
        """
    )
    assert b"app" in running.link.fetch().body


ANYIO = """
    import anyio, sniffio
    from anyio.abc import TaskStatus

    async def app(scope, receive, send):
        if scope["type"] != "http":
            return
        assert sniffio.current_async_library() == "asyncio"
        seen = [anyio.get_current_task().name]
        with anyio.move_on_after(0.01) as moved:
            await anyio.sleep(10)
        seen.append(moved.cancelled_caught)
        async with anyio.create_task_group() as group:
            async def child(*, task_status=anyio.TASK_STATUS_IGNORED):
                task_status.started("started")
                await anyio.sleep(60)
            seen.append(await group.start(child))
            group.cancel_scope.cancel()
        seen.append(await anyio.to_thread.run_sync(lambda: "thread"))
        with anyio.CancelScope() as scope_of_own:
            scope_of_own.cancel()
            await anyio.lowlevel.checkpoint()
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": repr(seen).encode()})
"""


def test_anyio_and_sniffio_know_where_they_are(serve_on: Serve) -> None:
    assert literal_eval(serve_on(ANYIO).link.fetch().body.decode()) == [
        "hcrs.request",
        True,
        "started",
        "thread",
    ]


THREADS = """
    import asyncio, threading
    import anyio

    async def app(scope, receive, send):
        if scope["path"] == "/cancel":
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
        thread = await anyio.to_thread.run_sync(threading.get_native_id)
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": str(thread).encode()})
"""


def test_requests_one_after_another_use_one_thread_of_anyio(serve_on: Serve) -> None:
    running = serve_on(THREADS, "--lifespan", "off")
    assert len({running.link.fetch(b"/").body for _ in range(5)}) == 1


def test_an_app_that_cancels_every_task_does_not_end_its_worker(serve_on: Serve) -> None:
    running = serve_on(THREADS, "--lifespan", "off")
    for path in (b"/cancel", b"/", b"/cancel", b"/"):
        assert running.link.fetch(path).status == 200
    assert running.drain() == 0
    assert running.stderr == ""


STARLETTE = """
    import anyio
    from starlette.applications import Starlette
    from starlette.background import BackgroundTask
    from starlette.middleware import Middleware
    from starlette.middleware.base import BaseHTTPMiddleware
    from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
    from starlette.routing import Route

    ran = []

    async def echo(request):
        return PlainTextResponse(await request.body())

    async def pieces(request):
        return PlainTextResponse(str(sum([len(piece) async for piece in request.stream()])))

    async def events(request):
        async def lines():
            try:
                for n in range(10**9):
                    yield f"line {n}\\n"
                    await anyio.sleep(0.01)
            finally:
                ran.append("closed")
        return StreamingResponse(lines())

    async def background(request):
        return PlainTextResponse("now", background=BackgroundTask(ran.append, "later"))

    async def boom(request):
        raise LookupError("boom")

    async def report(request):
        return JSONResponse(ran)

    class Marking(BaseHTTPMiddleware):
        async def dispatch(self, request, call_next):
            response = await call_next(request)
            response.headers["x-marked"] = "yes"
            return response

    routes = [Route("/" + f.__name__, f, methods=["GET", "POST"]) for f in (echo, pieces, events, background, boom, report)]
    app = Starlette(routes=routes, middleware=[Middleware(Marking)])
"""


def test_starlette_streams_echoes_and_disconnects(serve_on: Serve) -> None:
    running = serve_on(STARLETTE)
    link = running.link
    body = b"0123456789" * 40_000
    for path, expected in ((b"/echo", body), (b"/pieces", b"400000")):
        stream = link.request(request_head(b"POST", path, body=True), end=False)
        link.upload(stream, body)
        response = link.response(stream)
        assert (response.status, response.body, response[b"x-marked"]) == (200, expected, b"yes")
    assert link.fetch(b"/background").body == b"now"
    assert link.fetch(b"/boom").status == 500
    stream = link.get(b"/events")
    link.expect(stream, RESPONSE)
    assert link.expect(stream, DATA, CREDIT).kind in (DATA, CREDIT)
    link.reset(stream)
    reports = (b'["later","closed"]', b'["closed","later"]')
    wait_until(lambda: link.fetch(b"/report").body in reports, "the end of the background task and of the stream")
    assert "LookupError: boom" in running.stderr


FASTAPI = """
    import asyncio
    from contextlib import asynccontextmanager
    from fastapi import Depends, FastAPI, Request
    from pydantic import BaseModel

    @asynccontextmanager
    async def lifespan(app):
        yield {"database": "open"}

    app = FastAPI(lifespan=lifespan)

    class Item(BaseModel):
        name: str
        price: float

    def sync_dependency():
        yield "dependency"

    @app.get("/items/{number}")
    async def item(number: int, request: Request, dependency=Depends(sync_dependency)):
        return {"number": number, "database": request.state.database, "dependency": dependency}

    @app.post("/items")
    async def create(item: Item):
        await asyncio.sleep(0)
        return item

    @app.get("/threads")
    def threads():
        return "from a thread"
"""


def test_fastapi_serves_with_dependencies_threads_and_state(serve_on: Serve) -> None:
    link = serve_on(FASTAPI).link
    assert link.fetch(b"/items/5").body == b'{"number":5,"database":"open","dependency":"dependency"}'
    assert link.fetch(b"/threads").body == b'"from a thread"'
    assert link.fetch(b"/items/x").status == 422
    head = request_head(b"POST", b"/items", [(b"content-type", b"application/json")], body=True)
    stream = link.request(head, end=False)
    link.data(stream, b'{"name": "tea",')
    link.data(stream, b'"price": 2}', end=True)
    assert link.response(stream).body == b'{"name":"tea","price":2.0}'
