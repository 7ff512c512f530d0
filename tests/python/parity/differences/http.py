"""Differences over HTTP, whatever its version."""

from __future__ import annotations

from parity.comparison import ABSENT, Difference, Seen
from parity.differences.patterns import AFTER_THE_HEAD, CHUNKED, has_length, on

HTTP = (
    Difference(
        "HTTP",
        "`server`",
        "it names the server; the protocol is visible in the response itself",
        (
            Seen("*/h1* !*/fields-of-the-app", "server", ["hypercorn-h11"], ["hcrs"]),
            Seen("*/h2* !*/fields-of-the-app", "server", ["hypercorn-h2"], ["hcrs"]),
            Seen("*/h3/* !*/fields-of-the-app", "server", ["hypercorn-h3"], ["hcrs"]),
        ),
    ),
    Difference(
        "HTTP",
        "`date` or `server` of the app's own",
        "a second one makes the message malformed; some proxies refuse it",
        (
            Seen("*/fields-of-the-app", "headers", lambda it: len(it) == 7, lambda it: len(it) == 5),
            Seen("*/fields-of-the-app", "server", lambda it: it != ABSENT, ABSENT),
        ),
    ),
    Difference(
        "HTTP",
        "a response that is complete at once",
        "one write with the length, instead of a head and chunks; the client knows the length",
        (
            Seen(
                on(
                    "h1*",
                    "echo-nothing echo-without-a-body status-201 status-205 status-302 "
                    "status-418 status-599 download-nothing fail-all nonsense-after-end",
                ),
                "framing",
                CHUNKED,
                has_length,
            ),
            Seen("raw/h1/echo-1.0", "framing", [("connection", "close")], lambda it: len(it) == 2, now_and_then=True),
            Seen("raw/h1/pipelined-bodies", "1.framing", CHUNKED, has_length, now_and_then=True),
            Seen(
                on("h1", "expect-continue echo-chunk-extension echo-request-trailers"),
                "framing",
                CHUNKED,
                has_length,
                now_and_then=True,
            ),
            Seen("extensions/h1/trailers-unwanted", "framing", CHUNKED, has_length),
            Seen(
                "fastapi/h1/stream quart/h1/* litestar/h1/stream django-*/h1/stream flask/h1/stream wsgi/h1/pieces",
                "framing",
                CHUNKED,
                has_length,
                now_and_then=True,
            ),
            Seen(
                on("h1*", "echo echo-of-get echo-chunked echo-empty-chunked"),
                "framing",
                CHUNKED,
                has_length,
                now_and_then=True,
            ),
        ),
    ),
    Difference(
        "HTTP",
        "an error after the head was sent and before the first byte of the body",
        "the head is held for a moment until more follows, so that an error can still be reported",
        (
            Seen(on("h1", AFTER_THE_HEAD), "end", "cut", "whole", all_else=True),
            Seen(on("h2c h3", AFTER_THE_HEAD), "end", "silent", "whole", all_else=True),
        ),
    ),
    Difference(
        "HTTP",
        "`content-length` in a response that has no body",
        "RFC 9110 §8.6 forbids it with 204",
        (Seen("django-*/*/nothing", "framing", [("content-length", "0")], []),),
    ),
    Difference(
        "HTTP",
        "a body whose length differs from `content-length`",
        (
            "the announced length must be right; over HTTP/1.1 the excess of a longer body would be read as the "
            "next response"
        ),
        (
            Seen(on("h1 h2c h3", "nonsense-long nonsense-short"), "status", 200, 500, all_else=True),
            Seen(
                on("h2c h3", "nonsense-long-later"), "end", "connection lost", lambda it: "INTERNAL" in it, all_else=True
            ),
        ),
    ),
    Difference(
        "HTTP",
        "fields with an underscore in their names",
        "`x_a` and `x-a` are the same variable in WSGI, so one could forge the other",
        (Seen("plain/*/scope-underscore", "scope.headers", lambda it: len(it) == 3, lambda it: len(it) == 2),),
    ),
)
