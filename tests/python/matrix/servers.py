"""Starts the servers that hcrs is compared with."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from end_to_end.server import Server
from parity.servers import Hypercorn

APPS = Path(__file__).parent / "apps"


class Uvicorn(Server):
    """A running Uvicorn."""

    def _command_line(self, flags: list[str], app: str | None) -> list[str]:
        folder, module = _apart(app)
        own = [flag for flag in flags[2:] if flag]
        return [sys.executable, "-m", "uvicorn", "--port", "0", "--app-dir", folder, *own, module]

    def _announced(self, count: int) -> list[tuple[str, str]]:
        found = self.wait_for_log(r"Uvicorn running on (https?)://(\S+) \(Press CTRL", count)
        return [(match[1], match[2]) for match in found]


class Gunicorn(Server):
    """A running Gunicorn with threads."""

    def _command_line(self, flags: list[str], app: str | None) -> list[str]:
        folder, module = _apart(app)
        own = ["--bind", "127.0.0.1:0", "--threads", "4", "--pythonpath", folder, "--no-control-socket"]
        return [sys.executable, "-m", "gunicorn", *own, *flags[2:], module]

    def _announced(self, count: int) -> list[tuple[str, str]]:
        found = self.wait_for_log(r"Listening at: (https?)://(\S+?):(\d+) ", count)
        self.wait_for_log(r"Booting worker with pid")
        return [(match[1], f"{match[2]}:{match[3]}") for match in found]


def _apart(app: str | None) -> tuple[str, str]:
    """The folder of an app, and its module with its attribute."""
    assert app is not None
    path, _, attribute = app.rpartition(":")
    file = Path(path.removeprefix("asgi:").removeprefix("wsgi:"))
    return str(file.parent), f"{file.stem}:{attribute}"


KINDS: dict[str, Callable[..., Server]] = {
    "hcrs": Server,
    "uvicorn": Uvicorn,
    "gunicorn": Gunicorn,
    "hypercorn": Hypercorn,
}


@contextmanager
def running(
    folder: Path,
    app: str,
    kinds: tuple[str, ...],
    flags: Mapping[str, list[str]] | None = None,
    env: Mapping[str, str] | None = None,
    made: Mapping[str, Path] | None = None,
    **options: Any,
) -> Iterator[dict[str, Server]]:
    """Servers of these kinds on the same app, ``FILE:ATTRIBUTE`` in the folder of apps, and others by configuration files
    that were ``made`` for them. At the end hcrs has to end well."""
    servers: dict[str, Server] = {}
    options["env"] = {"PYTHONPATH": str(APPS.parent.parent), **(env or {})}
    with ExitStack() as stack:
        for kind in kinds:
            own = folder / kind
            own.mkdir(parents=True)
            path = re.sub(r"^(asgi:|wsgi:)?", lambda found: f"{found[0]}{APPS}/", app)
            servers[kind] = KINDS[kind](own, path.removesuffix("()") if kind == "uvicorn" else path, flags=(flags or {}).get(kind, []), **options)
            stack.callback(servers[kind].destroy)
        for kind, file in (made or {}).items():
            own = folder / kind
            own.mkdir(parents=True)
            servers[kind] = KINDS[kind](own, None, config_file=file, **options)
            stack.callback(servers[kind].destroy)
        for server in servers.values():
            server.wait_until_running()
        yield servers
        servers["hcrs"].assert_ends_well()
