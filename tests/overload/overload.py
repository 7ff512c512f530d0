#!/usr/bin/env python3
"""Measures what hcrs answers while it gets more requests than its workers can serve; README.md says how.

`make overload` runs it and writes the tables into results/.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from clients import Asked, Load

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent.parent
SOURCES = ("crates", "Cargo.toml", "Cargo.lock", "pyproject.toml")
WORKERS = 2
#: How long the capacity is measured, in seconds, and by how many clients.
CAPACITY_S, CAPACITY_CLIENTS = 3.0, 16
#: No client of theirs gives up.
FOREVER = 60.0
RUNNING = re.compile(r"Running on http://\S+?:(\d+) ")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--hcrs", type=Path, default=CHECKOUT / ".venv/bin/hcrs", help="the command (default: of .venv)")
    add("--seconds", type=float, default=20, help="how long the load lasts (default 20)")
    add("--warm", type=float, default=5, help="seconds of it that are not counted (default 5)")
    add("--rounds", type=int, default=3, help="how often all is measured (default 3)")
    add("--rates", default="1,2,5", help="multiples of the capacity (default 1,2,5)")
    add("--patience", default="10,3", help="how long clients wait, in seconds (default 10,3)")
    add("--apps", default="asgi", help="asgi, wsgi or both (default asgi)")
    add("--busy", type=float, default=0.02, help="how long a request keeps its worker, in seconds (default 0.02)")
    add("--compute", action="store_true", help="requests compute, and do not only block their worker")
    add("--queue-timeout", type=float, help="of the configuration (default: the server's default)")
    add("--commit", default=commit(), help="of the command (default: the checkout's)")
    add("--name", default="", help="what the tables are called, such as `before`")
    add("--out", type=Path, default=HERE / "results", help="folder for the tables (default results/)")
    told = parser.parse_args()
    told.hcrs = told.hcrs.absolute()
    return told


@contextmanager
def server(options: argparse.Namespace, app: str) -> Iterator[int]:
    """Runs hcrs with an app. Yields the port."""
    with tempfile.TemporaryDirectory() as folder:
        config, log = Path(folder, "hcrs.toml"), Path(folder, "log")
        path = "app:asgi" if app == "asgi" else "wsgi:app:wsgi"
        keys = ["lifespan = 'off'", "wsgi_threads = 1"]
        if options.queue_timeout is not None:
            keys.append(f"queue_timeout = {options.queue_timeout}")
        config.write_text(
            f'bind = "127.0.0.1:0"\napplication_path = "{path}"\nworkers = {WORKERS}\nbacklog = 4096\n[hcrs]\n'
            + "\n".join(keys)
            + "\n"
        )
        environment = {
            **os.environ,
            "OVERLOAD_SECONDS": str(options.busy),
            "OVERLOAD_COMPUTES": str(int(options.compute)),
        }
        with log.open("wb") as output:
            process = subprocess.Popen(
                [options.hcrs, "--config", str(config)], cwd=HERE, env=environment, stdout=output, stderr=output
            )
        try:
            until = time.monotonic() + 60
            while not (found := RUNNING.search(log.read_text(errors="replace"))):
                if time.monotonic() > until or process.poll() is not None:
                    raise RuntimeError(f"hcrs did not start:\n{log.read_text()[-2000:]}")
                time.sleep(0.05)
            yield int(found[1])
        finally:
            process.terminate()
            process.wait(60)


@dataclass(slots=True)
class Measured:
    """One load, after its warm-up."""

    app: str
    rate: float
    patience: float
    #: Responses with 200 that their clients have waited for, over what the workers can serve in that time.
    goodput: float
    answered: list[float]
    refused: list[float]
    gave_up: int
    others: list[Asked]
    has_retry_after: bool
    #: How long one request after the load took.
    after: Asked


async def capacity(port: int) -> float:
    """The number of requests that the workers serve in a second."""
    load = Load(port, FOREVER)
    await load.in_turns(CAPACITY_CLIENTS, CAPACITY_S)
    took = max(asked.over_at for asked in load.asked) - load.asked[0].at
    return len(load.asked) / took


async def measure(options: argparse.Namespace, app: str, rate: float, patience: float) -> Measured:
    with server(options, app) as port:
        served = await capacity(port)
        load = Load(port, patience)
        began = time.monotonic()
        await load.at_rate(rate * served, options.seconds)
        first, last = began + options.warm, began + options.seconds
        window = [asked for asked in load.asked if first <= asked.at < last]
        in_window = sum(asked.status == 200 and first <= asked.over_at < last for asked in load.asked)
        refused = [asked for asked in window if asked.status == 503]
        after = await Load(port, FOREVER).ask()
        # The machine may have been busier with something else at one of the times.
        served = max(served, await capacity(port))
        return Measured(
            app=app,
            rate=rate,
            patience=patience,
            goodput=in_window / ((last - first) * served),
            answered=[asked.seconds for asked in window if asked.status == 200],
            refused=[asked.seconds for asked in refused],
            gave_up=sum(asked.has_given_up for asked in window),
            others=[asked for asked in window if asked.status not in (200, 503) and not asked.has_given_up],
            has_retry_after=all(asked.has_retry_after for asked in refused),
            after=after,
        )


def quantile(values: Sequence[float], part: float) -> str:
    """A quantile as text."""
    return f"{sorted(values)[min(len(values) - 1, int(len(values) * part))]:.2f}" if values else "–"


def row(rounds: list[Measured]) -> list[str]:
    """The medians of some rounds, and the worst goodput."""
    first = rounds[0]
    goodputs = [measured.goodput for measured in rounds]

    def middle(figures: list[str]) -> str:
        return sorted(figures)[len(figures) // 2]

    retry = all(measured.has_retry_after for measured in rounds)
    return [
        first.app,
        f"{first.rate:g}x",
        f"{first.patience:g} s",
        f"{statistics.median(goodputs):.0%} ({min(goodputs):.0%})",
        *[middle([quantile(measured.answered, part) for measured in rounds]) for part in (0.5, 0.99)],
        f"{statistics.median(len(measured.refused) for measured in rounds):.0f}{'' if retry else ' WITHOUT retry-after'}",
        *[middle([quantile(measured.refused, part) for measured in rounds]) for part in (0.5, 0.99)],
        f"{statistics.median(measured.gave_up for measured in rounds):.0f}",
        str(sum(len(measured.others) for measured in rounds)),
        ", ".join(f"{measured.after.status} in {measured.after.seconds * 1000:.0f} ms" for measured in rounds),
    ]


HEADS = [
    "app", "load", "clients wait", "goodput, median (worst)", "200: p50 s", "p99 s", "503: number", "p50 s", "p99 s",
    "gave up", "neither", "one GET afterwards",
]  # fmt: skip


def document(options: argparse.Namespace, cells: list[list[Measured]]) -> str:
    version = subprocess.run([options.hcrs, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    lines = [
        f"# hcrs beyond its capacity, {today()}{options.name and ', ' + options.name}",
        "",
        f"- hcrs: {version}, commit {options.commit}, {WORKERS} workers",
        f"- machine: {os.cpu_count()} CPUs, Linux {platform.release()}, Python {platform.python_version()}",
        f"- a request keeps its worker for {options.busy * 1000:g} ms, {'computing' if options.compute else 'blocked'}",
        f"- {options.rounds} rounds; the load lasts {options.seconds:g} s, and its first {options.warm:g} s are not counted",
        f"- queue_timeout: {'the default' if options.queue_timeout is None else f'{options.queue_timeout:g} s'}",
        "",
        *("| " + " | ".join(line) + " |" for line in [HEADS, ["---"] * len(HEADS), *map(row, cells)]),
    ]
    return "\n".join(lines) + "\n"


def today() -> str:
    return time.strftime("%Y-%m-%d")


def commit() -> str:
    """The checkout's commit; called dirty if hcrs's sources are not as committed."""
    git = ["git", "-C", str(CHECKOUT)]
    head = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True).stdout
    dirty = subprocess.run([*git, "status", "--porcelain", "--", *SOURCES], capture_output=True, text=True, check=True)
    return head.strip() + ("-dirty" if dirty.stdout else "")


def main() -> int:
    options = arguments()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    cells = [
        (app, float(rate), float(patience))
        for app in options.apps.split(",")
        for patience in options.patience.split(",")
        for rate in options.rates.split(",")
    ]
    measured: list[list[Measured]] = [[] for _ in cells]
    for _ in range(options.rounds):
        for cell, (app, rate, patience) in zip(measured, cells, strict=True):
            cell.append(asyncio.run(measure(options, app, rate, patience)))
            print(" | ".join(row(cell[-1:])), *cell[-1].others[:3], flush=True)
    page = document(options, measured)
    print(page)
    options.out.mkdir(parents=True, exist_ok=True)
    name = "-".join(filter(None, [today(), options.commit, options.name]))
    (options.out / f"{name}.md").write_text(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
