"""The site with Sentry, whose events stay in memory."""

from __future__ import annotations

import json
import logging
from typing import Any

import sentry_sdk
from fastapi import Request
from sentry_sdk.envelope import Envelope
from sentry_sdk.integrations.asgi import SentryAsgiMiddleware
from sentry_sdk.transport import Transport
from starlette.responses import Response

from matrix.apps import wsgi_site
from matrix.apps.asgi_site import NOTES, site

EVENTS: list[Any] = []


class InMemory(Transport):
    """Keeps what is to be sent."""

    def capture_envelope(self, envelope: Envelope) -> None:
        event = envelope.get_event() or envelope.get_transaction_event()
        if event is not None:
            EVENTS.append(summary(event))


def summary(event: Any) -> Any:
    """The part of an event that does not depend on where it runs."""
    request = event.get("request", {})
    return {
        "kind": event.get("type", "error"),
        "level": event.get("level"),
        "logger": event.get("logger") if event.get("logger") != "hcrs.error" else "the server's",
        "transaction": event.get("transaction"),
        "exceptions": [
            (error["type"], error["value"], (error.get("mechanism") or {}).get("handled"))
            for error in event.get("exception", {}).get("values", ())
        ],
        "method": request.get("method"),
        "query": request.get("query_string"),
        "data": request.get("data"),
        "status": event.get("contexts", {}).get("trace", {}).get("status"),
        "message": (event.get("logentry") or {}).get("message"),
    }


def taken() -> list[Any]:
    """The events of requests under test, without those of requests that help the tests."""
    beside = ("/recorded", "/notes", "/after", "recorded_of_flask")
    said = [event for event in EVENTS if not (event["transaction"] or "").endswith(beside)]
    EVENTS.clear()
    return said


sentry_sdk.init(
    dsn="http://public@127.0.0.1:9/1", transport=InMemory, traces_sample_rate=1.0, default_integrations=True
)

inner = site()


@inner.get("/logged")
async def logged() -> str:
    logging.getLogger("site").error("an error that is logged")
    return "logged"


@inner.post("/posted")
async def posted(request: Request) -> str:
    await request.json()
    raise RuntimeError("after the body")


@inner.get("/recorded")
async def recorded() -> Response:
    return Response(json.dumps(taken()), media_type="application/json")


@inner.get("/notes")
async def notes(request: Request) -> list[str]:
    return NOTES[str(request.url.query)]


app = SentryAsgiMiddleware(inner)

flask = wsgi_site.site()


@flask.get("/recorded")
def recorded_of_flask() -> Any:
    return taken()
