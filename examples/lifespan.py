"""Lifespan: what an app opens once, before the first request, and closes after the last one.

hcrs examples.lifespan:app

What the startup puts into the scope's state is in the state of each request. An exception in it stops the start, or, in
a reload, leaves the old workers serving.
"""

from __future__ import annotations

import sqlite3
from typing import Any


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Counts the requests in a database."""
    if scope["type"] == "lifespan":
        await lifespan(scope["state"], receive, send)
        return
    database: sqlite3.Connection = scope["state"]["database"]
    database.execute("INSERT INTO requests (path) VALUES (?)", [scope["path"]])
    (count,) = database.execute("SELECT count(*) FROM requests").fetchone()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": f"{count} requests to this worker\n".encode()})


async def lifespan(state: dict[str, Any], receive: Any, send: Any) -> None:
    """Opens the database, waits for the end, and closes it."""
    assert (await receive())["type"] == "lifespan.startup"
    state["database"] = database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE requests (path TEXT)")
    await send({"type": "lifespan.startup.complete"})
    assert (await receive())["type"] == "lifespan.shutdown"
    database.close()
    await send({"type": "lifespan.shutdown.complete"})
