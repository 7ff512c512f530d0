"""The servers measured: the command line of each, and one of them running.

The flags that matter for fairness are here and nowhere else: uvloop, no access log, as many
workers and WSGI threads for each, one certificate, and no limit that ends a connection in the
middle of a measurement. All else is as the server ships it.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import ssl
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import edges
import proctree

if TYPE_CHECKING:
    from typing_extensions import Self

START_S = 30
STOP_S = 10
# The settings of these would change what is measured.
FOREIGN = ("GRANIAN_", "UVICORN_", "HYPERCORN_", "GUNICORN_", "HCRS_", "WEB_CONCURRENCY", "PORT")
UNLIMITED = 1_000_000_000


@dataclass(frozen=True)
class Toolbox:
    """Where the commands, the apps and the files of this run are."""

    bin: Path  # of the bench's venv
    hcrs: Path
    former: Path | None  # an hcrs command of another commit
    apps: Path
    scratch: Path
    cert: Path
    key: Path
    server_cpus: frozenset[int] | None


@dataclass(frozen=True)
class Site:
    """The app and the settings that a server serves."""

    app: str  # module:attribute
    interface: str  # asgi or wsgi
    tls: bool
    workers: int
    wsgi_threads: int
    path: str  # answered with 2xx when the server is ready
    pathsend: bool  # whether servers that leave it to the operator offer http.response.pathsend
    folder: Path | None = None  # whose files are served, without an app
    upstream: int = 0  # the port that requests are proxied to, without an app
    coding: str = ""  # in which responses are sent
    routes: int = 0  # of hcrs, which take none of the requests
    quic: bool = False  # HTTP/3 at the same port besides


def hcrs(tools: Toolbox, site: Site, port: int) -> list:
    return hcrs_command(tools.hcrs, tools, site, port)


def former(tools: Toolbox, site: Site, port: int) -> list:
    return hcrs_command(tools.former or tools.hcrs, tools, site, port)


def hcrs_command(command: Path, tools: Toolbox, site: Site, port: int) -> list:
    config = tools.scratch / "hcrs.toml"
    app = [f"{site.interface}:{site.app}", "-k", "uvloop"] if site.app else []
    config.write_text(
        # A command of another commit may have a limit that is not its operator's.
        f"keep_alive_max_requests = {UNLIMITED}\nkeep_alive_timeout = 600\n"
        # Another commit's command takes the package of its own venv, not that of the bench's.
         f'[hcrs]\npython = "{command.parent / "python"}"\n'
        + (f"wsgi_threads = {site.wsgi_threads}\n" if site.interface == "wsgi" else "")
        # A command of another commit may not know the key; it offers it then.
        + ("pathsend = true\n" if site.pathsend else "")
        + edges.hcrs_routes(site)
    )
    tls = ["--certfile", tools.cert, "--keyfile", tools.key] if site.tls else []
    tls += quic_bind(site, port)
    return [
        *[command, "-c", config, *app, "-b", f"127.0.0.1:{port}"],
        *["-w", str(site.workers), "--log-level", "WARNING", *tls],
    ]


def quic_bind(site: Site, port: int) -> list:
    return ["--quic-bind", f"127.0.0.1:{port}"] if site.quic else []


def granian(tools: Toolbox, site: Site, port: int) -> list:
    tls = ["--ssl-certificate", tools.cert, "--ssl-keyfile", tools.key] if site.tls else []
    threads = ["--blocking-threads", str(site.wsgi_threads)] if site.interface == "wsgi" else []
    return [
        *[tools.bin / "granian", site.app, "--interface", site.interface],
        *["--host", "127.0.0.1", "--port", str(port), "--workers", str(site.workers)],
        *["--loop", "uvloop", "--no-access-log", "--log-level", "warning", *threads, *tls],
    ]


def uvicorn(tools: Toolbox, site: Site, port: int, websockets: str = "websockets-sansio") -> list:
    return [
        *[tools.bin / "uvicorn", site.app, "--host", "127.0.0.1", "--port", str(port)],
        *["--workers", str(site.workers), "--loop", "uvloop", "--http", "httptools"],
        *["--ws", websockets],
        *["--timeout-keep-alive", "600", "--no-access-log", "--log-level", "warning"],
    ]


def uvicorn_wsproto(tools: Toolbox, site: Site, port: int) -> list:
    return uvicorn(tools, site, port, "wsproto")


def hypercorn(tools: Toolbox, site: Site, port: int) -> list:
    config = tools.scratch / "hypercorn.toml"
    # 1,000 is the default, after which it ends an HTTP/2 connection with streams in flight.
    config.write_text(f"keep_alive_max_requests = {UNLIMITED}\nkeep_alive_timeout = 600\n")
    tls = ["--certfile", tools.cert, "--keyfile", tools.key] if site.tls else []
    tls += quic_bind(site, port)
    return [
        *[tools.bin / "hypercorn", "-c", config, site.app, "-b", f"127.0.0.1:{port}"],
        *["-w", str(site.workers), "-k", "uvloop", "--log-level", "WARNING", *tls],
    ]


def gunicorn(tools: Toolbox, site: Site, port: int) -> list:
    tls = ["--certfile", tools.cert, "--keyfile", tools.key, "--http-protocols", "h2,h1"]
    kind = ["-k", "gthread", "--threads", str(site.wsgi_threads)]
    if site.interface == "asgi":
        kind = ["-k", "asgi", "--asgi-loop", "uvloop"]
    return [
        *[tools.bin / "gunicorn", site.app, "-b", f"127.0.0.1:{port}", "-w", str(site.workers)],
        *[*kind, "--worker-connections", "4000", "--keep-alive", "600"],
        *["--log-level", "warning", "--no-control-socket", *(tls if site.tls else [])],
    ]


COMMANDS = {
    "hcrs": hcrs,
    "former": former,
    "granian": granian,
    "uvicorn": uvicorn,
    "uvicorn_wsproto": uvicorn_wsproto,
    "hypercorn": hypercorn,
    "gunicorn": gunicorn,
    **edges.COMMANDS,
}

# Those that have an edge: hcrs, and hcrs as it was.
WITH_EDGE = ("hcrs", "former")


class DidNotStart(Exception):
    """The server ended, or did not answer with 2xx in time; says what it wrote."""


class Running:
    """A server started for one measurement, in a session of its own; ends with the `with`."""

    def __init__(self, name: str, tools: Toolbox, site: Site):
        self.name, self.tools, self.site = name, tools, site
        self.port = free_port()
        self.log = tools.scratch / f"{name}.log"

    def __enter__(self) -> Self:
        if self.site.folder:
            edges.fill(self.site.folder)
        command = [str(part) for part in COMMANDS[self.name](self.tools, self.site, self.port)]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                cwd=self.tools.apps,
                env=environment(self.tools),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.pid = self.process.pid
        if self.tools.server_cpus:
            os.sched_setaffinity(self.pid, self.tools.server_cpus)
        try:
            self.await_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_) -> None:
        self.stop()

    @property
    def base(self) -> str:
        return f"{'https' if self.site.tls else 'http'}://127.0.0.1:{self.port}"

    def await_ready(self) -> None:
        until = time.monotonic() + START_S
        while time.monotonic() < until:
            if self.process.poll() is not None:
                raise DidNotStart(f"ended with {self.process.returncode}: {self.tail()}")
            try:
                status, self.body = get(self.port, self.site.tls, self.site.path)
                if status // 100 == 2:
                    return
            except (OSError, http.client.HTTPException):
                pass
            time.sleep(0.05)
        raise DidNotStart(f"no 2xx from {self.site.path} in {START_S} s: {self.tail()}")

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-600:].strip() or "(it wrote nothing)"

    def stop(self) -> None:
        """SIGTERM, and SIGKILL for the whole session if that does not end it in time."""
        strays = proctree.members(self.pid)
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_S)
        for pid in strays:
            try:
                if os.getsid(pid) == self.pid:
                    os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait()


def environment(tools: Toolbox) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    # hcrs finds its worker's Python by VIRTUAL_ENV; a command of another venv names that one.
    own = tools.hcrs.parent.parent
    venv = own if (own / "pyvenv.cfg").exists() else tools.bin.parent
    return {**kept, "PYTHONPATH": str(tools.apps), "VIRTUAL_ENV": str(venv)}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def get(port: int, tls: bool, path: str) -> tuple[int, int]:
    """The status of one HTTP/1.1 GET, and the length of the body."""
    if tls:
        context = ssl._create_unverified_context()
        context.set_alpn_protocols(["http/1.1"])
        link = http.client.HTTPSConnection("127.0.0.1", port, timeout=5, context=context)
    else:
        link = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        link.request("GET", path)
        response = link.getresponse()
        return response.status, len(response.read())
    finally:
        link.close()
