"""WSGI apps that answer in every way that PEP 3333 knows, all behind the standard library's validator."""

import hashlib
import os
from wsgiref.validate import validator

HEADERS = [("Content-Type", "text/plain")]
closed = []


class Closing:
    """An iterable that notes that it was closed."""

    def __init__(self, name, pieces):
        self.name, self.pieces = name, iter(pieces)

    def __iter__(self):
        return self

    def __next__(self):
        return next(self.pieces)

    def close(self):
        closed.append(self.name)


class File:
    """A file of its own kind, which notes that it was closed."""

    def __init__(self, name):
        self.file, self.name = open(os.environ["DATA"], "rb"), name

    def read(self, size):
        return self.file.read(size)

    def close(self):
        self.file.close()
        closed.append(self.name)


def one(environ, start_response):
    start_response("200 OK", HEADERS)
    return Closing("one", [b"hello"])


def listed(environ, start_response):
    start_response("200 OK", HEADERS)
    return [b"hello"]


def nothing(environ, start_response):
    start_response("200 OK", [*HEADERS, ("Content-Length", "0")])
    return []


def status(environ, start_response):
    """A body where none may be."""
    code = environ["QUERY_STRING"]
    start_response(f"{code} Whatever", [])
    return Closing(f"status {code}", [])


def endless(environ, start_response):
    start_response("200 OK", HEADERS)

    def pieces():
        while True:
            yield b"x" * 10_000

    return Closing(f"endless {environ['QUERY_STRING']}", pieces())


def file(environ, start_response):
    length = os.path.getsize(os.environ["DATA"])
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(length))])
    return environ["wsgi.file_wrapper"](open(os.environ["DATA"], "rb"), 4096)


def opened(environ, start_response):
    """A file without a length, by the wrapper alone."""
    start_response("200 OK", HEADERS)
    return environ["wsgi.file_wrapper"](open(os.environ["DATA"], "rb"))


def own_file(environ, start_response):
    start_response("200 OK", HEADERS)
    return environ["wsgi.file_wrapper"](File("own file"))


def echo(environ, start_response):
    stream, pieces = environ["wsgi.input"], []
    while piece := stream.read(5000):
        pieces.append(piece)
    start_response("200 OK", HEADERS)
    return [b"".join(pieces)]


def digest(environ, start_response):
    """What the body's bytes come to, read a little at a time."""
    found, stream = hashlib.sha256(), environ["wsgi.input"]
    while piece := stream.read(9999):
        found.update(piece)
    start_response("200 OK", HEADERS)
    return [found.hexdigest().encode()]


def write(environ, start_response):
    send = start_response("200 OK", HEADERS)
    for number in range(200):
        send(b"%03d" % number * 300)
    return [b"end"]


def variables(environ, start_response):
    start_response("200 OK", HEADERS)
    names = [name for name in environ if name.startswith(("HTTP_", "CONTENT_"))]
    return [repr({name: environ[name] for name in names}).encode()]


def report(environ, start_response):
    start_response("200 OK", HEADERS)
    return [repr(closed).encode()]


def route(environ, start_response):
    return globals()[environ["PATH_INFO"][1:]](environ, start_response)


app = validator(route)


def bodies(environ, start_response):
    """What the validator would not let an app do: bodies for responses that have none."""
    start_response(environ["QUERY_STRING"].replace("%20", " "), HEADERS)
    return [b"a body that is not sent"]
