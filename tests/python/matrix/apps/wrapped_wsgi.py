"""The WSGI site behind each wrapper. A request names the one it means in ``x-behind``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeAlias

import a2wsgi
from cachelib.simple import SimpleCache
from flask import Flask, jsonify
from flask_session import Session
from prometheus_client import CollectorRegistry, Counter, make_wsgi_app
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.lint import LintMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.middleware.shared_data import SharedDataMiddleware
from whitenoise import WhiteNoise

from matrix.apps import asgi_site
from matrix.apps.wsgi_site import site

#: One for WSGI: the wrappers have types of their own for it.
App: TypeAlias = Any

HERE = Path(__file__).parent


def dispatched() -> App:
    """Another app below a path, which shows where it is mounted."""
    inner = Flask("inner")

    @inner.get("/where")
    def where() -> Any:
        from flask import request, url_for

        return jsonify(script=request.environ["SCRIPT_NAME"], path=request.path, url=url_for("where"))

    return DispatcherMiddleware(site(), {"/inner": inner})


def counting() -> App:
    """Prometheus's own page beside the site."""
    registry = CollectorRegistry()
    Counter("counted", "What was counted.", registry=registry).inc(3)
    return DispatcherMiddleware(site(), {"/metrics": make_wsgi_app(registry)})


def static() -> App:
    """WhiteNoise, which sends files by ``wsgi.file_wrapper``."""
    return WhiteNoise(site(), root=str(HERE), prefix="static", max_age=60)


def with_server_side_sessions() -> App:
    """Sessions that a cache has, and the client a name of."""
    app = site()
    app.config |= {"SESSION_TYPE": "cachelib", "SESSION_CACHELIB": SimpleCache(), "SESSION_COOKIE_NAME": "session"}
    Session(app)
    return app


in_asgi: Any = asgi_site.site()

BEHIND: dict[str, App] = {
    "nothing": site(),
    "proxy-fix": ProxyFix(site().wsgi_app, x_for=1, x_proto=1, x_host=1, x_prefix=1),
    "dispatcher": dispatched(),
    "prometheus": counting(),
    "whitenoise": static(),
    "shared-data": SharedDataMiddleware(site(), {"/static": str(HERE)}),
    "flask-session": with_server_side_sessions(),
    "lint": LintMiddleware(site()),
    "a2wsgi": a2wsgi.ASGIMiddleware(in_asgi, wait_time=5.0),
}


def app(environ: Any, start_response: Any) -> Iterable[bytes]:
    """Passes a request to the wrapper that it names."""
    pieces: Iterable[bytes] = BEHIND[environ.get("HTTP_X_BEHIND", "nothing")](environ, start_response)
    return pieces
