"""Differences over HTTP/3."""

from __future__ import annotations

from parity.comparison import Difference, Seen
from parity.differences.patterns import NOTHING_SENT, UNSENDABLE, on

HTTP3 = (
    Difference(
        "HTTP/3",
        "`<`, `>` or a backtick in a path",
        "RFC 9114 §4.3.1 requires a path as RFC 3986 defines it; the same as over HTTP/2",
        (Seen("plain/h3/scope-angle", "end", "whole", lambda it: "H3_MESSAGE_ERROR" in it, all_else=True),),
    ),
    Difference(
        "HTTP/3",
        "a malformed request",
        "RFC 9114 §4.1.2 makes it an error of the stream; other streams continue",
        (
            Seen("raw/h3/shorter-body", "after", lambda it: "H3_MESSAGE_ERROR" in it, "kept", all_else=True),
        ),
    ),
    Difference(
        "HTTP/3",
        "several `cookie` fields",
        "RFC 9114 §4.2.1: they are joined before they reach an app",
        (Seen("plain/h3/scope-cookies", "scope.headers", lambda it: len(it) == 3, lambda it: len(it) == 2),),
    ),
    Difference(
        "HTTP/3",
        "names in upper case in the app's response",
        "RFC 9114 §4.2 forbids them; apps may write them as they like",
        (Seen("plain/h3/fields-of-the-app raw/h3/trailers", "end", "connection lost", "whole", all_else=True),),
    ),
    Difference(
        "HTTP/3",
        "an error of the app before its response",
        "RFC 9114 §4.2 forbids `connection`; one request must not end the connection of the others",
        (
            Seen(
                on("h3", f"fail-nothing leave-nothing post-fail {NOTHING_SENT}"),
                "end",
                "connection lost",
                "whole",
                all_else=True,
            ),
            # These apps fail for what is asked afterwards.
            Seen("raw/h3/trailers* raw/h3/hints", "after", lambda it: "H3_MESSAGE_ERROR" in it, "kept"),
        ),
    ),
    Difference(
        "HTTP/3",
        "an error of the app in the middle of a response",
        "the client must not wait for the rest, nor take the part that it has for the whole response",
        (Seen("raw/h3/fail-later", "end", "silent", lambda it: "H3_INTERNAL_ERROR" in it),),
    ),
    Difference(
        "HTTP/3",
        "a client that resets its stream",
        "an app can end what no client waits for",
        (Seen("raw/h3/leave-*", "end", "silent", "told", all_else=True),),
    ),
    Difference(
        "HTTP/3",
        "a status or a field that cannot be sent",
        "the app gets an exception and may respond differently; the connection and its other streams continue",
        (Seen(on("h3", f"recovers {UNSENDABLE}"), "end", "connection lost", "whole", all_else=True),),
    ),
)
