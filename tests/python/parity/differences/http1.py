"""Differences over HTTP/1.1."""

from __future__ import annotations

from parity.comparison import ABSENT, Difference, Seen
from parity.differences.patterns import CHUNKED, NOTHING_SENT, UNSENDABLE, on, some_words

HTTP1 = (
    Difference(
        "HTTP/1.1",
        "reason phrase",
        "humans and some old clients read it",
        (
            Seen("*/h1*/* !*/status-418 !*/status-599 !wsgi/h1/replace", "reason", "", some_words),
            Seen("raw/h1/pipelined*", "?.reason", "", some_words),
            Seen("raw/h1/pipelined*", "?.server", ["hypercorn-h11"], ["hcrs"]),
        ),
    ),
    Difference(
        "HTTP/1.1",
        "HEAD for a response without a length",
        "RFC 9110 §8.6 and RFC 9112 §6.1 allow leaving it out; there is no body to be chunked",
        (Seen(on("h1*", "head-of-a-stream status-to-head") + " wsgi/h1/head", "framing", CHUNKED, []),),
    ),
    Difference(
        "HTTP/1.1",
        "the connection after an app's error",
        "the response is complete, so the connection can be used for the next request",
        (
            Seen(
                on("h1", f"fail-nothing leave-nothing post-fail {NOTHING_SENT} {UNSENDABLE}"),
                "after",
                "closed",
                "kept",
                all_else=True,
            ),
        ),
    ),
    Difference(
        "HTTP/1.1",
        "versions other than 1.0 and 1.1",
        "the meaning of a message of another version is unknown",
        (Seen("raw/h1/scope-3.7 raw/h1/scope-2.0", "status", 200, 505, all_else=True),),
    ),
    Difference(
        "HTTP/1.1",
        "HTTP/1.0 with `connection: keep-alive`",
        "load generators and old proxies request it; RFC 9112 §9.3 allows it",
        (Seen("raw/h1/scope-1.0-keep-alive", "after", "closed", "kept"),),
    ),
    Difference(
        "HTTP/1.1",
        "a request after one with `connection: close`",
        "the first one is answered, and further input is ignored (RFC 9112 §9.6)",
        (Seen("raw/h1/pipelined-after-close", "1.status", 400, 200, all_else=True),),
    ),
    Difference(
        "HTTP/1.1",
        "`expect: 100-continue`, if the body has arrived or is not read",
        "an interim response serves no purpose then (RFC 9110 §10.1.1)",
        (
            Seen(on("h1", "expect-continue expect-continue-unread"), "interim", lambda it: it != ABSENT, ABSENT),
            Seen("raw/h1/continue-unread", "interim", 100, 200),
        ),
    ),
    Difference(
        "HTTP/1.1",
        "`expect` with anything else",
        "RFC 9110 §10.1.1 allows 417; the expectation would not be met",
        (Seen("raw/h1/expect-something", "status", 200, 417, all_else=True),),
    ),
    Difference(
        "HTTP/1.1",
        "`upgrade: h2c`",
        "RFC 9113 has dropped it, and no major client sends it; prior knowledge is supported",
        (Seen("raw/h1/upgrade-h2c", "status", 101, 200, all_else=True),),
    ),
    Difference(
        "HTTP/1.1",
        "absolute-form targets",
        "`path` is the path and `host` the target's, as RFC 9112 §3.2.2 requires; no app can route a complete URL",
        (Seen("raw/h1/scope-absolute*", "status", 404, 200, all_else=True),),
    ),
    Difference(
        "HTTP/1.1",
        "invalid targets",
        "`*` is only for OPTIONS, and a target begins with a slash and has no fragment",
        (
            Seen("raw/h1/get-asterisk raw/h1/target-without-slash", "status", 404, 400, all_else=True),
            Seen("raw/h1/target-with-fragment", "status", 200, 400, all_else=True),
        ),
    ),
    Difference(
        "HTTP/1.1",
        "CONNECT",
        "the server is not a tunnel",
        (Seen("raw/h1/connect", "status", 404, 405, all_else=True),),
    ),
    Difference(
        "HTTP/1.1",
        "a blank line before a request",
        "RFC 9112 §2.2 asks servers to ignore it",
        (Seen("raw/h1/leading-blank-line", "status", 400, 200, all_else=True),),
    ),
    Difference(
        "HTTP/1.1",
        "ambiguous heads",
        (
            "bare line feeds, folded fields, an empty or malformed `host`: differences between two parsers can be "
            "exploited"
        ),
        (Seen(on("h1", "bare-line-feeds field-folded empty-host odd-host"), "status", 200, 400, all_else=True),),
    ),
    Difference(
        "HTTP/1.1",
        "contradictory or repeated lengths",
        "`content-length` beside chunks or repeated, and a coding in HTTP/1.0, are used for request smuggling",
        (
            Seen(
                on("h1", "length-twice length-list length-and-chunked coding-in-1.0"),
                "status",
                200,
                400,
                all_else=True,
            ),
        ),
    ),
    Difference(
        "HTTP/1.1",
        "malformed chunk extensions",
        "RFC 9112 §7.1.1 defines names, and values after `=`; other parsers may end the line elsewhere",
        (Seen(on("h1", "chunk-extension-empty chunk-extension-of-words"), "status", 200, 400, all_else=True),),
    ),
    Difference(
        "HTTP/1.1",
        "`content-length` with leading zeros",
        "some parsers read it as an octal number",
        (Seen("raw/h1/length-with-zeros", "status", 200, 400, all_else=True),),
    ),
    Difference(
        "HTTP/1.1",
        "chunks whose lines do not end in CR LF",
        "an error at once is better than waiting for a CR LF that does not come",
        (Seen("raw/h1/chunk-unended-line", "end", "silent", "whole", all_else=True),),
    ),
    Difference(
        "HTTP/1.1",
        "heads that are too large",
        "414 is the status for the target; fields are counted too, also when they arrive in one piece",
        (
            Seen("raw/h1/long-line", "status", 431, 414, all_else=True),
            Seen("raw/h1/many-fields", "status", 200, 431, all_else=True),
        ),
    ),
    Difference(
        "HTTP/1.1",
        "unknown transfer coding",
        "the end of the body is unknown, so the connection is closed too",
        (Seen("raw/h1/coding-unknown", "status", 501, 400, all_else=True),),
    ),
    Difference(
        "HTTP/1.1",
        "a client that leaves in the middle of a request",
        "no client is left to read an answer",
        (
            Seen("raw/h1/half-closed-before", "status", 400, ABSENT, all_else=True),
            Seen("raw/h1/half-closed-in-body", "status", all_else=True, now_and_then=True),
        ),
    ),
)
