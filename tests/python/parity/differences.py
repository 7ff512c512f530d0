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
        "it names the server; the protocol is visible in the response itself",
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
            Seen(on("h2c", AFTER_THE_HEAD), "end", "silent", "whole", all_else=True),
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
            Seen(on("h1 h2c", "nonsense-long nonsense-short"), "status", 200, 500, all_else=True),
            Seen("*/h2c/nonsense-long-later", "end", "connection lost", lambda it: "INTERNAL" in it, all_else=True),
        ),
    ),
    Difference(
        "HTTP",
        "fields with an underscore in their names",
        "`x_a` and `x-a` are the same variable in WSGI, so one could forge the other",
        (Seen("plain/*/scope-underscore", "scope.headers", lambda it: len(it) == 3, lambda it: len(it) == 2),),
    ),
)

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
        "order of the request's fields",
        "fields of the same name are adjacent and in their order; the rest of the order has no meaning (RFC 9110 §5.3)",
        (
            Seen(
                on("h2*", "scope-fields"), "scope.headers", lambda it: it[2][0] == b"a", lambda it: it[2][0] == b"x-b"
            ),
        ),
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
ASGI = (
    Difference(
        "ASGI over HTTP",
        "`spec_version`",
        (
            "2.4 would promise that `send` raises once the client has left. Frameworks that see 2.4 no longer "
            "listen for `http.disconnect`, so a stream with nothing to send would outlive its client. After a "
            "disconnect `send` has no effect, as before 2.4. Below 2.4, Starlette's `StreamingResponse` calls "
            "`receive` itself and drops the messages: a response that is made from the request's body "
            "(`StreamingResponse(request.stream())`) loses that body on every server, so read the body first or "
            "send the ASGI messages yourself."
        ),
        (
            Seen(
                "plain/*/scope* raw/*",
                "scope.asgi",
                {"version": "3.0", "spec_version": "2.1"},
                {"version": "3.0", "spec_version": "2.3"},
            ),
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
        "every extension that is offered works",
        (Seen("plain/*/scope* raw/* !raw/h1/scope-1.0*", "scope.extensions"),),
    ),
)
EXTENSIONS = (
    Difference(
        "ASGI over HTTP",
        "`http.response.trailers`",
        "in HTTP/1.1 they cannot be sent beside a content-length, so they are dropped",
        (
            Seen("extensions/h1/trailers", "trailers", ABSENT, lambda it: len(it) == 3),
            Seen("extensions/h1/trailers*", "end", "cut", "whole"),
            Seen("extensions/h1/trailers*", "after", "closed", "kept"),
        ),
    ),
    Difference(
        "ASGI over HTTP",
        "trailers in more than one message",
        "`more_trailers` announces more",
        (Seen("raw/h2c/trailers", "trailers", lambda it: len(it) == 1, lambda it: len(it) == 3),),
    ),
    Difference(
        "ASGI over HTTP",
        "trailers that were announced and never sent",
        "the client must not treat it as complete",
        (Seen("raw/h2c/trailers-forgotten", "end", "silent", lambda it: "INTERNAL_ERROR" in it, all_else=True),),
    ),
    Difference(
        "ASGI over HTTP",
        "`http.response.early_hint`",
        "no window bounds them",
        (Seen("extensions/h1/hints", "status", 500, 200, all_else=True),),
    ),
    Difference(
        "ASGI over HTTP",
        "`date` and `server` beside early hints",
        "they belong to the final response",
        (Seen("raw/h2c/hints", "interim", lambda it: "server" in str(it), lambda it: "server" not in str(it)),),
    ),
)


def refused(close: Any) -> bool:
    """A Close frame that says what was wrong."""
    return close != ABSENT and close[0] in (1002, 1007) and bool(close[1])


#: What clients may not send on a WebSocket.
BAD_FRAMES = "close-odd-code not-utf-8 unmasked reserved-bit reserved-opcode continuation-of-nothing large-ping"

WEBSOCKET = (
    Difference(
        "WebSocket",
        "`spec_version`",
        (
            "an app that only sends would never end. A message that was received before may still be answered, with"
            " at most 16 messages."
        ),
        (
            Seen(
                "websocket/*/scope websocket/*/scope-protocols",
                "scope.asgi",
                {"version": "3.0", "spec_version": "2.3"},
                {"version": "3.0", "spec_version": "2.4"},
            ),
        ),
    ),
    Difference(
        "WebSocket",
        "wrong or no `sec-websocket-version`",
        "RFC 6455 §4.4",
        (Seen("websocket/*/version-*", "status", 400, 426, all_else=True),),
    ),
    Difference(
        "WebSocket",
        "fields of the 101 response",
        "their order has no meaning, and `websocket` is case-insensitive (RFC 6455 §4.1)",
        (
            Seen(
                "websocket/h1/* !*/refuse !*/deny !*/fail-before !*/version-* !*/key-none !*/subprotocol-not-offered "
                "!*/compression-offered",
                "headers",
                lambda it: ("upgrade", "WebSocket") in it,
                lambda it: ("upgrade", "websocket") in it,
            ),
        ),
    ),
    Difference(
        "WebSocket",
        "permessage-deflate",
        "an idle connection holds no compressor",
        (
            Seen(
                "websocket/*/compression-offered",
                "headers",
                lambda it: "context" not in str(it),
                lambda it: "no_context_takeover" in str(it),
                all_else=True,
            ),
        ),
    ),
    Difference(
        "WebSocket",
        "the client's close",
        "apps can distinguish an orderly close from a failure",
        (
            Seen(
                "websocket/*/close websocket/*/close-own-code websocket/*/close-without-code",
                "app",
                lambda it: it["code"] == 1006,
                lambda it: it["code"] in (1000, 1005, 4005),
            ),
        ),
    ),
    Difference(
        "WebSocket",
        "the answer to the client's close",
        "RFC 6455 §5.5.1 echoes the code; the reason was the client's",
        (
            Seen(
                "websocket/*/close websocket/*/close-own-code",
                "close",
                lambda it: it[1] == "bye",
                lambda it: it[1] == "",
            ),
        ),
    ),
    Difference(
        "WebSocket",
        "invalid frames",
        "RFC 6455 §7.1.7 closes with 1002 or 1007 and the reason, not by dropping the connection",
        (
            Seen(on("h1 h2c", BAD_FRAMES), "close", ABSENT, refused, all_else=True),
            Seen(on("h2c", BAD_FRAMES), "end", "silent", "ended"),
        ),
    ),
    Difference(
        "WebSocket",
        "reason of a Close frame that the server originates",
        "it helps the client's author",
        (
            Seen("websocket/*/too-large", "close", now_and_then=True),
            # A client that still sends may find the connection reset before it has read the Close frame.
            Seen("websocket/h1/too-large", "end", "silent", now_and_then=True),
            Seen("websocket/h1/too-large", "end", now_and_then=True),
        ),
    ),
    Difference(
        "WebSocket",
        "`upgrade`, `connection` and `sec-websocket-key` over HTTP/2",
        (
            "HTTP/2 leaves them out (RFC 8441 §5), and apps require them, such as python-socketio `upgrade`; the "
            "key is different for each WebSocket"
        ),
        (
            Seen(
                "websocket/h2c/scope*",
                "scope.headers",
                lambda it: "upgrade" not in str(it),
                lambda it: "upgrade" in str(it),
            ),
        ),
    ),
    Difference(
        "WebSocket",
        "the end of a WebSocket over HTTP/2",
        "only the stream ends; the connection and its other streams continue",
        (
            Seen("websocket/h2c/*", "end", "connection lost", "ended", now_and_then=True),
            Seen("websocket/h2c/too-large", "end", "silent", "ended", now_and_then=True),
        ),
    ),
    Difference(
        "WebSocket",
        "a subprotocol that the client did not offer",
        "the app can still accept; if it does not, the client gets 500 instead of a lost connection",
        (Seen("websocket/*/subprotocol-not-offered", "status", ABSENT, 500, all_else=True),),
    ),
)
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
LIFESPAN = (
    Difference(
        "Lifespan",
        "an exception before startup is complete",
        (
            "a missing database must not look like an app without lifespan. Frameworks without lifespan raise at "
            "the scope's type, before they receive."
        ),
        (Seen("lifespan/raises", "serves", True, False, all_else=True),),
    ),
    Difference(
        "Signals and exit codes",
        "the server could not start",
        "the process that started it must be able to detect it",
        (
            Seen(
                "lifespan/fails lifespan/hangs lifespan/exits lifespan/import-fails lifespan/no-such-app "
                "lifespan/no-such-module",
                "code",
                0,
                1,
            ),
        ),
    ),
    Difference(
        "Signals and exit codes",
        "the app's shutdown failed or took too long",
        "the failure must be detectable",
        (Seen("lifespan/fails-at-shutdown lifespan/hangs-at-shutdown", "code", 0, 4),),
    ),
)
LOGS = (
    Difference(
        "Logs",
        "refused requests",
        "an operator should see which requests were refused",
        (Seen("access-log", "line refused", [], lambda it: len(it) == 1),),
    ),
    Difference(
        "Logs",
        "quotes, backslashes and control characters in what clients send",
        "a client must not be able to forge a line or a part of one",
        (Seen("access-log", "line encoded", lambda it: 'b" 1.1' in it[0], lambda it: 'b\\" 1.1' in it[0]),),
    ),
)

DIFFERENCES: tuple[Difference, ...] = HTTP + HTTP1 + HTTP2 + ASGI + EXTENSIONS + WEBSOCKET + WSGI + LIFESPAN + LOGS
