#!/usr/bin/env python3
"""Measures hcrs beside other app servers, nginx, h2o, Caddy and HAProxy; README.md says how and why.

`python3 tests/bench/bench.py` makes its own venv, measures every scenario with every server
in turn, several rounds, and writes a table and a plot into results/.
"""

import argparse
import fnmatch
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import chart
import edges
import prepare
import report
from echo import EchoLoader
from load import Loader
from measure import Bench
from scenarios import TRANSFER_BYTES, Scenario, plan
from servers import COMMANDS, Toolbox

HERE = Path(__file__).resolve().parent
QUICK = (
    "bare_h1_c64,bare_h2_8x32,fastapi_h2_8x32,fastapi_direct,flask_h1_4t,"
    "down_h2_4x4,up_h2_4x4,mixed_h2_block,ws_echo_32,idle_h2_1000"
)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--rounds", type=int, help="how often each cell is measured (default 3)")
    add("--seconds", type=float, help="how long a measured run is to take (default 4)")
    add("--scenarios", help="comma-separated names or patterns, such as 'bare_*,idle_*'")
    add("--servers", help=f"comma-separated, of {', '.join(COMMANDS)} (default: all)")
    add("--quick", action="store_true", help="one short round of a few scenarios: does it work?")
    add("--python", default="python3", help="makes the venv and runs the apps (default python3)")
    add("--hcrs", type=Path, help="an hcrs command or wheel; default: build this checkout")
    add("--former", type=Path, help="the hcrs command of another commit, measured beside this one")
    add("--pin", action="store_true", help="the client on the last CPU, servers on the others")
    add("--out", type=Path, help="folder for the results (default tests/bench/results)")
    add("--list", action="store_true", help="print the scenarios and end")
    told = parser.parse_args()
    told.rounds = told.rounds or (1 if told.quick else 3)
    told.seconds = told.seconds or (0.5 if told.quick else 4.0)
    told.scenarios = told.scenarios or (QUICK if told.quick else "*")
    everyone = [name for name in COMMANDS if name != "former"]
    told.servers = (told.servers or ",".join(everyone)).split(",")
    if told.former and "former" not in told.servers:
        told.servers.append("former")
    unknown = set(told.servers) - set(COMMANDS)
    if unknown:
        parser.error(f"no server is called {', '.join(sorted(unknown))}; there are {', '.join(COMMANDS)}")
    if told.out is None:
        told.out = Path(tempfile.gettempdir()) / "hcrs-bench" if told.quick else HERE / "results"
    return told


def chosen(scenarios: list[Scenario], patterns: str) -> list[Scenario]:
    found = [
        scenario
        for scenario in scenarios
        if any(fnmatch.fnmatch(scenario.name, pattern) for pattern in patterns.split(","))
    ]
    if not found:
        sys.exit(f"no scenario matches {patterns}; --list names them")
    return found


def rounds(bench: Bench, scenarios: list[Scenario], told: argparse.Namespace) -> dict:
    """All cells: scenario name → server → one dict for each round."""
    cells: dict[str, dict[str, list[dict]]] = {}
    for turn in range(told.rounds):
        for scenario in scenarios:
            asked = [s for s in scenario.servers if s in told.servers or s == "direct"]
            if "hcrs" in asked and "former" in told.servers:
                asked.insert(asked.index("hcrs") + 1, "former")
            shift = turn % max(1, len(asked))
            for server in asked[shift:] + asked[:shift]:
                cell = bench.cell(scenario, server)
                cells.setdefault(scenario.name, {}).setdefault(server, []).append(cell)
                told_as = report.one_line(scenario, cell)
                print(f"[{turn + 1}/{told.rounds}] {scenario.name:17} {server:15} {told_as}", flush=True)
    return cells


def pinned(told: argparse.Namespace) -> tuple[frozenset[int] | None, frozenset[int] | None]:
    """The CPUs of the servers and of h2load; None: all."""
    cpus = sorted(os.sched_getaffinity(0))
    if not told.pin:
        return None, None
    if len(cpus) < 2:
        sys.exit("--pin needs two CPUs")
    return frozenset(cpus[:-1]), frozenset(cpus[-1:])


def main() -> None:
    told = arguments()
    # So that a SIGTERM unwinds too, and no server is left behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    with tempfile.TemporaryDirectory(prefix="hcrs-bench-") as folder:
        scratch = Path(folder)
        upload = scratch / "upload"
        upload.write_bytes(bytes(TRANSFER_BYTES))
        scenarios = plan(upload)
        if told.list:
            print("\n".join(f"{scenario.name:17} {scenario.title}" for scenario in scenarios))
            return
        scenarios = chosen(scenarios, told.scenarios)
        h2load = shutil.which("h2load") or sys.exit("h2load is missing: apt-get install nghttp2-client")
        wanted = {server for scenario in scenarios for server in scenario.servers}
        missing = [name for name in edges.COMMANDS if name in wanted & set(told.servers) and not shutil.which(name)]
        if missing:
            sys.exit(f"missing: apt-get install {' '.join(missing)}; or leave them out with --servers")
        venv = prepare.venv(HERE, told.python)
        hcrs = prepare.hcrs(HERE, venv, told.hcrs) if "hcrs" in told.servers else venv / "bin/hcrs"
        cert, key = prepare.certificate(HERE, venv, scratch)
        server_cpus, client_cpus = pinned(told)
        tools = Toolbox(venv / "bin", hcrs, told.former, HERE / "apps", scratch, cert, key, server_cpus)
        h3_load = prepare.client(HERE, prepare.H3_CLIENT) if any(s.shape.h3 for s in scenarios) else None
        loader = Loader(h2load, h3_load, scratch, client_cpus, limit_s=20 + 6 * told.seconds)
        echoes = any(scenario.kind == "echo" for scenario in scenarios)
        echo_client = prepare.client(HERE, prepare.ECHO_CLIENT) if echoes else None
        echo_loader = EchoLoader(echo_client, client_cpus, loader.limit_s) if echo_client else None
        bench = Bench(tools, loader, echo_loader, told.seconds)
        setting = prepare.setting(HERE, tools, told)
        begun = time.monotonic()
        cells = rounds(bench, scenarios, told)
        setting["took"] = f"{(time.monotonic() - begun) / 60:.0f} min"
    told.out.mkdir(parents=True, exist_ok=True)
    stem = f"{time.strftime('%Y-%m-%d')}-{setting['commit']}"
    text = report.document(scenarios, cells, setting, f"{stem}.svg")
    (told.out / f"{stem}.md").write_text(text)
    (told.out / f"{stem}.svg").write_text(chart.draw(scenarios, cells))
    print("\n" + report.ratios(cells))
    print(f"\nwrote {told.out / stem}.md and .svg")


if __name__ == "__main__":
    main()
