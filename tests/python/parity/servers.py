"""Starts Hypercorn and hcrs on the same app and the same file."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from end_to_end.server import Server


class Hypercorn(Server):
    """A running Hypercorn. It wants the app on its command line, whatever the file says."""

    def _command_line(self, flags: list[str], app: str | None) -> list[str]:
        assert app is not None
        return [sys.executable, "-m", "hypercorn", *flags, app]

    def _announced(self, count: int) -> list[tuple[str, str]]:
        """Each worker says it, and twice if the app has given the root logger a handler."""
        lines = count
        while len(addresses := dict.fromkeys(super()._announced(lines))) < count:
            lines += 1
        return list(addresses)

    def destroy(self) -> None:
        """Ends the workers first: they outlive their parent."""
        for pid in self.worker_pids():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        super().destroy()


class Pair:
    """Both servers, each in a folder of its own, which is its working directory."""

    def __init__(self, folder: Path, app: str, *, tls: Mapping[str, str] | None = None, **options: Any) -> None:
        if tls is not None:
            options.setdefault("insecure_bind", "127.0.0.1:0")
        self.servers: dict[str, Server] = {}
        try:
            for name, kind in (("hypercorn", Hypercorn), ("hcrs", Server)):
                own = folder / name
                own.mkdir(parents=True)
                self.servers[name] = kind(own, app, tls=tls, **options)
        except BaseException:
            self.destroy()
            raise

    @property
    def hypercorn(self) -> Server:
        """The one that is matched."""
        return self.servers["hypercorn"]

    @property
    def hcrs(self) -> Server:
        """The one under test."""
        return self.servers["hcrs"]

    def __iter__(self) -> Iterator[tuple[str, Server]]:
        return iter(self.servers.items())

    def wait_until_running(self) -> Pair:
        """Waits until both have announced every listener."""
        for server in self.servers.values():
            server.wait_until_running()
        return self

    def destroy(self) -> None:
        """Ends both in any case. Hypercorn does not always end when it is asked to."""
        for server in self.servers.values():
            server.destroy()


@contextmanager
def running(folder: Path, app: str, **options: Any) -> Iterator[Pair]:
    """A pair that serves. At the end hcrs has to end well."""
    pair = Pair(folder, app, **options)
    try:
        yield pair.wait_until_running()
        pair.hcrs.assert_ends_well()
    finally:
        pair.destroy()
