"""Hypercorn's middleware, under its names. Each is a plain ASGI app and runs on any server."""

from __future__ import annotations

from hcrs.middleware.dispatcher import (
    AsyncioDispatcherMiddleware,
    DispatcherMiddleware,
    TrioDispatcherMiddleware,
)
from hcrs.middleware.http_to_https import HTTPToHTTPSRedirectMiddleware
from hcrs.middleware.proxy_fix import ProxyFixMiddleware
from hcrs.middleware.wsgi import AsyncioWSGIMiddleware, TrioWSGIMiddleware

__all__ = [
    "AsyncioDispatcherMiddleware",
    "AsyncioWSGIMiddleware",
    "DispatcherMiddleware",
    "HTTPToHTTPSRedirectMiddleware",
    "ProxyFixMiddleware",
    "TrioDispatcherMiddleware",
    "TrioWSGIMiddleware",
]
