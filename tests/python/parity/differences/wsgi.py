"""Differences that WSGI apps see."""

from __future__ import annotations

from parity.comparison import ABSENT, Difference, Seen
from parity.differences.patterns import CHUNKED, has_length

WSGI = (
    Difference(
        "WSGI",
        "a response without a body",
        "PEP 3333 allows an app to return nothing; Hypercorn 0.18 answers 500",
        (
            Seen(
                "flask/*/nothing flask/*/options wsgi/*/empty wsgi/*/write",
                "status",
                500,
                lambda it: it in (200, 204),
                all_else=True,
            ),
        ),
    ),
    Difference(
        "WSGI",
        "the connection after an app's error",
        "the response is complete, so the connection can be used for the next request",
        (Seen("wsgi/h1/raise", "after", "closed", "kept", all_else=True),),
    ),
    Difference(
        "WSGI",
        "a body of one piece",
        "its length is known, and so the client knows it too",
        (
            Seen(
                "wsgi/h1/path wsgi/h1/nowhere wsgi/h1/lines wsgi/h1/replace wsgi/h1/echo",
                "framing",
                CHUNKED,
                has_length,
            ),
            Seen(
                "wsgi/h2/path wsgi/h2/nowhere wsgi/h2/lines wsgi/h2/replace wsgi/h2/echo", "framing", [], has_length
            ),
        ),
    ),
    Difference(
        "WSGI",
        "`SERVER_PROTOCOL` over HTTP/2",
        "RFC 3875 §4.1.16: digits, a dot, digits; apps parse the number",
        (Seen("wsgi/h2/environ*", "environ.SERVER_PROTOCOL", "HTTP/2", "HTTP/2.0"),),
    ),
    Difference(
        "WSGI",
        "`SERVER_PORT`",
        "PEP 3333 requires a string",
        (Seen("wsgi/*/environ*", "environ.SERVER_PORT", ("a number",), "<port>"),),
    ),
    Difference(
        "WSGI",
        "`RAW_URI`, `REQUEST_URI`, `REMOTE_PORT`, `wsgi.input_terminated`",
        "Gunicorn and others have them, and frameworks use them",
        tuple(
            Seen("wsgi/*/environ*", f"environ.{name}", ABSENT)
            for name in ("RAW_URI", "REQUEST_URI", "REMOTE_PORT", "wsgi.input_terminated")
        ),
    ),
    Difference(
        "WSGI",
        "`wsgi.multiprocess` with one worker",
        "PEP 3333: whether another process may run the app at the same time",
        (Seen("wsgi/*/environ*", "environ.wsgi.multiprocess", True, False),),
    ),
)
