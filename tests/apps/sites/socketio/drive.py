"""python-socketio: emit and acknowledge, over each transport, and the protocol below by extended CONNECT."""

from __future__ import annotations

from site_table import Site
from visit import Visit
from wire import open_websocket


def drive(visit: Visit) -> None:
    for name, transports in (("polling", ["polling"]), ("websocket", ["websocket"]), ("websocket", ["polling", "websocket"])):
        with visit.step(f"emit and acknowledge by {', then '.join(transports)}"):
            shown = visit.run("client.py", *transports).strip()
            assert shown == name, shown
    target = "/socket.io/?EIO=4&transport=websocket"
    with visit.step("a WebSocket as a browser opens it") as step, open_websocket(visit, target) as (websocket, protocol):
        step.note = protocol
        opened = str(websocket.receive())
        assert opened.startswith('0{"sid"'), opened
        websocket.send('40{"name":"Bob"}')
        assert str(websocket.receive()).startswith('40{"sid"')
        websocket.send('421["add",{"a":20,"b":30}]')
        assert websocket.receive() == "431[50]"


SITE = Site(
    "python-socketio",
    ("python-socketio", "python-engineio", "uvicorn"),
    "app:app",
    "asgi",
    drive,
    workers=1,
    one_worker_because="a session that polls lives in the process that has opened it",
    ready="/socket.io/?EIO=4&transport=polling",
)
