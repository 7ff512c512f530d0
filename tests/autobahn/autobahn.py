#!/usr/bin/env python3
"""Runs the Autobahn test suite against hcrs; README.md says how and why.

`make autobahn` runs every case and writes a summary into results/. It fails if a case is FAILED, NON-STRICT or
UNIMPLEMENTED.
"""

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import suite
import summary

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent.parent
ALL = ",".join(f"{section}.*" for section in summary.SECTIONS)
START_S = 60
STOP_S = 30
SOURCES = ("crates", "Cargo.toml", "Cargo.lock", "pyproject.toml")
RUNNING = re.compile(r"Running on (http://\S+)")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--hcrs", type=Path, default=CHECKOUT / ".venv/bin/hcrs", help="the command (default: of .venv)")
    add("--python2", help="a Python 2.7 for the suite (default: python2.7 in PATH, or pyenv's)")
    add("--cases", default=ALL, help=f"comma-separated (default {ALL})")
    add("--worker-class", default="asyncio", help="the worker's event loop (default asyncio)")
    add("--limit", type=float, default=5400, metavar="SECONDS", help="when the run is given up (default 5400)")
    add("--out", type=Path, default=HERE / "results", help="folder for the summary (default results/)")
    told = parser.parse_args()
    if not os.access(told.hcrs, os.X_OK):
        parser.error(f"{told.hcrs} is no command: run `make build`, or say --hcrs")
    return told


class Hcrs:
    """hcrs with the echo app, for the time of the `with`."""

    def __init__(self, command: Path, worker_class: str, scratch: Path) -> None:
        self.command, self.worker_class, self.log = command, worker_class, scratch / "hcrs.log"

    def __enter__(self) -> str:
        """Starts it, and returns the address of its listener."""
        command = [self.command, f"asgi:{HERE / 'echo.py'}:app", "-b", "127.0.0.1:0", "-k", self.worker_class]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        until = time.monotonic() + START_S
        while time.monotonic() < until and self.process.poll() is None:
            if found := RUNNING.search(self.log.read_text(errors="replace")):
                return found[1].replace("http://", "ws://")
            time.sleep(0.05)
        self.__exit__()
        sys.exit(f"hcrs did not start:\n{self.log.read_text(errors='replace')[-2000:]}")

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def output(*command: str | Path) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def main() -> None:
    told = arguments()
    # So that a SIGTERM unwinds too, and no server is left behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    wstest = suite.prepare(HERE / ".venv", told.python2)
    dirty = output("git", "-C", CHECKOUT, "status", "--porcelain", "--", *SOURCES)
    commit = output("git", "-C", CHECKOUT, "rev-parse", "--short", "HEAD") + ("-dirty" if dirty else "")
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="hcrs-autobahn-") as folder:
        scratch = Path(folder)
        with Hcrs(told.hcrs, told.worker_class, scratch) as url:
            cases = suite.fuzz(wstest, url, told.cases.split(","), scratch, told.limit)
    date = time.strftime("%Y-%m-%d")
    setting = {
        "date": date,
        "hcrs": f"{output(told.hcrs, '--version')}, commit {commit}, worker class {told.worker_class}, as it comes",
        "suite": f"{suite.SUITE.replace('==', ' ')}, its fuzzing client, over `ws://` (HTTP/1.1)",
        "cases": f"{len(cases)} of {told.cases}",
        "took": f"{(time.monotonic() - begun) / 60:.0f} min",
    }
    text = summary.document(cases, setting)
    told.out.mkdir(parents=True, exist_ok=True)
    path = told.out / f"{date}-{commit}.md"
    path.write_text(text)
    print(f"{text}\nwrote {path}")
    if bad := summary.bad(cases):
        sys.exit(f"{len(bad)} of {len(cases)} cases are not as they must be: {', '.join(bad)}")


if __name__ == "__main__":
    main()
