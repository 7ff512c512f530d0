"""Sanic: JSON, uploads, a streamed response, and a WebSocket whose client leaves."""

from __future__ import annotations

from site_table import Site
from visit import Visit
from wire import open_websocket

BOTH_KEYS = "`websocket.receive` has `text` and `bytes`, one of them None, as on Hypercorn; Sanic takes `text` if the key is there"


def drive(visit: Visit) -> None:
    with visit.client() as client:
        with visit.step("JSON"):
            assert client.get("/").json() == {"database": "open"}
            assert client.get("/greet/Ann", params={"a": "1"}).json() == {"hello": "Ann", "args": {"a": ["1"]}}
        with visit.step("an upload, streamed"):
            assert client.post("/upload", content=bytes(3_000_000)).json() == {"size": 3_000_000}
        with visit.step("an upload as a form"):
            sent = client.post("/form", files={"file": ("a.bin", bytes(100_000))})
            assert sent.json() == {"name": "a.bin", "size": 100_000}
        with visit.step("a streamed response"):
            assert client.get("/rows").text.splitlines()[-1] == "999,998001"
        with visit.step("a WebSocket") as step, open_websocket(visit, "/echo") as (websocket, protocol):
            step.note = protocol
            websocket.send("hello")
            assert websocket.receive() == "hello"
            websocket.send("long" * 50_000)
            assert websocket.receive() == "long" * 50_000
        with visit.step("bytes by a WebSocket", differs=BOTH_KEYS), open_websocket(visit, "/echo") as (websocket, _):
            websocket.send(bytes(range(256)))
            assert websocket.receive() == bytes(range(256))
        with visit.step("goes on after the WebSocket's client has left"):
            assert all(client.get("/").status_code == 200 for _ in range(20))


SITE = Site(
    "Sanic",
    ("sanic", "uvicorn"),
    "app:app",
    "asgi",
    drive,
    log_may_hold={"the client has gone": "its echo does not ask whether the client is there, and Sanic logs what `send` raises then"},
)
