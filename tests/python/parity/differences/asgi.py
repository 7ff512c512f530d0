"""Differences in the scope and the messages of ASGI over HTTP, and in its extensions."""

from __future__ import annotations

from parity.comparison import ABSENT, Difference, Seen

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
        (Seen("raw/h*/trailers-forgotten", "end", "silent", lambda it: "INTERNAL_ERROR" in it, all_else=True),),
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
        (Seen("raw/h*/hints", "interim", lambda it: "server" in str(it), lambda it: "server" not in str(it)),),
    ),
)
