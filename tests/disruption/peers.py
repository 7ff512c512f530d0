"""The servers that are measured: the command line of each, and which clients and operations it has.

All serve the same app over TLS with two workers and without an access log. Everything else is as the server ships it, but for
what an operation needs and for limits that would end a connection by themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from end_to_end.steady_load import Mix

WORKERS = 2
#: Seconds after which a worker that hangs is to be found, where that can be set.
HANG_S = 5
#: Requests, seconds and bytes after which workers are recycled. Granian's shortest age is a minute.
RECYCLE_REQUESTS, RECYCLE_S, RECYCLE_RSS_MIB = 400, 5, 150
GRANIAN_AGE_S = 60


@dataclass(frozen=True)
class Place:
    """Where the commands, the app and the files of a run are."""

    #: Of the venv with the peers.
    bin: Path
    hcrs: Path
    #: The working directory of the server, with the app, ``cert.pem`` and ``key.pem``.
    folder: Path
    port: int

    @property
    def cert(self) -> Path:
        return self.folder / "cert.pem"

    @property
    def begun(self) -> Path:
        """The folder in which the app writes down what it has begun."""
        return self.folder / "begun"

    @property
    def key(self) -> Path:
        return self.folder / "key.pem"


def command(*parts: str | Path) -> list[str]:
    """A command line of these words."""
    return list(map(str, parts))


#: Returns the command for an operation.
Command = Callable[[Place, str], list[str]]


def hcrs(place: Place, operation: str) -> list[str]:
    own = {
        "age": [f"max_worker_age = {RECYCLE_S}.0"],
        "RSS": [f"max_worker_rss = {RECYCLE_RSS_MIB << 20}"],
        "hang": [f"worker_timeout = {HANG_S}"],
    }
    lines = [
        f'bind = "127.0.0.1:{place.port}"',
        'application_path = "steady:app"',
        f"workers = {WORKERS}",
        f'certfile = "{place.cert}"',
        f'keyfile = "{place.key}"',
        "keep_alive_max_requests = 1000000000",
        *([f"max_requests = {RECYCLE_REQUESTS}"] if operation == "max_requests" else []),
        *(["use_reloader = true"] if operation == "reload" else []),
        "[hcrs]",
        *own.get(operation, []),
    ]
    config = place.folder / "hcrs.toml"
    config.write_text("\n".join(lines) + "\n")
    return command(place.hcrs, "--config", config)


def hypercorn(place: Place, operation: str) -> list[str]:
    config = place.folder / "hypercorn.toml"
    config.write_text("keep_alive_max_requests = 1000000000\n")
    more = {"max_requests": ["--max-requests", str(RECYCLE_REQUESTS)], "reload": ["--reload"]}
    own = command("-c", config, "-b", f"127.0.0.1:{place.port}", "-w", str(WORKERS), "--certfile", place.cert, "--keyfile", place.key)
    return command(place.bin / "hypercorn", *own, *more.get(operation, []), "steady:app")


def uvicorn(place: Place, operation: str) -> list[str]:
    more = {"max_requests": ["--limit-max-requests", str(RECYCLE_REQUESTS)]}
    # The reloader has one worker.
    workers = ["--reload"] if operation == "reload" else ["--workers", str(WORKERS)]
    own = command("--host", "127.0.0.1", "--port", str(place.port), "--ssl-certfile", place.cert, "--ssl-keyfile", place.key)
    return command(place.bin / "uvicorn", "steady:app", *own, "--no-access-log", *workers, *more.get(operation, []))


def gunicorn(place: Place, operation: str, kind: str = "asgi") -> list[str]:
    more = {"max_requests": ["--max-requests", str(RECYCLE_REQUESTS)], "reload": ["--reload"], "hang": ["--timeout", str(HANG_S)]}
    protocols = ["--http-protocols", "h2,h1"] if kind == "asgi" else []
    own = command("-b", f"127.0.0.1:{place.port}", "-w", str(WORKERS), "-k", kind, "--certfile", place.cert, "--keyfile", place.key)
    return command(place.bin / "gunicorn", "steady:app", *own, "--no-control-socket", *protocols, *more.get(operation, []))


def gunicorn_uvicorn(place: Place, operation: str) -> list[str]:
    return gunicorn(place, operation, "uvicorn_worker.UvicornWorker")


def granian(place: Place, operation: str) -> list[str]:
    more = {
        "age": ["--workers-lifetime", str(GRANIAN_AGE_S)],
        "RSS": ["--workers-max-rss", str(RECYCLE_RSS_MIB), "--rss-sample-interval", "1"],
        "reload": ["--reload"],
        "kill -9": ["--respawn-failed-workers"],
        "segfault": ["--respawn-failed-workers"],
    }
    own = command("--interface", "asgi", "--host", "127.0.0.1", "--port", str(place.port), "--workers", str(WORKERS))
    tls = command("--ssl-certificate", place.cert, "--ssl-keyfile", place.key)
    return command(place.bin / "granian", "steady:app", *own, *tls, *more.get(operation, []))


@dataclass(frozen=True)
class Peer:
    """A server that is measured."""

    command: Command
    mix: Mix
    operations: tuple[str, ...]


H1_ONLY = Mix(h2_connections=0, ws_h2=0)
NO_WS_H2 = Mix(ws_h2=0)

PEERS = {
    "hcrs": Peer(
        hcrs,
        Mix(),
        (
            *("HUP", "HUP, app broken", "certificate", "TTIN, TTOU", "USR2", "max_requests", "age", "RSS", "reload"),
            *("kill -9", "segfault", "hang"),
        ),
    ),
    "gunicorn (asgi)": Peer(
        gunicorn,
        NO_WS_H2,
        ("HUP", "HUP, app broken", "TTIN, TTOU", "USR2", "max_requests", "reload", "kill -9", "segfault", "hang"),
    ),
    "gunicorn (uvicorn)": Peer(
        gunicorn_uvicorn,
        H1_ONLY,
        ("HUP", "HUP, app broken", "TTIN, TTOU", "USR2", "max_requests", "reload", "kill -9", "segfault", "hang"),
    ),
    "uvicorn": Peer(
        uvicorn, H1_ONLY, ("HUP", "HUP, app broken", "TTIN, TTOU", "max_requests", "reload", "kill -9", "segfault", "hang")
    ),
    "granian": Peer(granian, NO_WS_H2, ("HUP", "HUP, app broken", "age", "RSS", "reload", "kill -9", "segfault", "hang")),
    "hypercorn": Peer(hypercorn, Mix(), ("HUP", "HUP, app broken", "max_requests", "reload", "kill -9", "segfault", "hang")),
}
