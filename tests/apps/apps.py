#!/usr/bin/env python3
"""Serves apps of others by hcrs and drives them; README.md says how and why.

`make apps` visits all of them and writes a table into results/. It fails if anything fails on hcrs.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent.parent
sys.path.insert(0, str(HERE.parent / "python"))

import environments  # noqa: E402
import table  # noqa: E402
from browsing import Browser  # noqa: E402
from servers import SERVERS, Place, Running  # noqa: E402
from site_table import names, site  # noqa: E402
from visit import Step, Visit, in_a_line  # noqa: E402

SOURCES = ("crates", "Cargo.toml", "Cargo.lock", "pyproject.toml")
CHROMIUM = ("chromium", "certutil")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--list", action="store_true", help="name the apps, and end")
    add("--only", type=_list_of(names()), default=names(), metavar="NAME,...", help="these apps (default: all)")
    add("--servers", type=_list_of(list(SERVERS)), default=list(SERVERS), metavar="NAME,...", help=f"of {', '.join(SERVERS)}")
    add("--hcrs", type=Path, default=CHECKOUT / ".venv/bin/hcrs", help="the command (default: of .venv)")
    add("--environments", type=Path, default=CHECKOUT / "target/apps", help="folder of what is installed (default target/apps)")
    add("--python", type=Path, help="an environment's Python that has all apps: nothing is installed, and nothing asked of PyPI")
    add("--out", type=Path, help="folder for the table (default results/ for a run of everything, and none for less)")
    add("--logs", type=Path, help="folder for what the servers have said")
    told = parser.parse_args()
    if not told.list and not os.access(told.hcrs, os.X_OK):
        parser.error(f"{told.hcrs} is no command: run `make build`, or say --hcrs")
    # Not resolved: a link is found where it stands, beside its Python.
    told.hcrs, told.environments = told.hcrs.absolute(), told.environments.absolute()
    if told.out is None and (told.only, told.servers) == (names(), list(SERVERS)):
        told.out = HERE / "results"
    return told


def main() -> None:
    told = arguments()
    if told.list:
        for name in names():
            print(f"{name:<16}{site(name).title}")
        return
    # So that a SIGTERM unwinds too, and no server is left behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    outcomes = []
    with tempfile.TemporaryDirectory(prefix="hcrs-apps-") as folder:
        for name in told.only:
            outcome = visit_app(name, told, Path(folder))
            outcomes.append(outcome)
    dirty = output("git", "-C", CHECKOUT, "status", "--porcelain", "--", *SOURCES)
    commit = output("git", "-C", CHECKOUT, "rev-parse", "--short", "HEAD") + ("-dirty" if dirty else "")
    date = time.strftime("%Y-%m-%d")
    setting = {
        "date": date,
        "hcrs": f"{output(told.hcrs, '--version')}, commit {commit}",
        "machine": f"{os.cpu_count()} CPUs, {platform.system()} {platform.release()}, Python {platform.python_version()}",
        "browser": output("chromium", "--version") or "none",
    }
    text = table.document(outcomes, setting, told.servers)
    print(f"\n{text}")
    if told.out:
        told.out.mkdir(parents=True, exist_ok=True)
        path = told.out / f"{date}-{commit}.md"
        path.write_text(text)
        print(f"wrote {path}")
    failed = [outcome.site.title for outcome in outcomes if outcome.has_failed]
    if failed:
        sys.exit(f"{len(failed)} of {len(outcomes)} apps have failed on hcrs: {', '.join(failed)}")


def visit_app(name: str, told: argparse.Namespace, scratch: Path) -> table.Outcome:
    """Visits an app on each server."""
    outcome = table.Outcome(site(name))
    print(f"{outcome.site.title}:", flush=True)
    try:
        python = told.python or environments.make(name, told.environments, told.hcrs)
        outcome.versions = environments.versions(python, outcome.site.packages)
    except environments.CannotInstall as error:
        outcome.failure = str(error)
        print(f"  not installed: {error}", flush=True)
        return outcome
    for server in told.servers:
        folder = scratch / f"{name}-{server}"
        folder.mkdir()
        begun = time.monotonic()
        try:
            steps = visit_server(server, name, folder, python, told)
        except Exception as error:  # one app's visit does not cost the others theirs
            steps = [Step("is visited", failure=in_a_line(error))]
        outcome.steps[server] = steps
        failed = [step for step in steps if step.failure]
        took = time.monotonic() - begun
        print(f"  {SERVERS[server]}: {len(steps) - len(failed)} of {len(steps)} steps in {took:.0f} s", flush=True)
        for step in failed:
            print(f"    {step.name}: {step.failure}", flush=True)
        if told.logs and (folder / "server.log").exists():
            told.logs.mkdir(parents=True, exist_ok=True)
            shutil.copy(folder / "server.log", told.logs / f"{name}-{server}.log")
    return outcome


def visit_server(server: str, name: str, folder: Path, python: Path, told: argparse.Namespace) -> list[Step]:
    """Serves an app, visits it, and has the server end; returns what came of each step."""
    certs = folder / "certs"
    subprocess.run([told.hcrs, "cert", "dev", "--dir", certs], check=True, capture_output=True)
    place = Place(told.hcrs, python, folder, certs / "ca.pem", certs / "cert.pem", certs / "key.pem")
    running = Running(server, name, site(name), place)

    def chromium() -> Browser:
        home = Path(tempfile.mkdtemp(prefix="home-", dir=folder))
        return Browser(*CHROMIUM, home, place.authority)

    visit = Visit(running, chromium)
    with contextlib.ExitStack() as served:
        with visit.step("starts"):
            served.enter_context(running)
            served.callback(visit.close)
        if not visit.steps[0].failure:
            try:
                running.site.drive(visit)
            except Exception as error:
                visit.steps.append(Step("is driven to the end", failure=in_a_line(error)))
            end(running, visit)
    return visit.steps


def end(running: Running, visit: Visit) -> None:
    """The server's end and its log, which is only judged where hcrs has written it."""
    with visit.step("ends after SIGTERM") as step:
        code, seconds = running.stop()
        step.note = f"{code} after {seconds:.1f} s"
        if running.is_hcrs:
            assert code == 0, f"exit code {code} after {seconds:.1f} s: {running.log[-500:]}"
            left = running.left()
            assert not left, f"left behind: {'; '.join(left)}"
    if running.is_hcrs:
        with visit.step("has a clean log"):
            wrong = running.wrong_lines()
            assert not wrong, "; ".join(dict.fromkeys(wrong))


def output(*command: str | Path) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def _list_of(known: Sequence[str]) -> Callable[[str], list[str]]:
    def listed(text: str) -> list[str]:
        told = text.split(",")
        if unknown := [name for name in told if name not in known]:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: not of {', '.join(known)}")
        return told

    return listed


if __name__ == "__main__":
    main()
