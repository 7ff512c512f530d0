"""The servers of a visit: the command line of each, and one of them running."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from site_table import FOLDER, Site

if TYPE_CHECKING:
    from typing_extensions import Self

#: How long an app may take to answer for the first time, in seconds: some import half of PyPI.
START_S = 120.0
#: How long it may take to end after SIGTERM, in seconds.
STOP_S = 30.0
#: The settings of these would change what is visited.
FOREIGN = ("UVICORN_", "GUNICORN_", "HYPERCORN_", "HCRS_", "WEB_CONCURRENCY", "PORT", "PYTHONPATH", "VIRTUAL_ENV")
#: Lines of the log that are failures, whatever else goes well.
WRONG = re.compile(r"accounting:|panicked|\[(ERROR|CRITICAL)\]|was killed|has died")
TRACEBACK = "Traceback (most recent call last)"

#: The servers, and what each stands for in the table.
SERVERS = {
    "hcrs": "hcrs, cleartext",
    "hcrs-tls": "hcrs, TLS",
    "reference": "Uvicorn or Gunicorn, cleartext",
}


@dataclass(frozen=True)
class Place:
    """Where a visit's programs and files are."""

    hcrs: Path
    #: The app's Python.
    python: Path
    #: What this server's app may write into.
    folder: Path
    authority: Path
    certificate: Path
    key: Path


class DidNotStart(Exception):
    """The server has ended, or has not answered in time; says what it has written."""


class Running:
    """A server that serves a site; ends with the ``with``, if it has not ended before."""

    def __init__(self, server: str, name: str, site: Site, place: Place) -> None:
        self.server, self.site, self.place = server, site, place
        self.cwd = FOLDER / name
        self.is_tls = server == "hcrs-tls"
        self.port = _free_port()
        self._log = place.folder / "server.log"
        self.state = place.folder / "state"
        self.state.mkdir()

    @property
    def url(self) -> str:
        """Without a slash at the end."""
        return f"{'https' if self.is_tls else 'http'}://localhost:{self.port}"

    @property
    def is_hcrs(self) -> bool:
        return self.server != "reference"

    def environment(self) -> dict[str, str]:
        """The environment of the app and its clients."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
        trust = dict.fromkeys(("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"), str(self.place.authority)) if self.is_tls else {}
        own = {"APP_FOLDER": str(self.state), "APP_URL": self.url, "HOME": str(self.state), "PYTHONDONTWRITEBYTECODE": "1"}
        quiet = {"DO_NOT_TRACK": "1", "NO_PROXY": "localhost,127.0.0.1"}
        return {**kept, **trust, **own, **quiet, **self.site.env}

    def run(self, script: str, *arguments: str, seconds: float) -> str:
        """Runs a script of the app's folder by the app's Python; returns what it prints."""
        done = subprocess.run(
            [str(self.place.python), str(self.cwd / script), *arguments],
            cwd=self.state,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
        )
        if done.returncode:
            raise AssertionError(f"{script} ended with {done.returncode}: {done.stderr.strip()[-1500:]}")
        return done.stdout

    def __enter__(self) -> Self:
        if (self.cwd / "prepare.py").exists():
            self.run("prepare.py", seconds=START_S)
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                self._command(),
                cwd=self.cwd,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            self._await_ready()
        except BaseException:
            self._kill()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._kill()

    def _command(self) -> list[str]:
        site, place = self.site, self.place
        bin = place.python.parent
        if self.is_hcrs:
            keys = {
                "bind": f"127.0.0.1:{self.port}",
                "application_path": f"{site.interface}:{site.app}",
                "workers": site.workers,
            }
            if self.is_tls:
                keys.update(certfile=str(place.certificate), keyfile=str(place.key))
            lines = [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
            config = place.folder / "hcrs.toml"
            config.write_text("\n".join([*lines, "[hcrs]", f"python = {json.dumps(str(place.python))}", ""]))
            return [str(place.hcrs), "--config", str(config)]
        if site.interface == "wsgi":
            serve = [str(bin / "python"), "-m", "gunicorn", "-k", "gthread", "--threads", "8", "--no-control-socket"]
            return [*serve, "-b", f"127.0.0.1:{self.port}", "-w", str(site.workers), site.app]
        serve = [str(bin / "python"), "-m", "uvicorn", "--host", "127.0.0.1", "--port", str(self.port)]
        return [*serve, "--workers", str(site.workers), site.app]

    def _await_ready(self) -> None:
        until = time.monotonic() + START_S
        while time.monotonic() < until:
            if self.process.poll() is not None:
                raise DidNotStart(f"ended with {self.process.returncode}: {self.log[-1500:]}")
            if self._answers():
                return
            time.sleep(0.05)
        raise DidNotStart(f"{self.site.ready} was not answered in {START_S:g} s: {self.log[-1500:]}")

    def _answers(self) -> bool:
        if self.is_tls:
            trust = ssl.create_default_context(cafile=str(self.place.authority))
            link: http.client.HTTPConnection
            link = http.client.HTTPSConnection("localhost", self.port, timeout=START_S, context=trust)
        else:
            link = http.client.HTTPConnection("localhost", self.port, timeout=START_S)
        try:
            link.request("GET", self.site.ready)
            link.getresponse().read()
        except (OSError, http.client.HTTPException):
            return False
        finally:
            link.close()
        return True

    @property
    def log(self) -> str:
        """Its log so far."""
        return self._log.read_text(errors="replace")

    def wrong_lines(self) -> list[str]:
        """The lines of the log that are failures; of a traceback the exception, since its head says nothing."""
        wrong, lines = [], self.log.splitlines()
        for place, line in enumerate(lines):
            after = lines[place + 1 :]
            if TRACEBACK in line:
                wrong.append(next((later for later in after if later and not later.startswith((" ", TRACEBACK))), line))
            elif WRONG.search(line) and not (after and TRACEBACK in after[0]):
                wrong.append(line)
        return [line for line in wrong if not any(re.search(known, line) for known in self.site.log_may_hold)]

    def stop(self) -> tuple[int, float]:
        """Asks it to end; returns its exit code, and the seconds that it took."""
        begun = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_S), time.monotonic() - begun
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still runs {STOP_S:g} s after SIGTERM") from None

    def _kill(self) -> None:
        """In any case, with whatever it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def left(self) -> list[str]:
        """The command lines of processes that it has left behind."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                state, _, _, session = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
                if int(session) == self.process.pid and state not in "ZX":
                    found.append((folder / "cmdline").read_text().replace("\0", " ").strip()[:200])
            except (FileNotFoundError, ProcessLookupError):
                continue
        return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
