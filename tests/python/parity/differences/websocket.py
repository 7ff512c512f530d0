"""Differences over WebSockets."""

from __future__ import annotations

from typing import Any

from parity.comparison import ABSENT, Difference, Seen
from parity.differences.patterns import on


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
