"""WSGI apps that answer in every way that PEP 3333 knows, all behind the standard library's validator."""

import hashlib
import os
from collections.abc import Iterator
from typing import Any
from wsgiref.validate import validator

HEADERS = [("Content-Type", "text/plain")]
closed: list[str] = []


class Closing:
    """An iterable that notes that it was closed."""

    def __init__(self, name: Any, pieces: Any) -> None:
        self.name, self.pieces = name, iter(pieces)

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        return next(self.pieces)

    def close(self) -> None:
        closed.append(self.name)


class File:
    """A file of its own kind, which notes that it was closed."""

    def __init__(self, name: Any) -> None:
        self.name = name
        self.file = open(os.environ["DATA"], "rb")  # noqa: SIM115 - closed by close

    def read(self, size: Any) -> Any:
        return self.file.read(size)

    def close(self) -> None:
        self.file.close()
        closed.append(self.name)


def one(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", HEADERS)
    return Closing("one", [b"hello"])


def listed(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", HEADERS)
    return [b"hello"]


def nothing(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [*HEADERS, ("Content-Length", "0")])
    return []


def status(environ: Any, start_response: Any) -> Any:
    """A body where none may be."""
    code = environ["QUERY_STRING"]
    start_response(f"{code} Whatever", [])
    return Closing(f"status {code}", [])


def endless(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", HEADERS)

    def pieces() -> Iterator[Any]:
        while True:
            yield b"x" * 10_000

    return Closing(f"endless {environ['QUERY_STRING']}", pieces())


def file(environ: Any, start_response: Any) -> Any:
    length = os.path.getsize(os.environ["DATA"])
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(length))])
    return environ["wsgi.file_wrapper"](open(os.environ["DATA"], "rb"), 4096)


def opened(environ: Any, start_response: Any) -> Any:
    """A file without a length, by the wrapper alone."""
    start_response("200 OK", HEADERS)
    return environ["wsgi.file_wrapper"](open(os.environ["DATA"], "rb"))


def own_file(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", HEADERS)
    return environ["wsgi.file_wrapper"](File("own file"))


def echo(environ: Any, start_response: Any) -> Any:
    stream, pieces = environ["wsgi.input"], []
    while piece := stream.read(5000):
        pieces.append(piece)
    start_response("200 OK", HEADERS)
    return [b"".join(pieces)]


def digest(environ: Any, start_response: Any) -> Any:
    """The sum of the body's bytes, read a little at a time."""
    found, stream = hashlib.sha256(), environ["wsgi.input"]
    while piece := stream.read(9999):
        found.update(piece)
    start_response("200 OK", HEADERS)
    return [found.hexdigest().encode()]


def write(environ: Any, start_response: Any) -> Any:
    send = start_response("200 OK", HEADERS)
    for number in range(200):
        send(b"%03d" % number * 300)
    return [b"end"]


def variables(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", HEADERS)
    names = [name for name in environ if name.startswith(("HTTP_", "CONTENT_"))]
    return [repr({name: environ[name] for name in names}).encode()]


def report(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", HEADERS)
    return [repr(closed).encode()]


def route(environ: Any, start_response: Any) -> Any:
    return globals()[environ["PATH_INFO"][1:]](environ, start_response)


app = validator(route)


def bodies(environ: Any, start_response: Any) -> Any:
    """Bodies for responses that have none, which the validator forbids."""
    start_response(environ["QUERY_STRING"].replace("%20", " "), HEADERS)
    return [b"a body that is not sent"]
