"""A WSGI app whose every path is a behaviour, as source, and how a body is sent to it."""

from __future__ import annotations

from worker.fake_edge import (
    Worker,
    request_head,
)

APP = """
    import gzip, io, os, sys, tempfile, threading, time
    from wsgiref.validate import validator

    HEADERS = [("Content-Type", "text/plain")]
    seen = []
    closed = threading.Event()
    several = threading.Barrier(4)

    def app(environ, start_response):
        view = globals()[environ["PATH_INFO"][1:]]
        return (view if getattr(view, "raw", False) else validator(view))(environ, start_response)

    def raw(view):
        view.raw = True
        return view

    def hello(environ, start_response):
        start_response("200 OK", HEADERS)
        return [b"hello"]

    @raw
    def plain(environ, start_response):
        start_response("200 OK", HEADERS)
        return [b"plain"]

    @raw
    def environment(environ, start_response):
        start_response("200 OK", HEADERS)
        simple = {key: value for key, value in environ.items() if isinstance(value, (str, bool, tuple))}
        return [repr(simple).encode()]

    def pieces(environ, start_response):
        start_response("200 OK", HEADERS)
        yield b"one "
        yield b""
        yield b"two"

    @raw
    def nothing(environ, start_response):
        start_response("204 No Content", [])
        return []

    def empty(environ, start_response):
        start_response("302 Found", [("Location", "/x"), ("Content-Type", "text/plain")])
        return iter([])

    def echo(environ, start_response):
        body = environ["wsgi.input"].read(-1)
        start_response("200 OK", HEADERS)
        return [body]

    @raw
    def lines(environ, start_response):
        stream = environ["wsgi.input"]
        out = [stream.readline(), stream.readline(2), stream.read(3), stream.readlines(4), list(stream), stream.read(),
               stream.readline(), stream.readlines()]
        start_response("200 OK", HEADERS)
        return [repr(out).encode()]

    def writes(environ, start_response):
        write = start_response("200 OK", HEADERS)
        write(b"written ")
        write(b"first ")
        return [b"then returned"]

    class Closing:
        def __init__(self, pieces, name):
            self.pieces, self.name = iter(pieces), name
        def __iter__(self):
            return self.pieces
        def close(self):
            seen.append("closed " + self.name)

    @raw
    def closes(environ, start_response):
        start_response("200 OK", HEADERS)
        return Closing([b"x"], "closes")

    @raw
    def big(environ, start_response):
        start_response("200 OK", HEADERS)
        def produce():
            for n in range(64):
                seen.append(n)
                yield b"x" * 50_000
        return Closing(produce(), "big")

    @raw
    def replaces(environ, start_response):
        start_response("200 OK", HEADERS)
        try:
            raise LookupError("replaced")
        except LookupError:
            start_response("500 Oh", HEADERS, sys.exc_info())
        return [b"sorry"]

    @raw
    def too_late(environ, start_response):
        start_response("200 OK", HEADERS)("sent".encode())
        try:
            raise LookupError("too late")
        except LookupError:
            start_response("500 Oh", HEADERS, sys.exc_info())

    @raw
    def lengths(environ, start_response):
        start_response("200 OK", [("content-length", "4")])
        return iter([b"ab", b"cd", b""])

    @raw
    def too_long(environ, start_response):
        start_response("200 OK", [("content-length", "3")])
        return iter([b"ab", b"cd"])

    @raw
    def latin(environ, start_response):
        start_response("200 Gut\\xe9", [("X-Caf\\xe9"[:5], "\\xe9\\xff")])
        return [b""]

    @raw
    def attempts(environ, start_response):
        status, headers = eval(environ["QUERY_STRING"].replace("%20", " "))
        try:
            start_response(status, headers)
        except Exception as error:
            start_response("200 OK", HEADERS)
            return [f"{type(error).__name__}: {error}".encode()]
        return [b"no error"]

    @raw
    def raises(environ, start_response):
        raise LookupError("in the app")

    @raw
    def raises_exit(environ, start_response):
        sys.exit(3)

    @raw
    def never_starts(environ, start_response):
        return [b"body"]

    @raw
    def gives_text(environ, start_response):
        start_response("200 OK", HEADERS)
        return ["text"]

    @raw
    def together(environ, start_response):
        several.wait(10)
        start_response("200 OK", HEADERS)
        return [threading.current_thread().name.encode()]

    @raw
    def sleeps(environ, start_response):
        time.sleep(0.5)
        start_response("200 OK", HEADERS)
        return [b"slept"]

    def file(environ, start_response):
        start_response("200 OK", HEADERS)
        return environ["wsgi.file_wrapper"](open("data", "rb"), 4096)

    class Own(io.FileIO):
        def read(self, size=-1):
            return super().read(size).upper()

    class Proxy:
        # As the File of Django is.
        def __init__(self, file):
            self.file = file
        read = property(lambda self: self.file.read)
        def close(self):
            self.file.close()
            closed.set()

    def temporary():
        opened = tempfile.NamedTemporaryFile()
        opened.write(open("data", "rb").read())
        opened.seek(0)
        return opened

    def pipe():
        near, far = os.pipe()
        os.write(far, b"0123456789")
        os.close(far)
        return os.fdopen(near, "rb")

    KINDS = {
        "buffered": lambda: open("data", "rb"),
        "raw": lambda: open("data", "rb", buffering=0),
        "random": lambda: open("data", "r+b"),
        "temporary": temporary,
        "proxy": lambda: Proxy(open("data", "rb")),
        "own": lambda: Own("data"),
        "gzip": lambda: gzip.open("data.gz"),
        "memory": lambda: io.BytesIO(open("data", "rb").read()),
        "pipe": pipe,
        "text": lambda: open("data"),
    }

    class Dripping:
        def __init__(self, pieces):
            self.pieces = list(pieces)
        def read(self, size):
            return self.pieces.pop(0) if self.pieces else b""

    @raw
    def dripping(environ, start_response):
        wrapper = environ["wsgi.file_wrapper"](Dripping([b"a", b"b", b"c"]))
        seen.append(hasattr(wrapper, "close"))
        start_response("200 OK", HEADERS)
        return wrapper

    @raw
    def wrapped_again(environ, start_response):
        start_response("200 OK", HEADERS)
        return iter(environ["wsgi.file_wrapper"](open("data", "rb")))

    class Noticed:
        def __init__(self, name):
            self.file, self.name = open("data", "rb"), name
        def read(self, size):
            seen.append(self.name + " read")
            return self.file.read(size)
        def close(self):
            self.file.close()
            seen.append(self.name + " closed")

    @raw
    def noticed(environ, start_response):
        start_response("200 OK", HEADERS)
        return environ["wsgi.file_wrapper"](Noticed("file"))

    @raw
    def files(environ, start_response):
        # A file of the kind that is asked for, of which some bytes were read.
        kind, _, length = environ["QUERY_STRING"].partition(",")
        start_response("200 OK", [*HEADERS, ("Content-Length", length)] if length else HEADERS)
        opened = KINDS[kind]()
        opened.read(5)
        return environ["wsgi.file_wrapper"](opened)

    @raw
    def proxy_closed(environ, start_response):
        start_response("200 OK", HEADERS)
        return [repr(closed.wait(10)).encode()]

    @raw
    def large_head(environ, start_response):
        length, _, way = environ["QUERY_STRING"].partition(",")
        write = start_response("200 OK", [("X-Large", "x" * int(length))])
        if way:
            try:
                write(b"written ")
            except ValueError:
                if way == "replace":
                    start_response("503 Replaced", HEADERS)
        return [b"returned"]

    @raw
    def bodiless(environ, start_response):
        status, _, length = environ["QUERY_STRING"].partition(",")
        headers = [("Content-Length", length)] if length else []
        write = start_response(status + " Whatever", headers)
        if length == "3":
            write(b"abc")
            write(b"d")
        def produce():
            for n in range(1000):
                seen.append(n)
                yield b"piece"
        return Closing(produce(), "bodiless")

    @raw
    def head_of_one(environ, start_response):
        start_response("200 OK", HEADERS)
        return [b"hello"]

    @raw
    def too_short(environ, start_response):
        start_response("200 OK", [("Content-Length", "5")])
        return [b"ab"]

    @raw
    def fails_in_close(environ, start_response):
        start_response("200 OK", HEADERS)
        class Failing(Closing):
            def close(self):
                super().close()
                raise LookupError("in close")
        return Failing([b"x"], "failing")

    @raw
    def fails_in_the_iterable(environ, start_response):
        start_response("200 OK", HEADERS)
        def produce():
            yield b""
            raise LookupError("while iterating")
        return Closing(produce(), "iterable")

    @raw
    def starts_late(environ, start_response):
        start_response("200 OK", HEADERS)
        yield b""
        try:
            raise LookupError("replaced while iterating")
        except LookupError:
            start_response("503 Later", headers=HEADERS, exc_info=sys.exc_info())
        yield b"replaced"

    @raw
    def swallows(environ, start_response):
        try:
            environ["wsgi.input"].read()
        except Exception as error:
            start_response(environ["QUERY_STRING"].replace("%20", " "), HEADERS)
            return Closing([type(error).__name__.encode()], "swallows")

    def says(environ, start_response):
        environ["wsgi.errors"].write("one line\\n")
        environ["wsgi.errors"].writelines(["two ", "words\\n"])
        environ["wsgi.errors"].flush()
        start_response("200 OK", HEADERS)
        return [b"said"]

    @raw
    def reads(environ, start_response):
        stream, out = environ["wsgi.input"], []
        for call in environ["QUERY_STRING"].split(";"):
            name, *arguments = call.split(":")
            arguments = [None if a == "None" else int(a) for a in arguments]
            out.append(list(stream) if name == "iter" else getattr(stream, name)(*arguments))
        start_response("200 OK", HEADERS)
        return [repr(out).encode()]

    @raw
    def report(environ, start_response):
        start_response("200 OK", HEADERS)
        return [repr(seen).encode()]
"""


def post(running: Worker, path: bytes, body: bytes, *, declared: bool = True) -> int:
    headers = [(b"content-length", b"%d" % len(body))] if declared else []
    stream = running.link.request(request_head(b"POST", path, headers, body=True), end=False)
    running.link.upload(stream, body)
    return stream
