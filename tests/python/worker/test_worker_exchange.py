"""Messages both ways: streaming, flow control, disconnects."""

from __future__ import annotations

import re
import struct
import time

from worker.conftest import Serve
from worker.fake_edge import (
    AWAITS_BODY,
    CREDIT,
    DATA,
    DONE,
    REQUEST_WINDOW,
    RESPONSE,
    WAIT,
    Worker,
    request_head,
    response_head,
)

APP = """
    import asyncio

    HEAD = {"type": "http.response.start", "status": 200, "headers": [(b"x-app", b"yes")]}
    seen = []

    async def app(scope, receive, send):
        if scope["type"] == "http":
            await globals()[scope["path"][1:]](scope, receive, send)

    async def hello(scope, receive, send):
        await send(HEAD)
        await send({"type": "http.response.body", "body": b"hello"})

    async def empty(scope, receive, send):
        await send(HEAD)
        await send({"type": "http.response.body"})

    async def echo(scope, receive, send):
        await send(HEAD)
        more = True
        while more:
            message = await receive()
            assert message["type"] == "http.request" and len(message["body"]) <= 65536
            more = message["more_body"]
            await send({"type": "http.response.body", "body": message["body"], "more_body": more})

    async def events(scope, receive, send):
        await send(HEAD)
        assert (await asyncio.ensure_future(receive()))["type"] == "http.request"
        gone = asyncio.create_task(receive())
        while not gone.done():
            await send({"type": "http.response.body", "body": b"event\\n", "more_body": True})
            await asyncio.wait([gone], timeout=0.01)
        seen.append(gone.result()["type"])

    async def big(scope, receive, send):
        await send(HEAD)
        size = int(scope["query_string"])
        await send({"type": "http.response.body", "body": bytes(range(256)) * (size // 256), "more_body": True})
        seen.append("sent")
        await send({"type": "http.response.body"})

    async def views(scope, receive, send):
        await send(HEAD)
        await send({"type": "http.response.body", "body": bytearray(b"array "), "more_body": True})
        await send({"type": "http.response.body", "body": memoryview(b"..view")[2:], "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def after(scope, receive, send):
        await hello(scope, receive, send)
        seen.append((await receive())["type"])
        seen.append((await receive())["type"])

    async def waiting(scope, receive, send):
        await receive()
        seen.append((await receive())["type"])
        await send(HEAD)
        await send({"type": "http.response.body", "body": b"to nobody" * 100_000})
        seen.append("done")

    async def impatient(scope, receive, send):
        body, timeouts, more = b"", 0, True
        while more:
            try:
                message = await asyncio.wait_for(receive(), 0.01)
            except asyncio.TimeoutError:
                timeouts += 1
                if timeouts == 3:
                    await send(HEAD)
            else:
                body, more = body + message["body"], message["more_body"]
        await send({"type": "http.response.body", "body": body})

    async def report(scope, receive, send):
        await send(HEAD)
        await send({"type": "http.response.body", "body": repr(seen).encode()})
"""


def test_start_and_one_body_are_two_frames(serve_on: Serve) -> None:
    running = serve_on(APP)
    stream = running.link.get(b"/hello")
    head, body = running.link.expect(stream, RESPONSE), running.link.expect(stream, DATA)
    assert not head.is_end and response_head(head.payload).headers == [(b"x-app", b"yes")]
    assert body.is_end and body.payload == b"hello"


def test_an_empty_response_is_one_frame(serve: Serve) -> None:
    running = serve(APP)
    stream = running.link.get(b"/empty")
    assert running.link.expect(stream, RESPONSE).is_end


def test_many_requests_in_one_write_are_all_answered(serve_on: Serve) -> None:
    running = serve_on(APP)
    for _ in range(20):
        streams = [running.link.get(b"/hello") for _ in range(32)]
        assert {running.link.response(stream).body for stream in streams} == {b"hello"}


def test_a_body_is_echoed_in_pieces_and_credited(serve_on: Serve) -> None:
    running = serve_on(APP)
    body = bytes(range(256)) * 3000
    stream = running.link.request(request_head(b"POST", b"/echo", body=True), end=False)
    sent, window, received, ended = 0, REQUEST_WINDOW, b"", False
    while not ended:
        while sent < len(body) and window:
            piece = body[sent : sent + min(window, 50_000)]
            sent, window = sent + len(piece), window - len(piece)
            running.link.data(stream, piece, end=sent == len(body))
        frame = running.link.expect(stream, RESPONSE, DATA, CREDIT)
        if frame.kind == CREDIT:
            window += struct.unpack("<I", frame.payload)[0]
        elif frame.kind == DATA:
            received += frame.payload
            ended = frame.is_end
            if not ended and frame.payload:
                running.link.credit(stream, frame.cost)
    assert received == body


def test_the_first_wait_for_a_body_that_expects_100_is_reported_to_the_edge(serve: Serve) -> None:
    running = serve(APP)
    stream = running.link.request(request_head(b"POST", b"/echo", body=True), end=False)
    running.link.expect(stream, RESPONSE)
    assert running.link.quiet(), "it is not held back"
    running.link.data(stream, b"x", end=True)
    assert running.link.expect(stream, DATA).payload == b"x"
    stream = running.link.request(request_head(b"POST", b"/echo", body=True), end=False, expects=True)
    running.link.expect(stream, RESPONSE)
    running.link.expect(stream, AWAITS_BODY)
    running.link.data(stream, b"x", end=True)
    assert running.link.expect(stream, DATA).payload == b"x"


def test_the_head_of_a_stream_of_events_leaves_at_once(serve_on: Serve) -> None:
    running = serve_on(APP)
    stream = running.link.get(b"/events")
    running.link.expect(stream, RESPONSE)
    for _ in range(3):
        assert running.link.expect(stream, DATA).payload == b"event\n"
    running.link.reset(stream)
    while running.link.expect(stream, DATA, DONE).kind != DONE:
        pass
    assert running.link.fetch(b"/report").body == b"['http.disconnect']"


def test_send_waits_while_the_window_is_used_up(serve_on: Serve) -> None:
    running = serve_on(APP)
    size = 1 << 20
    stream = running.link.get(b"/big?%d" % size)
    running.link.expect(stream, RESPONSE)
    received = running.link.used_up_window(stream)
    assert running.link.quiet()
    assert running.link.fetch(b"/report").body == b"[]", "send has returned although nobody reads"
    running.link.credit(stream, 2 * size)
    received += running.link.rest(stream)
    assert received == bytes(range(256)) * (size // 256)
    assert running.link.fetch(b"/report").body == b"['sent']"


def test_many_large_bodies_share_the_link_fairly(serve_on: Serve) -> None:
    running = serve_on(APP)
    size = 600_064
    streams = [running.link.get(b"/big?%d" % size) for _ in range(12)]
    quick = running.link.get(b"/hello")
    left = dict.fromkeys(streams, size)
    order = []
    while left:
        frame = running.link.read()
        if frame.kind == DATA and frame.stream in left:
            left[frame.stream] -= len(frame.payload)
            if frame.payload:
                running.link.credit(frame.stream, frame.cost)
            if frame.is_end:
                assert left.pop(frame.stream) == 0
        elif frame.stream == quick and frame.kind == DATA:
            order.append(len(left))
    assert order == [12], "the small response came after large ones had ended"


def test_bodies_may_be_any_bytes_like_object(serve: Serve) -> None:
    assert serve(APP).link.fetch(b"/views").body == b"array view"


def test_after_the_response_receive_gives_disconnect(serve: Serve) -> None:
    running = serve(APP)
    assert running.link.fetch(b"/after").body == b"hello"
    assert running.link.fetch(b"/report").body == b"['http.disconnect', 'http.disconnect']"


def test_a_reset_is_received_at_once_and_sends_go_nowhere(serve_on: Serve) -> None:
    running = serve_on(APP)
    stream = running.link.get(b"/waiting")
    running.link.ping()
    running.link.reset(stream)
    running.link.expect(stream, DONE)
    assert running.link.fetch(b"/report").body == b"['http.disconnect', 'done']"


def test_a_reset_releases_a_send_that_waits(serve_on: Serve) -> None:
    running = serve_on(APP)
    stream = running.link.get(b"/big?%d" % (1 << 20))
    running.link.expect(stream, RESPONSE)
    running.link.used_up_window(stream)
    running.link.reset(stream)
    running.link.expect(stream, DONE)
    assert running.link.fetch(b"/report").body == b"['sent']"


def test_a_client_that_closed_its_side_still_gets_its_response(serve_on: Serve) -> None:
    running = serve_on(APP)
    stream = running.link.get(b"/waiting")
    running.link.ping()
    running.link.half_close(stream)
    assert running.link.response(stream).body == b"to nobody" * 100_000
    assert running.link.fetch(b"/report").body == b"['http.disconnect', 'done']"


def test_a_cancelled_receive_loses_nothing(serve_on: Serve) -> None:
    running = serve_on(APP)
    stream = running.link.request(request_head(b"POST", b"/impatient", body=True), end=False, expects=True)
    running.link.expect(stream, AWAITS_BODY)
    running.link.data(stream, b"first ")
    running.link.expect(stream, RESPONSE)
    running.link.data(stream, b"rest", end=True)
    assert running.link.expect(stream, DATA).payload == b"first rest"


def test_frames_of_streams_that_are_over_are_ignored(serve: Serve) -> None:
    running = serve(APP)
    stream = running.link.request(request_head(b"POST", b"/hello", body=True), end=False)
    assert running.link.response(stream).body == b"hello"
    running.link.data(stream, b"late")
    running.link.credit(stream, 5)
    running.link.reset(stream)
    assert running.link.fetch(b"/hello").body == b"hello"


def test_tasks_that_outlive_their_clients_for_long_are_counted_in_one_line(serve_on: Serve) -> None:
    running = serve_on(
        """
        import asyncio
        from hcrs import client_disconnects

        client_disconnects.PATIENCE, client_disconnects.INTERVAL = 0.2, 0.05

        async def app(scope, receive, send):
            assert scope["type"] != "lifespan"
            if scope["path"].startswith("/stays"):
                await asyncio.Event().wait()
        """
    )
    streams = [running.link.get(b"/stays/%d" % number) for number in range(3)]
    websocket = running.link.request(request_head(target=b"/stays/here", websocket=True), end=False)
    running.link.ping()
    running.link.reset(streams[0])
    line = "1 task is still running 0.2 s or more after its client disconnected; the first client disconnected 0 s ago,"
    wait_for(running, f"{line} from /stays/0\n")
    for stream in (*streams[1:], websocket):
        running.link.reset(stream)
    wait_for(running, "4 tasks are still running 0.2 s or more after their clients disconnected; the first client")
    assert len(re.findall("still running", running.stderr)) <= 4, running.stderr
    assert "ERROR" not in running.stderr


def wait_for(running: Worker, text: str) -> None:
    """Waits until standard error holds a text."""
    end = time.monotonic() + WAIT
    while text not in running.stderr:
        assert time.monotonic() < end, running.stderr
        time.sleep(0.01)
