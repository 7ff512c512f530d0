"""ASGI's HTTP extensions as frames."""

from __future__ import annotations

import ast
import os
import struct
from pathlib import Path

from worker.conftest import Serve
from worker.fake_edge import (
    APP_FAILED,
    DATA,
    DONE,
    FILE,
    FILE_COST,
    INTERIM,
    PUSH,
    PUSH_MAX,
    RESPONSE,
    RESPONSE_WINDOW,
    TRAILERS,
    Link,
    Worker,
    part,
    request_head,
    response_head,
)

APP = """
    START = {"type": "http.response.start", "status": 200, "headers": [], "trailers": True}
    BODY = {"type": "http.response.body", "body": b"body"}
    seen = []

    async def app(scope, receive, send):
        if scope["type"] == "http":
            await globals()[scope["path"][1:]](scope, receive, send)

    async def trailers(scope, receive, send):
        await send(START)
        await send(BODY)
        try:
            await send(BODY)
        except Exception as error:
            seen.append(str(error))
        for wrong in ([(b"content-length", b"4")], [(b"x a", b"b")], [(b"x-a", b"b\\r\\nc")], 5):
            try:
                await send({"type": "http.response.trailers", "headers": [(b"x-no", b"1"), *wrong]
                            if wrong != 5 else 5, "more_trailers": True})
            except Exception as error:
                seen.append(type(error).__name__ + ": " + str(error))
        await send({"type": "http.response.trailers", "headers": [(b"x-a", b"1")], "more_trailers": True})
        await send({"type": "http.response.trailers", "headers": ((name, b"2") for name in [b"x-b"])})
        seen.append((await receive())["type"])
        seen.append((await receive())["type"])

    async def unannounced(scope, receive, send):
        await send({**START, "trailers": False})
        await send({"type": "http.response.trailers", "headers": []})

    async def hint(scope, receive, send):
        for links in ["</a>", b"</a>", [b"</a>\\nx: y"], ["</a>"], [b"x" * 20_000]]:
            try:
                await send({"type": "http.response.early_hint", "links": links})
            except Exception as error:
                seen.append(type(error).__name__)
        await send({"type": "http.response.early_hint", "links": (link for link in [b"</a>", b"</b>"])})
        await send({**START, "trailers": False})
        try:
            await send({"type": "http.response.early_hint", "links": [b"</late>"]})
        except Exception as error:
            seen.append(str(error))
        await send(BODY)

    async def path(scope, receive, send):
        await send({**START, "trailers": False})
        await send({"type": "http.response.pathsend", "path": scope["query_string"].decode()})
        seen.append("sent")

    async def descriptors(scope, receive, send):
        await send({**START, "trailers": False})
        with open(scope["query_string"], "rb") as file:
            for left in (4, 3, 2, 1, 0):
                await send({"type": "http.response.zerocopysend", "file": file.fileno(), "offset": 2, "count": left + 1,
                            "more_body": left > 0})

    async def mixed(scope, receive, send):
        await send({**START, "trailers": False})
        with open(scope["query_string"], "rb") as file:
            await send({"type": "http.response.zerocopysend", "file": file, "count": 3, "more_body": True})
            await send({**BODY, "more_body": True})
            await send({"type": "http.response.zerocopysend", "file": file, "count": 4})

    async def wrong_files(scope, receive, send):
        await send({**START, "trailers": False})
        for wrong in ({"file": 5.0}, {"file": open("/dev/null")}, {"file": -1}, {}, {"file": open("main.py"), "offset": -1},
                      {"file": open("main.py"), "count": "all"}):
            try:
                await send({"type": "http.response.zerocopysend", **wrong})
            except Exception as error:
                seen.append(type(error).__name__)
        await send(BODY)

    async def report(scope, receive, send):
        await send({**START, "trailers": False})
        await send({"type": "http.response.body", "body": repr(seen).encode()})
"""


def report(link: Link) -> list[str]:
    return list(ast.literal_eval(link.fetch(b"/report").body.decode()))


def test_trailers_are_one_frame_that_ends_the_stream(serve: Serve) -> None:
    link = serve(APP).link
    stream = link.get(b"/trailers")
    assert not link.expect(stream, RESPONSE).is_end
    body = link.expect(stream, DATA)
    assert body.payload == b"body" and not body.is_end
    trailers = link.expect(stream, TRAILERS)
    assert response_head(trailers.payload).headers == [(b"x-a", b"1"), (b"x-b", b"2")]
    twice, length, name, value, form, *received = report(link)
    assert twice == "Unexpected message type, http.response.body given the state TRAILERS"
    assert length.startswith("ValueError") and "content-length" in length
    assert name.startswith("ValueError") and value.startswith("ValueError") and form.startswith("TypeError")
    assert received == ["http.disconnect", "http.disconnect"]


def test_trailers_that_were_not_announced_are_out_of_order(serve: Serve) -> None:
    worker = serve(APP)
    stream = worker.link.get(b"/unannounced")
    worker.link.expect(stream, APP_FAILED)
    assert "Unexpected message type, http.response.trailers given the state RESPONSE" in worker.stderr


def test_hints_are_an_interim_head(serve: Serve) -> None:
    link = serve(APP).link
    stream = link.get(b"/hint")
    head = response_head(link.expect(stream, INTERIM).payload)
    assert (head.status, head.headers) == (103, [(b"link", b"</a>"), (b"link", b"</b>")])
    assert link.response(stream).body == b"body"
    assert report(link) == [
        *["TypeError", "TypeError", "ValueError", "TypeError", "ValueError"],
        "Unexpected message type, http.response.early_hint given the state RESPONSE",
    ]


def has_open(worker: Worker, path: Path) -> bool:
    """Whether the worker has the file open."""
    entries = Path(f"/proc/{worker.process.pid}/fd").iterdir()
    return str(path) in [os.readlink(entry) for entry in entries if entry.is_symlink()]


def test_a_file_passes_as_a_descriptor_and_stays_open_in_the_worker_no_longer(serve: Serve, tmp_path: Path) -> None:
    worker = serve(APP)
    stream = worker.link.get(f"/path?{tmp_path}/main.py".encode())
    assert not worker.link.expect(stream, RESPONSE).is_end
    frame = worker.link.expect(stream, FILE)
    assert frame.is_end and part(frame) == (0, (tmp_path / "main.py").stat().st_size)
    assert report(worker.link) == ["sent"]
    assert not has_open(worker, tmp_path / "main.py")
    (tmp_path / "main.py").rename(tmp_path / "renamed")
    assert worker.link.file(frame) == (tmp_path / "renamed").read_bytes()


def test_a_file_passes_from_a_worker_into_which_no_process_may_look(serve: Serve, tmp_path: Path) -> None:
    hidden = APP + "    import ctypes\n    ctypes.CDLL(None).prctl(4, 0)  # PR_SET_DUMPABLE\n"
    for path in (b"/path", b"/descriptors"):
        response = serve(hidden).link.fetch(path + f"?{tmp_path}/main.py".encode())
        assert response.status == 200 and response.body


def test_the_worker_sends_the_bytes_of_a_file_that_the_edge_does_not_take(serve_on: Serve, tmp_path: Path) -> None:
    link = serve_on(APP).link
    (tmp_path / "long").write_bytes(bytes(range(256)) * 5000)
    for name in ("main.py", "long"):
        data = (tmp_path / name).read_bytes()
        stream = link.get(f"/path?{tmp_path}/{name}".encode(), files=False)
        link.expect(stream, RESPONSE)
        received = b""
        while not (frame := link.expect(stream, DATA)).is_end:
            received += frame.payload
            link.credit(stream, frame.cost)
        assert received + frame.payload == data
    parts = [data[2 : 2 + length] for length in (5, 4, 3, 2, 1)]
    assert link.fetch(f"/descriptors?{tmp_path}/long".encode(), files=False).body == b"".join(parts)


def test_a_file_after_other_bytes_is_sent_as_bytes(serve: Serve, tmp_path: Path) -> None:
    link = serve(APP).link
    stream = link.get(f"/mixed?{tmp_path}/main.py".encode())
    link.expect(stream, RESPONSE)
    frame = link.expect(stream, FILE)
    assert part(frame) == (0, 3) and not frame.is_end
    assert link.rest(stream) == b"body" + (tmp_path / "main.py").read_bytes()[3:7]


def test_a_file_that_shrinks_while_it_is_sent_fails_its_response_and_no_other(serve: Serve, tmp_path: Path) -> None:
    link = serve(APP).link
    (tmp_path / "shrinks").write_bytes(bytes(1 << 20))
    stream = link.get(f"/path?{tmp_path}/shrinks".encode(), files=False)
    link.expect(stream, RESPONSE)
    link.used_up_window(stream)
    os.truncate(tmp_path / "shrinks", 100)
    link.credit(stream, 1 << 20)
    link.expect(stream, APP_FAILED)
    assert report(link) == ["sent"]


def test_files_take_their_share_of_the_window(serve: Serve, tmp_path: Path) -> None:
    worker = serve(APP)
    stream = worker.link.get(f"/descriptors?{tmp_path}/main.py".encode())
    worker.link.expect(stream, RESPONSE)
    at_once = RESPONSE_WINDOW // FILE_COST
    for sent in range(5):
        if sent >= at_once:
            assert worker.link.quiet(0.1)
            worker.link.credit(stream, FILE_COST)
        frame = worker.link.expect(stream, FILE)
        assert part(frame) == (2, 5 - sent) and frame.is_end == (sent == 4)


def test_files_that_wait_are_closed_when_the_client_goes(serve: Serve, tmp_path: Path) -> None:
    worker = serve(APP)
    stream = worker.link.get(f"/descriptors?{tmp_path}/main.py".encode())
    worker.link.expect(stream, RESPONSE)
    for _ in range(RESPONSE_WINDOW // FILE_COST):
        worker.link.expect(stream, FILE)
    assert has_open(worker, tmp_path / "main.py")
    worker.link.reset(stream)
    worker.link.expect(stream, DONE)
    worker.link.ping()
    assert not has_open(worker, tmp_path / "main.py")


def test_a_path_that_is_not_a_regular_file_raises_in_the_app(serve: Serve) -> None:
    link = serve(APP).link
    assert link.fetch(b"/wrong_files").body == b"body"
    assert report(link) == ["TypeError", "ValueError", "FileNotFoundError", "KeyError", "ValueError", "TypeError"]


PUSHING = """
    PUSH = {"type": "http.response.push", "path": "/a?b", "headers": [[b" X-A ", b" 1 "], (bytearray(b"x-b"), b"2")]}

    async def app(scope, receive, send):
        if scope["type"] != "http":
            return
        error = None
        try:
            for _ in range(int(scope["query_string"])):
                await send(PUSH)
        except Exception as caught:
            error = caught
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": repr((sorted(scope["extensions"]), error)).encode()})
"""


def test_a_push_is_a_frame_where_the_client_takes_it_and_nothing_or_an_error_elsewhere(serve_on: Serve) -> None:
    running = serve_on(PUSHING)

    def ask(count: int, **head: object) -> tuple[list[bytes], str]:
        stream = running.link.request(request_head(target=b"/?%d" % count, **head))  # type: ignore[arg-type]
        payloads = []
        while (frame := running.link.expect(stream, PUSH, RESPONSE)).kind == PUSH:
            payloads.append(frame.payload)
        assert frame.payload[:2] == struct.pack("<H", 200)
        return payloads, running.link.expect(stream, DATA).payload.decode()

    payloads, text = ask(2, pushes=True)
    assert len(payloads) == 2
    assert payloads[0][:6] == b"\x04\x00/a?b"
    assert response_head(payloads[0][6:]).headers == [(b"X-A", b"1"), (b"x-b", b"2")]
    assert "'http.response.push'" in text and text.endswith("None)")
    assert len(ask(40, pushes=True)[0]) == PUSH_MAX, "those above are left out"
    payloads, text = ask(2)
    assert payloads == [] and "http.response.push" not in text and text.endswith("None)")
    payloads, text = ask(2, version=11)
    assert payloads == [] and "only for HTTP/2" in text
