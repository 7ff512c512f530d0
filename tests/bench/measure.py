"""One cell of the table: a scenario with a server, once. A cell is a dict of named numbers."""

import contextlib
import json
import subprocess
import time
from dataclasses import dataclass

import edges
import idle
import proctree
from echo import EchoLoader
from load import Loader, Outcome, Shape, percentile
from scenarios import IDLE_CONNECTIONS, MIXED_PER_SECOND, Scenario
from servers import WITH_EDGE, DidNotStart, Running, Site, Toolbox, free_port

# How long idle connections rest before memory is read.
SETTLE_S = 1.0
DIRECT_CALLS_PER_S = 12_000


@dataclass(frozen=True)
class Bench:
    """State shared by all measurements of a run."""

    tools: Toolbox
    loader: Loader
    echo_loader: EchoLoader | None  # where a scenario wants it
    seconds: float  # that a measured run is to take

    def cell(self, scenario: Scenario, server: str) -> dict:
        """Measures. A server that does not start, or refuses, makes a cell with `error`."""
        if scenario.kind == "direct":
            return self._direct()
        site = Site(
            app=scenario.app,
            interface=scenario.interface,
            tls=scenario.tls,
            workers=scenario.workers,
            wsgi_threads=scenario.wsgi_threads,
            path=scenario.ready_path,
            pathsend=scenario.pathsend,
            folder=self.tools.scratch / "files" if scenario.files else None,
            upstream=free_port() if scenario.proxied else 0,
            coding=scenario.coding,
            routes=scenario.routes,
            quic=scenario.shape.h3,
        )
        upstream = edges.Upstream(self.tools.scratch, site.upstream) if scenario.proxied else contextlib.nullcontext()
        how = {"mixed": self._mixed, "echo": self._echo, "idle": self._idle}.get(scenario.kind, self._load)
        try:
            with upstream, Running(server, self.tools, site) as running:
                return how(scenario, running)
        except (DidNotStart, idle.Refused) as error:
            return {"error": str(error)}

    def _load(self, scenario: Scenario, running: Running) -> dict:
        shape = scenario.shape
        rate = self.loader.calibrate(running.base, shape, running.body)
        count = max(shape.connections * shape.streams, int(rate * self.seconds))
        cell, outcome = self._measured(running, shape, count)
        if scenario.kind == "transfer":
            cell["bytes_per_s"] = outcome.rate * scenario.transfer
        return cell

    def _mixed(self, scenario: Scenario, running: Running) -> dict:
        # Several connections, so that each worker of each server is warm.
        self.loader.calibrate(running.base, Shape(connections=8, paths=("/fast",)), running.body)
        # Slow ones come five times a second: fewer than 3 s of them say nothing about p99.
        count = int(MIXED_PER_SECOND * max(3.0, self.seconds))
        cell, outcome = self._measured(running, scenario.shape, count)
        fast = outcome.latencies.get(200, [])
        cell |= {
            "fast_p50_us": percentile(fast, 0.50),
            "fast_p99_us": percentile(fast, 0.99),
            "fast_max_us": percentile(fast, 1.0),
            "slow": len(outcome.latencies.get(202, [])),
        }
        return cell

    def _measured(self, running: Running, shape: Shape, count: int) -> tuple[dict, Outcome]:
        tree, edge = proctree.tree_cpu_s(running.pid), proctree.cpu_s(running.pid)
        outcome = self.loader.run(running.base, shape, count, running.body)
        tree = proctree.tree_cpu_s(running.pid) - tree
        edge = proctree.cpu_s(running.pid) - edge
        good = outcome.good()
        completed = max(1, len(good))
        cell = {
            "requests": outcome.asked,
            "failed": outcome.failed,
            "seconds": outcome.seconds,
            "rate": outcome.rate,
            "cpu_us": tree / completed * 1e6,
            "mean_us": sum(good) / completed,
            "p50_us": percentile(good, 0.50),
            "p99_us": percentile(good, 0.99),
            "rss": proctree.tree_rss(running.pid),
            "client_cpu": outcome.client_cpu_s / outcome.seconds if outcome.seconds else 0.0,
        }
        if running.name in WITH_EDGE:
            cell |= {"edge_cpu_us": edge / completed * 1e6, "edge_rss": proctree.rss(running.pid)}
        return cell, outcome

    def _echo(self, scenario: Scenario, running: Running) -> dict:
        assert self.echo_loader is not None
        warm = self.echo_loader.calibrate(running.port, scenario.chat)
        if warm.words:
            return {"error": warm.words}
        count = max(scenario.chat.connections, int(warm.rate * self.seconds))
        tree, edge = proctree.tree_cpu_s(running.pid), proctree.cpu_s(running.pid)
        echoed = self.echo_loader.run(running.port, scenario.chat, count)
        tree = proctree.tree_cpu_s(running.pid) - tree
        edge = proctree.cpu_s(running.pid) - edge
        completed = max(1, echoed.done)
        cell = {
            "requests": echoed.asked,
            "failed": echoed.failed,
            "rate": echoed.rate,
            "cpu_us": tree / completed * 1e6,
            "mean_us": echoed.mean_us,
            "p99_us": echoed.p99_us,
            "rss": proctree.tree_rss(running.pid),
            "client_cpu": echoed.client_cpu_s / echoed.seconds if echoed.seconds else 0.0,
        }
        if running.name in WITH_EDGE:
            cell |= {"edge_cpu_us": edge / completed * 1e6, "edge_rss": proctree.rss(running.pid)}
        return cell

    def _idle(self, scenario: Scenario, running: Running) -> dict:
        time.sleep(SETTLE_S)
        cell = {"rest": proctree.tree_rss(running.pid)}
        if running.name in WITH_EDGE:
            cell["edge_rest"] = proctree.rss(running.pid)
        h3_load = self.loader.h3_command
        opened = (
            idle.HeldOverH3(h3_load, running.port, IDLE_CONNECTIONS)
            if scenario.shape.h3 and h3_load
            else idle.Held(running.port, IDLE_CONNECTIONS)
        )
        with opened as held:
            time.sleep(SETTLE_S)
            cell["held"] = proctree.tree_rss(running.pid)
            if running.name in WITH_EDGE:
                cell["edge_held"] = proctree.rss(running.pid)
                cell["edge_connection"] = (cell["edge_held"] - cell["edge_rest"]) / IDLE_CONNECTIONS
            cell["failed"] = held.lost()
        return cell

    def _direct(self) -> dict:
        calls = int(DIRECT_CALLS_PER_S * self.seconds)
        done = subprocess.run(
            [self.tools.bin / "python", "direct.py", str(calls)],
            cwd=self.tools.apps.parent,
            env={"PYTHONPATH": str(self.tools.apps), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            timeout=self.loader.limit_s,
        )
        if done.returncode:
            return {"error": done.stderr[-600:].strip()}
        times = json.loads(done.stdout)
        return {"failed": 0, "requests": calls, "rate": 1e6 / times["wall_us"], **times}
