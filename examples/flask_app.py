"""A Flask app: WSGI, served by a pool of threads in each worker.

hcrs examples.flask_app:app
"""

import os
import threading
import time
from collections.abc import Iterator
from typing import Any

from flask import Flask, Response, request, stream_with_context

app = Flask(__name__)


@app.get("/")
def index() -> dict[str, Any]:
    """How the request came in, and which worker and thread answer it."""
    return {
        "message": "Hello from hcrs",
        "protocol": request.environ["SERVER_PROTOCOL"],
        "scheme": request.scheme,
        "worker": os.getpid(),
        "thread": threading.current_thread().name,
    }


@app.get("/items/<int:item_id>")
def item(item_id: int) -> dict[str, Any]:
    """A path parameter that has to be a number, and a query parameter."""
    return {"item_id": item_id, "q": request.args.get("q")}


@app.get("/stream")
def stream() -> Response:
    """Server-sent events, one for each interval."""
    count = min(request.args.get("count", default=5, type=int), 1000)
    interval = min(max(request.args.get("interval", default=1.0, type=float), 0.0), 60.0)

    def events() -> Iterator[str]:
        for number in range(count):
            if number:
                time.sleep(interval)
            yield f"data: {number}\n\n"

    return app.response_class(stream_with_context(events()), mimetype="text/event-stream")


@app.post("/echo")
def echo() -> Response:
    """Returns the body unchanged."""
    return app.response_class(request.get_data(), content_type=request.content_type)


@app.post("/upload")
def upload() -> dict[str, int]:
    """Counts the bytes of a body, in memory for one piece."""
    length = 0
    while piece := request.stream.read(64 * 1024):
        length += len(piece)
    return {"bytes": length}
