"""WSGI apps without a framework, in front of them the standard library's validator."""

import os
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs
from wsgiref.validate import validator

closed: list[str] = []


class Pieces:
    """An iterable that notes that it was closed."""

    def __init__(self, key: Any, pieces: Any) -> None:
        self.key, self.pieces = key, iter(pieces)

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        return next(self.pieces)

    def close(self) -> None:
        closed.append(self.key)


def _app(environ: Any, start_response: Any) -> Any:
    query = {name: values[0] for name, values in parse_qs(environ["QUERY_STRING"]).items()}
    headers = [("Content-Type", "text/plain")]
    path = environ["PATH_INFO"]
    if path == "/environ":
        start_response("200 OK", headers)
        return [repr({name: value for name, value in environ.items() if isinstance(value, (str, int, bool, tuple))
                      and name not in os.environ}).encode()]
    if path == "/echo":
        start_response("200 OK", headers)
        return [environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))]
    if path == "/lines":
        start_response("200 OK", headers)
        lines = []
        while line := environ["wsgi.input"].readline(1000):
            lines.append(line)
        return [repr(lines).encode()]
    if path == "/count":
        length = 0
        while piece := environ["wsgi.input"].read(65536):
            length += len(piece)
        start_response("200 OK", headers)
        return [str(length).encode()]
    if path == "/pieces":
        start_response("200 OK", headers)
        return Pieces(query["key"], [b"one", b"", b"two"])
    if path == "/closed":
        start_response("200 OK", headers)
        return [repr(query["key"] in closed).encode()]
    if path == "/write":
        write = start_response("200 OK", headers)
        write(b"written ")
        return [b"returned"]
    if path == "/empty":
        start_response("204 No Content", [])
        return []
    if path == "/replace":
        start_response("200 OK", headers)
        try:
            raise ValueError("before the head is sent")
        except ValueError:
            start_response("418 I'm a teapot", headers, sys.exc_info())
        return [b"teapot"]
    if path == "/raise":
        raise ValueError("in the WSGI app")
    if path == "/raise-later":
        start_response("200 OK", headers)
        return Pieces("raised", _raising())
    if path == "/errors":
        environ["wsgi.errors"].write("said to wsgi.errors\n")
        environ["wsgi.errors"].flush()
        start_response("200 OK", headers)
        return [b"said"]
    if path == "/nap":
        time.sleep(float(query["seconds"]))
        start_response("200 OK", headers)
        return [threading.current_thread().name.encode()]
    start_response("404 Not Found", headers)
    return [b"no such behaviour"]


def _raising() -> Iterator[Any]:
    yield b"first"
    raise ValueError("in the middle")


plain = _app
app = validator(_app)
