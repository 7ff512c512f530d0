"""Django Channels: consumers of both kinds, and a page with a WebSocket."""

from __future__ import annotations

import json

from site_table import Site
from visit import Visit
from wire import open_websocket


def drive(visit: Visit) -> None:
    origin = {"origin": visit.url}
    with visit.step("a message through a group"), open_websocket(visit, "/room/two/", headers=origin) as (websocket, _):
        websocket.send(json.dumps({"text": "hello"}))
        assert json.loads(websocket.receive()) == {"text": "two: hello"}
    with visit.step("a consumer in a thread") as step, open_websocket(visit, "/echo/", headers=origin) as (websocket, protocol):
        step.note = protocol
        websocket.send("hello")
        assert websocket.receive() == "hello"
        websocket.send(bytes(100_000))
        assert websocket.receive() == bytes(100_000)
        websocket.send("leave")
        assert websocket.closed()[0] == 4001
    with visit.step("page with a WebSocket") as step, visit.page(stays=True) as page:
        page.until_text("one: hello")
        step.note = f"{page.open_socket().protocol}; {page.assert_sound()}"


SITE = Site("Django Channels", ("channels", "django", "uvicorn"), "app:app", "asgi", drive)
