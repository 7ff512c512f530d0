"""The site behind each middleware. A request names the one it means in ``x-behind``, a WebSocket too."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any, TypeAlias

import a2wsgi
import structlog
from asgi_correlation_id import CorrelationIdFilter, CorrelationIdMiddleware
from brotli_asgi import BrotliMiddleware
from fastapi import FastAPI, Request
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_fastapi_instrumentator import Instrumentator
from slowapi import Limiter, _rate_limit_exceeded_handler
from slowapi.errors import RateLimitExceeded
from slowapi.middleware import SlowAPIASGIMiddleware, SlowAPIMiddleware
from slowapi.util import get_remote_address
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.httpsredirect import HTTPSRedirectMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import JSONResponse, Response

from matrix.apps import wsgi_site
from matrix.apps.asgi_site import NOTES, site

#: One for ASGI: the middlewares have types of their own for it.
App: TypeAlias = Any

#: What is said of what middlewares have recorded, and is forgotten then.
RECORDED: dict[str, Callable[[], Any]] = {}


class HeaderMiddleware(BaseHTTPMiddleware):
    """Adds a field, as most middlewares do."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        response = await call_next(request)
        response.headers["x-added"] = request.method
        return response


class ReadMiddleware(BaseHTTPMiddleware):
    """Reads the body before the app does."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        length = len(await request.body())
        response = await call_next(request)
        response.headers["x-length"] = str(length)
        return response


class ReplaceMiddleware(BaseHTTPMiddleware):
    """Sends another response in place of the app's."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        response: Any = await call_next(request)
        body = b"".join([piece async for piece in response.body_iterator])
        return Response(body.upper(), response.status_code, media_type="text/plain")


class DenyMiddleware(BaseHTTPMiddleware):
    """Answers without the app, and without the body."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        return JSONResponse({"detail": "no"}, 401, {"www-authenticate": "Bearer"})


def delaying(app: App) -> App:
    """A pure middleware that keeps the start until the first piece of the body is there."""

    async def delayed(scope: Any, receive: Any, send: Any) -> None:
        kept: list[Any] = []

        async def later(message: Any) -> None:
            if message["type"] == "http.response.start":
                kept.append(message)
                return
            if message["type"] == "http.response.body" and kept:
                start = kept.pop()
                await send({**start, "headers": [*start["headers"], (b"x-kept", b"1")]})
            await send(message)

        await app(scope, receive, later)

    return delayed


def functional() -> App:
    """FastAPI's own kind of middleware."""
    app = site()

    @app.middleware("http")
    async def timed(request: Request, call_next: RequestResponseEndpoint) -> Response:
        response = await call_next(request)
        response.headers["x-process-time"] = "0.1"
        return response

    return app


def open_telemetry(name: str, wrap: Callable[[FastAPI, TracerProvider], App]) -> App:
    """The site with spans that stay in memory."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    #: What says which protocol it was, and which ports.
    own = ("net.peer.port", "net.host.port", "http.flavor", "network.protocol.version", "http.server_name")

    def recorded() -> Any:
        # There is a span for each message too: into how many of them a body is split, each server decides.
        spans = [
            {
                "name": span.name,
                "status": span.status.status_code.name,
                "attributes": {key: value for key, value in sorted((span.attributes or {}).items()) if key not in own},
                "events": [event.name for event in span.events],
                "parent": span.parent is not None and f"{span.parent.trace_id:x}",
            }
            for span in exporter.get_finished_spans()
            if span.kind is SpanKind.SERVER
        ]
        exporter.clear()
        return spans

    RECORDED[name] = recorded
    return wrap(site(), provider)


def instrumented(app: FastAPI, provider: TracerProvider) -> App:
    """As its own package instruments FastAPI."""
    FastAPIInstrumentor.instrument_app(app, tracer_provider=provider)
    return app


def correlated() -> App:
    """The site with an id for each request, which log records have as well."""
    records: list[str] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(f"{getattr(record, 'correlation_id', None)} {record.getMessage()}")

    logger = logging.getLogger("site.correlated")
    logger.propagate = False
    logger.setLevel("INFO")
    kept = Kept()
    kept.addFilter(CorrelationIdFilter(uuid_length=32))
    logger.addHandler(kept)
    app = site()

    @app.get("/logged")
    async def logged() -> str:
        logger.info("in a coroutine")
        return "logged"

    @app.get("/logged-in-a-thread")
    def logged_in_a_thread() -> str:
        logger.info("in a thread")
        return "logged"

    def recorded() -> Any:
        said = records[:]
        records.clear()
        return said

    RECORDED["correlation-id"] = recorded
    return CorrelationIdMiddleware(app, validator=None)


def structured() -> App:
    """The site with structlog, whose context variables each request binds."""
    events: list[Any] = []

    def keep(logger: Any, method: str, event: Any) -> Any:
        events.append(dict(event))
        raise structlog.DropEvent

    log = structlog.wrap_logger(None, processors=[structlog.contextvars.merge_contextvars, keep])
    app = site()

    @app.middleware("http")
    async def bound(request: Request, call_next: RequestResponseEndpoint) -> Response:
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(path=request.url.path, method=request.method)
        log.info("begun")
        try:
            response = await call_next(request)
        except RuntimeError as error:
            log.error("failed", error=str(error))
            raise
        log.info("answered", status=response.status_code)
        return response

    @app.get("/logged")
    async def logged() -> str:
        log.info("in a coroutine")
        return "logged"

    @app.get("/logged-in-a-thread")
    def logged_in_a_thread() -> str:
        log.info("in a thread")
        return "logged"

    def recorded() -> Any:
        said = events[:]
        events.clear()
        return said

    RECORDED["structlog"] = recorded
    return app


def measured() -> App:
    """The site with metrics for Prometheus."""
    registry = CollectorRegistry()
    app = site()
    Instrumentator(registry=registry).instrument(app).expose(app)

    def recorded() -> Any:
        lines = generate_latest(registry).decode().splitlines()
        counts = ("http_requests_total{", "http_response_size_bytes_count{", "http_request_size_bytes_sum{")
        return sorted(line for line in lines if line.startswith(counts))

    RECORDED["prometheus-instrumentator"] = recorded
    return app


def limited(middleware: Any) -> App:
    """The site that serves each client twice for each path."""
    app = site()
    app.state.limiter = Limiter(key_func=get_remote_address, default_limits=["2/hour"], headers_enabled=False)
    answering: Any = _rate_limit_exceeded_handler
    app.add_exception_handler(RateLimitExceeded, answering)
    app.add_middleware(middleware)
    return app


in_wsgi: Any = wsgi_site.site()

BEHIND: dict[str, App] = {
    "nothing": site(),
    "gzip": GZipMiddleware(site(), minimum_size=100),
    "brotli": BrotliMiddleware(site(), minimum_size=100),
    "sessions": SessionMiddleware(site(), secret_key="secret"),
    "cors": CORSMiddleware(
        site(), allow_origins=["https://one.test"], allow_methods=["*"], allow_credentials=True, expose_headers=["x-app"]
    ),
    "trusted-host": TrustedHostMiddleware(site(), allowed_hosts=["127.0.0.1"]),
    "trusted-host-other": TrustedHostMiddleware(site(), allowed_hosts=["other.test"]),
    "https-redirect": HTTPSRedirectMiddleware(site()),
    "base-header": HeaderMiddleware(site()),
    "base-read": ReadMiddleware(site()),
    "base-replace": ReplaceMiddleware(site()),
    "base-deny": DenyMiddleware(site()),
    "base-many": HeaderMiddleware(ReadMiddleware(GZipMiddleware(site()))),
    "delaying": delaying(site()),
    "functional": functional(),
    "otel-asgi": open_telemetry(
        "otel-asgi", lambda app, provider: OpenTelemetryMiddleware(app, tracer_provider=provider)
    ),
    "otel-fastapi": open_telemetry("otel-fastapi", instrumented),
    "correlation-id": correlated(),
    "structlog": structured(),
    "prometheus-instrumentator": measured(),
    "slowapi": limited(SlowAPIMiddleware),
    "slowapi-asgi": limited(SlowAPIASGIMiddleware),
    "a2wsgi": a2wsgi.WSGIMiddleware(in_wsgi),
}


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Passes a request to the middleware that it names. ``/notes`` and ``/recorded`` are beside all of them."""
    if scope["type"] == "lifespan":
        await BEHIND["nothing"](scope, receive, send)
        return
    behind = dict(scope["headers"]).get(b"x-behind", b"nothing").decode()
    query = scope["query_string"].decode()
    if scope["path"] == "/notes":
        await JSONResponse(NOTES[query])(scope, receive, send)
    elif scope["path"] == "/recorded":
        recorded = json.dumps(RECORDED[behind](), default=str)
        await Response(recorded, media_type="application/json")(scope, receive, send)
    else:
        await BEHIND[behind](scope, receive, send)
