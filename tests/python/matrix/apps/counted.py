"""An app whose workers share their metrics in files, as prometheus_client has it for many processes."""

from __future__ import annotations

import contextlib
import os
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
    """What Gunicorn's ``child_exit`` does for a worker that has ended, is done by the worker itself."""
    ALIVE.set(1)
    yield
    multiprocess.mark_process_dead(os.getpid())


async def counted(request: Any) -> Response:
    ANSWERED.inc()
    return PlainTextResponse(str(os.getpid()))


async def metrics(request: Any) -> Response:
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)
    return Response(generate_latest(registry))


app = Starlette(lifespan=lifespan, routes=[Route("/", counted), Route("/metrics", metrics)])
