"""Differences over HTTP/2."""

from __future__ import annotations

from parity.comparison import Difference, Seen
from parity.differences.patterns import UNSENDABLE, on

HTTP2 = (
    Difference(
        "HTTP/2",
        "`<`, `>` or a backtick in a path",
        "RFC 9113 §8.3.1 requires a path as RFC 3986 defines it; browsers escape these characters",
        (Seen(on("h2*", "scope-angle"), "end", "whole", lambda it: "PROTOCOL_ERROR" in it, all_else=True),),
    ),
    Difference(
        "HTTP/2",
        "a malformed request",
        "RFC 9113 §8.1.1 makes it an error of the stream, which is reset or answered with 400; other streams continue",
        (
            Seen(
                on(
                    "h2c",
                    "no-path empty-path no-method connection-field te-gzip shorter-body scope-two-names "
                    "scope-no-name",
                ),
                "after",
                lambda it: "PROTOCOL_ERROR" in it,
                "kept",
                all_else=True,
            ),
            Seen(on("h2c", "path-without-slash"), "end", "whole", lambda it: "PROTOCOL_ERROR" in it, all_else=True),
        ),
    ),
    Difference(
        "HTTP/2",
        "a path that is not ASCII",
        "RFC 9113 §8.3.1: paths are encoded. The answer is 400, as over HTTP/1.1, and the connection continues",
        (Seen("raw/h2c/path-not-ascii", "end", "connection lost", "whole", all_else=True),),
    ),
    Difference(
        "HTTP/2",
        "CONNECT",
        "the server is not a tunnel; the connection continues",
        (Seen("raw/h2c/connect", "end", "connection lost", "whole", all_else=True),),
    ),
    Difference(
        "HTTP/2",
        "an error of the app in the middle of a response",
        "the client must not wait for the rest, nor take the part that it has for the whole response",
        (Seen("raw/h2c/fail-later", "end", "silent", lambda it: "INTERNAL_ERROR" in it),),
    ),
    Difference(
        "HTTP/2",
        "a response before the request's body has ended",
        "one stream must not end the connection of the others",
        (
            Seen(on("h2*", "scope-put scope-patch unread post-fail"), "after", "closed", "kept", now_and_then=True),
            Seen(
                on("h2*", "scope-put scope-patch unread post-fail"),
                "end",
                "connection lost",
                "whole",
                all_else=True,
                now_and_then=True,
            ),
        ),
    ),
    Difference(
        "HTTP/2",
        "a status or a field that cannot be sent",
        "the app gets an exception and may respond differently; the connection and its other streams continue",
        (
            Seen(
                on("h2c", f"recovers {UNSENDABLE}"),
                "end",
                lambda it: it in ("connection lost", "silent"),
                "whole",
                all_else=True,
            ),
        ),
    ),
)
