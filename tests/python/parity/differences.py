"""Where hcrs answers otherwise than Hypercorn 0.18, each with its reason: the rows of docs/compatibility.md that the
tests of this folder see. Section, subject and reason stand there in the same words.

A difference that is not here fails a test, and so does one that has vanished.
"""

from __future__ import annotations

from typing import Any

from parity.comparison import ABSENT, Difference, Seen

CHUNKED = [("transfer-encoding", "chunked")]


def has_length(framing: Any) -> bool:
    """Framing by content-length."""
    return framing != ABSENT and [name for name, _ in framing] == ["content-length"]


def some_words(reason: Any) -> bool:
    """A reason phrase."""
    return reason not in ("", ABSENT)


#: Apps that raise, leave or send nonsense once they have sent the head.
AFTER_THE_HEAD = "fail-start leave-start nonsense-status-string nonsense-body-str nonsense-twice"

#: Apps that send a status or a field that cannot be sent.
UNSENDABLE = (
    "nonsense-status-small nonsense-status-large nonsense-header-crlf nonsense-header-nul nonsense-header-name "
    "nonsense-header-name-crlf"
)

#: Apps whose first message is none.
NOTHING_SENT = (
    "nonsense-status-missing nonsense-header-str nonsense-header-pseudo nonsense-header-short nonsense-body-first "
    "nonsense-unknown nonsense-no-type nonsense-no-dict"
)


def on(protocols: str, names: str) -> str:
    """Patterns for these cases over these protocols."""
    return " ".join(f"*/{protocol}/{name}" for protocol in protocols.split() for name in names.split())


HTTP = (
    Difference(
        "HTTP",
        "`server`",
        "it names who has answered; the protocol stands in the response itself",
        (
            Seen("*/h1* !*/fields-of-the-app", "server", ["hypercorn-h11"], ["hcrs"]),
            Seen("*/h2* !*/fields-of-the-app", "server", ["hypercorn-h2"], ["hcrs"]),
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
        "a response that is whole at once",
        "one write with its length, instead of a head and chunks; a client sees how long it is",
        (
            Seen(
                on("h1*", "echo-nothing echo-without-a-body status-201 status-205 status-302 "
                   "status-418 status-599 download-nothing fail-all nonsense-after-end"),
                "framing", CHUNKED, has_length,
            ),
            Seen(on("h1*", "echo echo-of-get echo-chunked echo-empty-chunked"), "framing", CHUNKED, has_length, now_and_then=True),
        ),
    ),
    Difference(
        "HTTP",
        "an error before the first byte of a body, the head being sent",
        "the head waits a moment for what follows it, so the client can still be told",
        (
            Seen(on("h1", AFTER_THE_HEAD), "end", "cut", "whole", all_else=True),
            Seen(on("h2c", AFTER_THE_HEAD), "end", "silent", "whole", all_else=True),
        ),
    ),
    Difference(
        "HTTP",
        "a body of another length than `content-length` says",
        "what was said of the length must hold; over HTTP/1.1 a longer one would be taken for the next response",
        (
            Seen(on("h1 h2c", "nonsense-long nonsense-short"), "status", 200, 500, all_else=True),
            Seen("*/h2c/nonsense-long-later", "end", "connection lost", lambda it: "INTERNAL" in it, all_else=True),
        ),
    ),
    Difference(
        "HTTP",
        "fields with an underscore in their names",
        "`x_a` and `x-a` are one variable in WSGI, so one could forge the other",
        (
            Seen("plain/*/scope-underscore", "scope.headers", lambda it: len(it) == 3, lambda it: len(it) == 2),
        ),
    ),
)

HTTP1 = (
    Difference(
        "HTTP/1.1",
        "reason phrase",
        "people and some old clients read it",
        (Seen("*/h1*/* !*/status-418 !*/status-599", "reason", "", some_words),),
    ),
    Difference(
        "HTTP/1.1",
        "HEAD for a response without a length",
        "RFC 9110 §8.6 and RFC 9112 §6.1 leave it out; there is no body to be chunked",
        (Seen(on("h1*", "head-of-a-stream status-to-head"), "framing", CHUNKED, []),),
    ),
    Difference(
        "HTTP/1.1",
        "the connection after an app's error",
        "the response is whole, so the connection is good for the next request",
        (
            Seen(
                on("h1", f"fail-nothing leave-nothing post-fail {NOTHING_SENT} {UNSENDABLE}"),
                "after", "closed", "kept", all_else=True,
            ),
        ),
    ),
)

HTTP2 = (
    Difference(
        "HTTP/2",
        "`<`, `>` or a backtick in a path",
        "RFC 9113 §8.3.1 wants a path as RFC 3986 has it; browsers escape these",
        (Seen(on("h2*", "scope-angle"), "end", "whole", lambda it: "PROTOCOL_ERROR" in it, all_else=True),),
    ),
    Difference(
        "HTTP/2",
        "order of the request's fields",
        "fields of the same name come one after the other, in their order; no meaning hangs on the rest (RFC 9110 §5.3)",
        (Seen(on("h2*", "scope-fields"), "scope.headers", lambda it: it[2][0] == b"a", lambda it: it[2][0] == b"x-b"),),
    ),
    Difference(
        "HTTP/2",
        "a response before the request's body has ended",
        "one stream must not cost the others their connection",
        (
            Seen(on("h2*", "scope-put scope-patch unread post-fail"), "after", "closed", "kept", now_and_then=True),
        ),
    ),
    Difference(
        "HTTP/2",
        "a status or a field that cannot be sent",
        "the app is told by an exception and may answer otherwise; the connection and its other streams go on",
        (
            Seen(on("h2c", f"recovers {UNSENDABLE}"), "end", lambda it: it in ("connection lost", "silent"), "whole",
                 all_else=True),
        ),
    ),
)
ASGI = (
    Difference(
        "ASGI over HTTP",
        "`spec_version`",
        "2.4 would promise that `send` raises once the client is gone. Frameworks that see it no longer listen for "
        "`http.disconnect`, so a stream with nothing to send would outlive its client. After a disconnect `send` goes "
        "nowhere, as before 2.4.",
        (
            Seen("*/scope*", "scope.asgi", {"version": "3.0", "spec_version": "2.1"},
                 {"version": "3.0", "spec_version": "2.3"}),
        ),
    ),
    Difference(
        "ASGI over HTTP",
        "the body's last message",
        "one message less for each request; apps read until `more_body` is false",
        (
            Seen("*/messages", "body"),
            Seen("*/messages", "framing"),
        ),
    ),
    Difference(
        "ASGI over HTTP",
        "`extensions`",
        "what is offered works in every version of HTTP",
        (Seen("*/scope*", "scope.extensions"),),
    ),
)
WEBSOCKET = ()
WSGI = ()
LIFESPAN = ()
LOGS = ()

DIFFERENCES: tuple[Difference, ...] = HTTP + HTTP1 + HTTP2 + ASGI + WEBSOCKET + WSGI + LIFESPAN + LOGS
