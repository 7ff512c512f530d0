"""The site of ``test_alike.py`` in Flask."""

import collections
import os
import threading
from collections.abc import Iterator
from typing import Any, NoReturn

from flask import Flask, request, send_file

app = Flask(__name__)
gates: dict[str, threading.Event] = collections.defaultdict(threading.Event)


@app.get("/facts")
def facts() -> Any:
    return {
        "library": threading.current_thread().name.rstrip("0123456789"),
        "state": None,
        "query": request.args["q"],
        "scheme": request.scheme,
        "host": request.host,
        "version": request.environ["SERVER_PROTOCOL"].removeprefix("HTTP/").removesuffix(".0"),
    }


@app.post("/echo")
def echo() -> Any:
    return request.get_data(), {"content-type": "application/octet-stream"}


@app.get("/file")
def file() -> Any:
    return send_file(os.environ["DATA"])


@app.get("/stream")
def stream() -> Any:
    count = int(request.args["count"])
    return app.response_class((f"{number:05}" * 2000 for number in range(count)), mimetype="text/plain")


@app.get("/events")
def events() -> Any:
    gate = gates[request.args["key"]]

    def numbered() -> Iterator[Any]:
        yield "data: 0\n\n"
        gate.wait(20)
        yield "data: 1\n\n"

    return app.response_class(numbered(), mimetype="text/event-stream")


@app.post("/open")
def open_gate() -> Any:
    gates[request.args["key"]].set()
    return "", 204


@app.get("/raises")
def raises() -> NoReturn:
    raise LookupError("as it was asked to")
