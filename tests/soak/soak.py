#!/usr/bin/env python3
"""Keeps hcrs under a mixed load for a while and checks every answer; README.md says how and why.

`make soak` runs it for a quarter of an hour and writes a summary into results/. It fails if anything is wrong, missing or
left over.
"""

import argparse
import asyncio
import json
import os
import platform
import random
import resource
import signal
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import summary
from clients import Channel, Clients, numbers
from over_h1 import H1
from server import WORKERS, Server
from tally import Tally

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent.parent
SOURCES = ("crates", "Cargo.toml", "Cargo.lock", "pyproject.toml")
# What the edge may hold at the end beyond what it held before the first client, in MiB, and descriptors.
GROWTH_MIB = 24
GROWTH_DESCRIPTORS = 2
# How long everything may take to come back after the clients have gone, in seconds.
SETTLE_S = 30.0
# Of a thousand questions so many may be refused for overload.
OVERLOAD_PER_MILLE = 10
SAMPLE_S = 2.0
NEVER_S = 1e6


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--hcrs", type=Path, default=CHECKOUT / ".venv/bin/hcrs", help="the command (default: of .venv)")
    add("--seconds", type=float, default=900, help="how long clients ask (default 900)")
    add("--scale", type=float, default=1.0, help="how many clients there are, 1 for some 90 at a time (default 1)")
    add("--kill-every", type=float, default=20, metavar="SECONDS", help="a worker is killed (default 20; 0 never)")
    add("--reload-every", type=float, default=35, metavar="SECONDS", help="SIGHUP is sent (default 35; 0 never)")
    add("--seed", type=int, default=None, help="of what clients choose (default: another one each time)")
    add("--out", type=Path, default=HERE / "results", help="folder for the summary (default results/)")
    told = parser.parse_args()
    if not os.access(told.hcrs, os.X_OK):
        parser.error(f"{told.hcrs} is no command: run `make build`, or say --hcrs")
    if told.seed is None:
        told.seed = random.SystemRandom().randrange(1 << 32)
    return told


async def now_and_then(seconds: float, act: Callable[[], None]) -> None:
    """Does it about that often, and never for 0."""
    while True:
        await asyncio.sleep(seconds * random.uniform(0.5, 1.5) if seconds else NEVER_S)
        act()


async def soak(server: Server, told: argparse.Namespace, tally: Tally, samples: list) -> None:
    """Clients and disturbances, for as long as it was told."""

    def trust(protocol: str) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(server.certificate))
        context.set_alpn_protocols([protocol])
        return context

    def kill() -> None:
        at = time.monotonic()
        if server.kill_a_worker():
            tally.kills.append(at)

    def reload() -> None:
        tally.reloads.append(time.monotonic())
        server.reload()

    def sample() -> None:
        samples.append((time.monotonic() - tally.begun, *server.resources(server.process.pid)))

    clients = Clients(server.ports, trust, str(server.certificate), tally)
    asking = asyncio.create_task(clients.run(told.scale))
    beside = [
        asyncio.create_task(now_and_then(told.kill_every, kill)),
        asyncio.create_task(now_and_then(told.reload_every, reload)),
        asyncio.create_task(now_and_then(SAMPLE_S, sample)),
    ]
    done, _ = await asyncio.wait([asking, *beside], timeout=told.seconds, return_when=asyncio.FIRST_COMPLETED)
    clients.stopped.set()
    for task in beside:
        task.cancel()
    await asyncio.gather(*beside, return_exceptions=True)
    for task in done:
        task.result()  # none of them ends by itself
    await asking


async def under_way(server: Server) -> dict[int, int]:
    """Requests in flight in each worker, of the workers that answer one of many requests at once."""

    async def ask() -> dict[str, int]:
        connection, number = H1(server.ports["cleartext"], None), next(numbers)
        channel = Channel(connection, None)
        async with asyncio.timeout(SETTLE_S):
            await channel.ask("GET", "/state", number)
            told: dict[str, int] = json.loads(await channel.answer(number, None))
        connection.close()
        return told

    states = await asyncio.gather(*[ask() for _ in range(8 * WORKERS)])
    return {told["pid"]: told["under_way"] for told in states}


def settle(server: Server, before: dict[str, tuple[float, int]]) -> tuple[list[str], tuple[float, int]]:
    """Waits until all is as it was before; says what is not, and what the edge then holds."""
    until = time.monotonic() + SETTLE_S
    while True:
        left = []
        living = server.workers()
        edge = memory, descriptors = server.resources(server.process.pid)
        if memory > before["edge"][0] + GROWTH_MIB:
            left.append(f"the edge holds {memory:.1f} MiB; before the first client it held {before['edge'][0]:.1f}")
        if descriptors > before["edge"][1] + GROWTH_DESCRIPTORS:
            left.append(f"the edge has {descriptors} descriptors; before the first client it had {before['edge'][1]}")
        if len(living) != WORKERS:
            left.append(f"there are {len(living)} workers")
        for pid in living:
            memory, descriptors = server.resources(pid)
            if memory > before["worker"][0] + GROWTH_MIB:
                left.append(f"a worker holds {memory:.1f} MiB; before the first client it held {before['worker'][0]:.1f}")
            if descriptors > before["worker"][1] + GROWTH_DESCRIPTORS:
                left.append(f"a worker has {descriptors} descriptors; it had {before['worker'][1]}")
        if not left:
            states = asyncio.run(under_way(server))
            left += [f"worker {pid} has {count} requests under way" for pid, count in states.items() if count]
            if len(states) < WORKERS:
                left.append(f"of questions at once all go to {len(states)} of {WORKERS} workers")
        if not left or time.monotonic() > until:
            return left, edge
        time.sleep(0.5)


def output(*command: str | Path) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def main() -> None:
    told = arguments()
    # So that a SIGTERM unwinds too, and no server is left behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    random.seed(told.seed)
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    dirty = output("git", "-C", CHECKOUT, "status", "--porcelain", "--", *SOURCES)
    commit = output("git", "-C", CHECKOUT, "rev-parse", "--short", "HEAD") + ("-dirty" if dirty else "")
    samples: list[tuple[float, float, int]] = []
    findings: list[str] = []
    with tempfile.TemporaryDirectory(prefix="hcrs-soak-") as folder:
        server = Server(told.hcrs, Path(folder))
        try:
            before = {"edge": server.resources(server.process.pid), "worker": server.resources(server.workers()[0])}
            after = before["edge"]
            tally = Tally()
            try:
                asyncio.run(soak(server, told, tally, samples))
            except ExceptionGroup as error:
                findings.append(f"a client has ended: {error.exceptions!r}")
            took = time.monotonic() - tally.begun
            if server.process.poll() is not None:
                findings.append(f"hcrs has ended by itself with {server.process.returncode}")
            else:
                left, after = settle(server, before)
                findings += left
                if (code := server.stop()) != 0:
                    findings.append(f"the exit code after SIGTERM is {code}")
            findings += server.wrong_lines()
            errors = server.kinds_of_errors()
        finally:
            server.kill()
            if findings or tally.failed:
                print(server.log[-20_000:], file=sys.stderr)
    asked = sum(tally.counts.values())
    if tally.total("503") * 1000 > asked * OVERLOAD_PER_MILLE:
        findings.append(f"{tally.total('503')} of {asked} questions were refused for overload")
    date = time.strftime("%Y-%m-%d")
    setting = {
        "date": date,
        "hcrs": f"{output(told.hcrs, '--version')}, commit {commit}, {WORKERS} workers",
        "machine": f"{os.cpu_count()} CPUs, {platform.system()} {platform.release()}, Python {platform.python_version()}",
        "took": f"{took:.0f} s, seed {told.seed}",
        "disturbances": f"{len(tally.kills)} workers killed, {len(tally.reloads)} times SIGHUP",
        "questions": f"{asked}, {asked / took:.0f} each second; the slowest right answer took {tally.longest:.1f} s",
        "edge before, after": f"{before['edge'][0]:.1f} MiB, {before['edge'][1]} descriptors; "
        + (f"{after[0]:.1f} MiB, {after[1]} descriptors" if server.process.returncode == 0 else "it did not end well"),
        "log": "; ".join(f"{count} x {kind}" for kind, count in sorted(errors.items())) or "nothing but information",
    }
    text = summary.document(tally, setting, findings, samples)
    told.out.mkdir(parents=True, exist_ok=True)
    path = told.out / f"{date}-{commit}.md"
    path.write_text(text)
    print(f"{text}\nwrote {path}")
    if findings or tally.failed:
        sys.exit(f"{len(findings) + tally.failed} failures")


if __name__ == "__main__":
    main()
