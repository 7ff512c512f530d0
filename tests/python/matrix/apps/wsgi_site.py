"""The site for WSGI."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any, NoReturn

from flask import Flask, Response, request, send_file, session


def site() -> Flask:
    """A new one."""
    app = Flask(__name__, static_folder=None)
    app.secret_key = "secret"

    @app.get("/json")
    def as_json() -> Any:
        facts = {"path": request.path, "scheme": request.scheme, "host": request.host, "client": request.remote_addr}
        return facts, {"x-app": "site"}

    @app.get("/large")
    def large() -> Response:
        return Response("a line of text\n" * 5000, mimetype="text/plain")

    @app.get("/stream")
    def stream() -> Response:
        def pieces() -> Iterator[bytes]:
            for number in range(5):
                yield f"piece {number}\n".encode() * 100

        return Response(pieces(), mimetype="text/plain")

    @app.get("/events")
    def events() -> Response:
        return Response((f"data: event {number}\n\n" for number in range(3)), mimetype="text/event-stream")

    @app.get("/file")
    def file() -> Response:
        return send_file(__file__, mimetype="text/plain")

    @app.post("/upload")
    def upload() -> Any:
        sent = request.files["file"]
        body = sent.read()
        return {"name": sent.filename, "length": len(body), "sha256": hashlib.sha256(body).hexdigest()}

    @app.post("/form")
    def form() -> Any:
        return dict(request.form)

    @app.post("/echo")
    def echo() -> Response:
        return Response(request.get_data(), mimetype="application/octet-stream")

    @app.post("/length")
    def length() -> str:
        return str(len(request.get_data()))

    @app.get("/error")
    def error() -> NoReturn:
        raise RuntimeError("as it was told to")

    @app.get("/session")
    def visits() -> Any:
        session["visits"] = session.get("visits", 0) + 1
        return dict(session)

    return app
