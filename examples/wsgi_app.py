"""A WSGI app without a framework: what a request looks like, and a file that Python does not have to read.

hcrs examples.wsgi_app:app

Each worker has a pool of threads (`wsgi_threads`). A request gets a thread once its body is complete.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any


def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Serves two paths."""
    if environ["PATH_INFO"] == "/source":
        return source(environ, start_response)
    length = len(environ["wsgi.input"].read())
    body = (
        f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']} over {environ['SERVER_PROTOCOL']} "
        f"({environ['wsgi.url_scheme']}), {length} bytes of body\n"
    ).encode()
    start_response("200 OK", [("content-type", "text/plain"), ("content-length", str(len(body)))])
    return [body]


def source(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """This file. The edge sends it by its descriptor, and the thread is free meanwhile."""
    file = open(__file__, "rb")  # noqa: SIM115 (the server closes it)
    start_response("200 OK", [("content-type", "text/plain"), ("content-length", str(os.fstat(file.fileno()).st_size))])
    served: Iterable[bytes] = environ["wsgi.file_wrapper"](file)
    return served
