#!/usr/bin/env python3
"""Measures what ``preload`` saves: the proportional set size of the workers of a FastAPI app, with it and without.

Usage: python3 tests/bench/shared_memory.py [--hcrs COMMAND] [--workers 8] [--out FILE]

The PSS of a process is its own memory, plus its share of what others have mapped as well (``/proc/PID/smaps_rollup``). The
target is that the workers have at most half of what they have without ``preload``, template included. Each server has
answered requests before it is measured, because memory that is written to is not shared any more.
"""

from __future__ import annotations

import argparse
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

#: The largest share of the memory without ``preload`` that is acceptable with it.
TARGET = 0.5
#: Requests before the measurement, for each worker.
REQUESTS = 100
#: Seconds that a server may take to start.
START = 120.0

APP = '''
import importlib

# What an app of some size imports beside its framework.
for name in ("asyncio", "decimal", "email.mime.multipart", "http.client", "json", "logging.config", "sqlite3", "ssl",
             "statistics", "unittest.mock", "urllib.request", "uuid", "xml.etree.ElementTree", "zoneinfo"):
    importlib.import_module(name)

from fastapi import FastAPI
from pydantic import BaseModel, create_model

MODELS = [create_model(f"Model{n}", **{f"field{m}": (int, 0) for m in range(12)}) for n in range(150)]
app = FastAPI()


def add(number, model):
    @app.post(f"/models/{number}")
    def create(value: model) -> dict[str, int]:
        return {"number": number}


for number, model in enumerate(MODELS):
    add(number, model)


@app.get("/")
def index() -> dict[str, str]:
    return {"hello": "world"}
'''


def main() -> int:
    """Measures both ways, and reports them. Returns 1 if the target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hcrs", default="hcrs", help="the command, of an environment that has FastAPI")
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--out", type=Path, help="file for the report")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "shop.py").write_text(APP)
        without, with_preload = (measure(args, folder, preload) for preload in (False, True))
    share = sum(with_preload.values()) / sum(without.values())
    text = report(args, without, with_preload, share)
    print(text)
    if args.out is not None:
        args.out.write_text(text)
    return 0 if share <= TARGET else 1


def measure(args: argparse.Namespace, folder: str, preload: bool) -> dict[str, int]:
    """Returns the PSS in KiB of each worker, and of the template if there is one."""
    flags = ["--preload"] if preload else []
    command = [args.hcrs, "-b", "127.0.0.1:0", "-w", str(args.workers), *flags, "shop:app"]
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True) as server:
        try:
            url = address_of(server)
            for _ in range(args.workers * REQUESTS):
                with urllib.request.urlopen(url, timeout=10) as response:
                    response.read()
            children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
            return {name_of(pid): pss_of(pid) for pid in children}
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(30)


def address_of(server: subprocess.Popen[str]) -> str:
    """Waits until the server runs. Returns its URL."""
    assert server.stderr is not None
    deadline = time.monotonic() + START
    for line in server.stderr:
        found = re.search(r"Running on (http://\S+)", line)
        if found is not None:
            return found[1]
        if time.monotonic() > deadline:
            break
    raise RuntimeError("the server does not start")


def name_of(pid: str) -> str:
    """Returns the short name of a process, which is not the same for two of a server."""
    return Path(f"/proc/{pid}/comm").read_text().strip()


def pss_of(pid: str) -> int:
    """Returns the proportional set size of a process in KiB."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = re.search(r"^Pss:\s+(\d+) kB", rollup, re.MULTILINE)
    assert found is not None, rollup
    return int(found[1])


def report(args: argparse.Namespace, without: dict[str, int], with_preload: dict[str, int], share: float) -> str:
    """Returns the result as a page."""
    program = (
        "import sys, fastapi, pydantic;"
        " print(f'Python {sys.version.split()[0]}, FastAPI {fastapi.__version__}, pydantic {pydantic.VERSION}')"
    )
    python = Path(args.hcrs).parent / "python"
    versions = subprocess.run([python, "-c", program], capture_output=True, text=True, check=False).stdout.strip()
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    names = sorted(set(without) | set(with_preload))
    rows = "\n".join(f"| {name} | {mib(without.get(name))} | {mib(with_preload.get(name))} |" for name in names)
    return (
        f"# Memory that forked workers share, {time.strftime('%Y-%m-%d')}-{commit}\n\n"
        f"{args.workers} workers of a FastAPI app, PSS in MiB after {REQUESTS} requests for each worker;"
        f" {versions}.\nThe target is at most {TARGET:.0%}, template included.\n\n"
        "| process | without preload | with preload |\n|---|---|---|\n"
        f"{rows}\n| **all** | {mib(sum(without.values()))} | {mib(sum(with_preload.values()))} |\n\n"
        f"With preload they have **{share:.0%}** of the memory that they have without.\n"
    )


def mib(kib: int | None) -> str:
    """Returns a number of KiB in MiB."""
    return "–" if kib is None else f"{kib / 1024:.1f}"


if __name__ == "__main__":
    sys.exit(main())
