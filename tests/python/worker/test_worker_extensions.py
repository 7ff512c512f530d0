"""ASGI's HTTP extensions as frames."""

from __future__ import annotations

import ast

from worker.conftest import Serve
from worker.fake_edge import DATA, END, INTERIM, RESET, RESPONSE, TRAILERS, response_head

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

    async def report(scope, receive, send):
        await send({**START, "trailers": False})
        await send({"type": "http.response.body", "body": repr(seen).encode()})
"""


def report(link) -> list[str]:
    return ast.literal_eval(link.fetch(b"/report").body.decode())


def test_trailers_are_one_frame_that_ends_the_stream(serve: Serve) -> None:
    link = serve(APP).link
    stream = link.get(b"/trailers")
    assert not link.expect(stream, RESPONSE).is_end
    body = link.expect(stream, DATA)
    assert body.payload == b"body" and not body.is_end
    trailers = link.expect(stream, TRAILERS)
    assert trailers.flags == END
    assert response_head(trailers.payload).headers == [(b"x-a", b"1"), (b"x-b", b"2")]
    twice, length, name, value, form, *received = report(link)
    assert twice == "Unexpected message type, http.response.body given the state TRAILERS"
    assert length.startswith("ValueError") and "content-length" in length
    assert name.startswith("ValueError") and value.startswith("ValueError") and form.startswith("TypeError")
    assert received == ["http.disconnect", "http.disconnect"]


def test_trailers_that_were_not_announced_are_out_of_order(serve: Serve) -> None:
    worker = serve(APP)
    stream = worker.link.get(b"/unannounced")
    worker.link.expect(stream, RESET)
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
