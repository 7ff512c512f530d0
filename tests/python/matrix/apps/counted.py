"""An app whose workers share their metrics in files, as prometheus_client has it for many processes."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest, multiprocess
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

ANSWERED = Counter("answered", "Requests that were answered.")
ALIVE = Gauge("alive", "Workers that live.", multiprocess_mode="livesum")


@contextlib.asynccontextmanager
async def lifespan(app: Any) -> AsyncIterator[None]:
    """The worker itself does what Gunicorn's ``child_exit`` does for a worker that has ended."""
    ALIVE.set(1)
    yield
    multiprocess.mark_process_dead(os.getpid())  # type: ignore[no-untyped-call]


async def counted(request: Any) -> Response:
    ANSWERED.inc()
    return PlainTextResponse(str(os.getpid()))


async def metrics(request: Any) -> Response:
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return Response(generate_latest(registry))


def wsgi(environ: Any, start_response: Any) -> list[bytes]:
    """The same for WSGI, which has no lifespan: Python's own end of a process is told."""
    body = str(os.getpid()).encode()
    if environ["PATH_INFO"] == "/metrics":
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        body = generate_latest(registry)
    else:
        ANSWERED.inc()
    start_response("200 OK", [("content-length", str(len(body)))])
    return [body]


if "wsgi" in " ".join(sys.argv):
    ALIVE.set(1)
    atexit.register(multiprocess.mark_process_dead, os.getpid())

app = Starlette(lifespan=lifespan, routes=[Route("/", counted), Route("/metrics", metrics)])
