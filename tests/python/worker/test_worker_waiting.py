"""Waiting in ``receive``: a task goes on as soon as its frame is there, and is a true task meanwhile."""

from __future__ import annotations

from ast import literal_eval

from worker.conftest import Serve
from worker.fake_edge import AWAITS_BODY, DATA, RESPONSE, Link, request_head

#: Each path waits for a body, and answers with what it has seen.
WAITS = """
    import asyncio, contextvars

    variable = contextvars.ContextVar("variable", default="unset")

    async def app(scope, receive, send):
        if scope["type"] != "http":
            return
        await send({"type": "http.response.start", "status": 200})
        seen = await globals()[scope["path"][1:]](receive)
        await send({"type": "http.response.body", "body": repr(seen).encode()})

    async def true_task(receive):
        variable.set("of this request")
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        message = await receive()
        return message["body"], asyncio.current_task() is task, asyncio.get_running_loop() is loop, variable.get()

    async def cancelled(receive):
        task = asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        task.cancel("enough")
        try:
            await task
        except asyncio.CancelledError:
            seen = [task.cancelled(), (await receive())["body"]]
        return seen

    async def two_at_once(receive):
        first, second = asyncio.ensure_future(receive()), asyncio.ensure_future(receive())
        done, waiting = await asyncio.wait({first, second}, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
        return sorted(task.result()["body"] for task in done)

    async def timed_out(receive):
        timeouts = 0
        while True:
            try:
                return timeouts > 0, (await asyncio.wait_for(receive(), 0.05))["body"]
            except asyncio.TimeoutError:
                timeouts += 1

    async def exits(receive):
        await receive()
        raise SystemExit(3)

    async def future(receive):
        waiter = receive().send(None)
        calls = []
        loop = asyncio.get_running_loop()
        facts = [asyncio.isfuture(waiter), waiter.done(), waiter.get_loop() is loop]
        waiter.add_done_callback(calls.append)
        waiter.add_done_callback(facts.append)
        facts.append(waiter.remove_done_callback(facts.append))
        facts += [waiter.cancel(), waiter.cancelled(), waiter.cancel()]
        await asyncio.sleep(0)
        await receive()
        return facts, calls == [waiter]
"""


def answer(serve_on: Serve, path: bytes) -> object:
    """The app's record of one piece of body that came while it waited."""
    link = serve_on(WAITS).link
    stream = link.request(request_head(b"POST", path, body=True), end=False, expects=True)
    link.expect(stream, RESPONSE)
    if path == b"/timed_out":
        link.expect(stream, AWAITS_BODY)
        assert link.quiet(0.2), "nothing tells of a timeout"
    link.data(stream, b"piece", end=True)
    return body_of(link, stream)


def body_of(link: Link, stream: int) -> object:
    """The body of the app's answer."""
    while (frame := link.expect(stream, DATA, AWAITS_BODY)).kind == AWAITS_BODY:
        pass
    return literal_eval(frame.payload.decode())


def test_a_step_after_waiting_is_that_of_the_same_task_in_its_own_context(serve_on: Serve) -> None:
    assert answer(serve_on, b"/true_task") == (b"piece", True, True, "of this request")


def test_a_wait_that_is_cancelled_loses_nothing(serve_on: Serve) -> None:
    assert answer(serve_on, b"/cancelled") == [True, b"piece"]


def test_one_of_two_waits_gets_the_message(serve_on: Serve) -> None:
    assert answer(serve_on, b"/two_at_once") == [b"piece"]


def test_a_wait_may_time_out_and_be_repeated(serve_on: Serve) -> None:
    assert answer(serve_on, b"/timed_out") == (True, b"piece")


def test_what_an_app_awaits_is_a_future(serve_on: Serve) -> None:
    assert answer(serve_on, b"/future") == ([True, False, True, 1, True, True, False], True)


def test_an_app_that_exits_after_waiting_ends_no_other(serve_on: Serve) -> None:
    running = serve_on(WAITS)
    link = running.link
    exits, other = (
        link.request(request_head(b"POST", path, body=True), end=False) for path in (b"/exits", b"/true_task")
    )
    for stream in (exits, other):
        link.expect(stream, RESPONSE)
    for stream in (exits, other):
        link.data(stream, b"piece", end=True)
    assert body_of(link, other) == (b"piece", True, True, "of this request")
    link.ping()
    assert "SystemExit: 3" in running.stderr
