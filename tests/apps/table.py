"""The result of a run, as a page of Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from servers import SERVERS
from site_table import Site
from visit import Step

#: How much of a failure the table tells, in characters.
TOLD = 400


@dataclass
class Outcome:
    """The outcome of the visits of one app."""

    site: Site
    versions: dict[str, str] = field(default_factory=dict)
    #: For each server that it was visited on.
    steps: dict[str, list[Step]] = field(default_factory=dict)
    #: Why it could not be visited at all.
    failure: str = ""

    def failures(self, server: str) -> list[Step]:
        return [step for step in self.steps.get(server, []) if step.failure]

    @property
    def has_failed(self) -> bool:
        """Whether anything is wrong on hcrs."""
        return bool(self.failure) or any(self.failures(server) for server in self.steps if server != "reference")


def document(outcomes: Sequence[Outcome], setting: Mapping[str, str], servers: Sequence[str]) -> str:
    """The page."""
    lines = ["# Apps of others on hcrs", ""]
    lines += ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in setting.items()), ""]
    heads = [SERVERS[server] for server in servers]
    lines += [f"| app | version | interface, workers | {' | '.join(heads)} |", f"|---|---|---|{'---|' * len(heads)}"]
    for outcome in outcomes:
        site = outcome.site
        cells = [_cell(outcome, server) for server in servers]
        workers = "2 workers" if site.workers == 2 else f"{site.workers} worker"
        version = ", ".join(
            version if place == 0 else f"{name} {version}"
            for place, (name, version) in enumerate(outcome.versions.items())
        )
        lines.append(f"| {site.title} | {version} | {site.interface.upper()}, {workers} | {' | '.join(cells)} |")
    alone = [outcome.site for outcome in outcomes if outcome.site.workers == 1]
    if alone:
        lines += ["", "One worker, because:", "", *(f"- {site.title}: {site.one_worker_because}" for site in alone)]
    lines += ["", "## Steps", ""]
    for outcome in outcomes:
        lines += [f"### {outcome.site.title}", ""]
        if outcome.failure:
            lines += [f"Not visited: {_short(outcome.failure)}", ""]
        lines += _steps(outcome, servers)
    return "\n".join(lines).rstrip() + "\n"


def _cell(outcome: Outcome, server: str) -> str:
    steps = outcome.steps.get(server)
    if steps is None:
        return "not visited"
    failed = outcome.failures(server)
    if not failed:
        return f"{len(steps)} of {len(steps)}"
    return f"**{len(steps) - len(failed)} of {len(steps)}**; fails: {', '.join(step.name for step in failed)}"


def _steps(outcome: Outcome, servers: Sequence[str]) -> list[str]:
    visited = [server for server in servers if server in outcome.steps]
    if not visited:
        return []
    names = list(dict.fromkeys(step.name for server in visited for step in outcome.steps[server]))
    lines = [f"| step | {' | '.join(SERVERS[server] for server in visited)} |", f"|---|{'---|' * len(visited)}"]
    for name in names:
        cells = []
        for server in visited:
            step = next((step for step in outcome.steps[server] if step.name == name), None)
            cells.append("–" if step is None else f"FAILED: {_short(step.failure)}" if step.failure else step.note or "ok")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return [*lines, ""]


def _short(text: str) -> str:
    line = " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
    return line if len(line) <= TOLD else f"{line[:TOLD]} …"
