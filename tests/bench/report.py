"""Cells into words: a line while measuring, the table of ratios, the results document.

A figure is the median over the rounds; ± is half of what lies between its lowest and its
highest, in per cent. A ratio is the median of the rounds' own ratios, so that what slows the
whole machine for a while falls out of it.
"""

from statistics import median

from scenarios import CEILINGS, GOALS, MIB, Goal, Scenario
from servers import COMMANDS, WITH_EDGE

# For each kind: the columns, as (heading, metric, unit divisor, decimals).
LATENCY = [("mean ms", "mean_us", 1e3, 2), ("p99 ms", "p99_us", 1e3, 2)]
MEMORY = [("RSS MB", "rss", 1e6, 0), ("edge MB", "edge_rss", 1e6, 1)]
CPU = [("CPU µs/request", "cpu_us", 1, 1), ("of it edge", "edge_cpu_us", 1, 1)]
CLIENT = [("client CPU %", "client_cpu", 0.01, 0)]
MESSAGE_CPU = [("CPU µs/message", "cpu_us", 1, 1), ("of it edge", "edge_cpu_us", 1, 1)]
COLUMNS = {
    "load": [("requests/s", "rate", 1, 0), *CPU, *LATENCY, *MEMORY, *CLIENT],
    "transfer": [("MiB/s", "bytes_per_s", MIB, 0), *CPU, *LATENCY, *MEMORY, *CLIENT],
    "mixed": [
        ("fast p50 ms", "fast_p50_us", 1e3, 2),
        ("fast p99 ms", "fast_p99_us", 1e3, 2),
        ("fast max ms", "fast_max_us", 1e3, 1),
        ("requests/s", "rate", 1, 0),
        *CPU,
        *MEMORY,
    ],
    "echo": [("messages/s", "rate", 1, 0), *MESSAGE_CPU, *LATENCY, *MEMORY, *CLIENT],
    "idle": [
        ("RSS at rest MB", "rest", 1e6, 1),
        ("RSS with connections MB", "held", 1e6, 1),
        ("edge at rest MB", "edge_rest", 1e6, 1),
        ("edge with connections MB", "edge_held", 1e6, 1),
        ("of it a connection KB", "edge_connection", 1e3, 1),
    ],
    "direct": [("calls/s", "rate", 1, 0), ("CPU µs/call", "cpu_us", 1, 1)],
}

Cells = dict[str, dict[str, list[dict]]]


def one_line(scenario: Scenario, cell: dict) -> str:
    if "error" in cell:
        return f"FAILED: {cell['error']}"
    shown = [
        f"{cell[metric] / unit:,.{decimals}f} {heading}"
        for heading, metric, unit, decimals in COLUMNS[scenario.kind]
        if metric in cell
    ]
    failed = f"  FAILED {cell['failed']} of {cell.get('requests', '?')}" if cell["failed"] else ""
    return " · ".join(shown) + failed


def values(cells: list[dict], metric: str) -> list[float]:
    return [cell[metric] for cell in cells if metric in cell]


def middle(cells: list[dict], metric: str) -> float | None:
    found = values(cells, metric)
    return median(found) if found else None


def document(scenarios: list[Scenario], cells: Cells, setting: dict, plot: str) -> str:
    told = [
        f"# hcrs beside its peers, {plot.removesuffix('.svg')}",
        f"![Requests/s and CPU per request of each server]({plot})",
        "What each column means, and what is done to be fair, is in [../README.md](../README.md).",
        "## Ratios to reach\n\n" + ratios(cells),
        "## Against every server\n\n" + against_all(scenarios, cells),
    ]
    told += [section(scenario, cells[scenario.name]) for scenario in scenarios if scenario.name in cells]
    told.append(_setting(setting))
    return "\n\n".join(told) + "\n"


def section(scenario: Scenario, by_server: dict[str, list[dict]]) -> str:
    columns = [
        column
        for column in COLUMNS[scenario.kind]
        if any(column[1] in cell for cells in by_server.values() for cell in cells)
    ]
    rows = [["server", *[heading for heading, *_ in columns], "failed"]]
    for server in (*scenario.servers, "former"):
        if server in by_server:
            rows.append(_row(server, columns, by_server[server]))
    return f"## {scenario.title}\n\n`{scenario.name}`\n\n{_table(rows)}"


def _row(server: str, columns: list[tuple], cells: list[dict]) -> list[str]:
    shown = []
    for position, (_, metric, unit, decimals) in enumerate(columns):
        found = values(cells, metric)
        if not found:
            shown.append("")
            continue
        text = f"{median(found) / unit:,.{decimals}f}"
        if position == 0 and len(found) > 1 and median(found):
            text += f" ±{(max(found) - min(found)) / 2 / median(found) * 100:.0f} %"
        shown.append(text)
    return [server, *shown, _failed(cells)]


def _failed(cells: list[dict]) -> str:
    """Nothing, or what a cell's mark has to say: a marked cell's other figures are not to be trusted."""
    errors = [cell["error"] for cell in cells if "error" in cell]
    if errors:
        last = errors[-1].splitlines()[-1].replace("|", "\\|")
        return f"**did not run {len(errors)} of {len(cells)} times**: {last}"
    lost = sum(cell["failed"] for cell in cells)
    asked = sum(cell.get("requests", 0) for cell in cells)
    return f"**{lost:,}** of {asked:,}" if lost else "0"


def ratios(cells: Cells) -> str:
    """The goals, and how far each is reached."""
    rows = [["what", "against", "at least", "measured", ""]]
    for goal in GOALS:
        found = goal_ratios(goal, cells)
        if found:
            rows.append(_goal_row(goal, found, cells))
    for words, scenario, metric, bound in CEILINGS:
        got = middle(cells.get(scenario, {}).get("hcrs", []), metric)
        if got is not None:
            verdict = "reached" if got <= bound else "**short**"
            rows.append([words, "", f"at most {bound / 1e6:.0f} MB", f"{got / 1e6:.1f} MB", verdict])
    return _table(rows) if len(rows) > 1 else "(hcrs or what it is compared with was not measured)"


def _goal_row(goal: Goal, found: list[float], cells: Cells) -> list[str]:
    got = median(found)
    floor = goal.better == "floor"
    reached = got <= goal.bound if floor else got >= goal.bound
    bound = f"at most {goal.bound}x" if floor else f"{goal.bound}x"
    measured = f"{got:.2f}x ({min(found):.2f}–{max(found):.2f})"
    verdict = "reached" if reached else "**short**"
    marked = [cell for cell in cells[goal.scenario].get(goal.against, []) if cell.get("failed")]
    if marked:
        verdict += ", but it failed requests"
    if any(cell.get("failed") for cell in cells[goal.scenario]["hcrs"]):
        verdict = "**void**: hcrs failed requests"
    return [goal.words, goal.against, bound, measured, verdict]


def goal_ratios(goal: Goal, cells: Cells) -> list[float]:
    """The ratio of each round in which both were measured."""
    ours = cells.get(goal.scenario, {}).get("hcrs", [])
    theirs = cells.get(goal.against_scenario or goal.scenario, {}).get(goal.against, [])
    found = []
    for mine, other in zip(ours, theirs, strict=False):
        a, b = mine.get(goal.metric), other.get(goal.metric)
        if a and b:
            found.append(b / a if goal.better == "less" else a / b)
    return found


def against_all(scenarios: list[Scenario], cells: Cells) -> str:
    """How many times better hcrs is than each peer, and than its former self; above 1 is in its favour."""
    metrics = {
        "load": [("requests/s", "rate", "more"), ("CPU/request", "cpu_us", "less"), ("mean latency", "mean_us", "less"), ("p99", "p99_us", "less")],
        "transfer": [("bytes/s", "bytes_per_s", "more"), ("CPU/request", "cpu_us", "less")],
        "mixed": [("p99 of the fast", "fast_p99_us", "less")],
        "echo": [("messages/s", "rate", "more"), ("CPU/message", "cpu_us", "less"), ("p99", "p99_us", "less")],
        "idle": [("memory at rest", "rest", "less"), ("memory with connections", "held", "less")],
    }
    others = ("former", *[name for name in COMMANDS if name not in WITH_EDGE])
    peers = [peer for peer in others if any(peer in c for c in cells.values())]
    rows = [["scenario", "metric", *peers]]
    for scenario in scenarios:
        for words, metric, better in metrics.get(scenario.kind, []):
            shown = [
                goal_ratios(Goal("", scenario.name, metric, peer, better, 0), cells) for peer in peers
            ]
            if any(shown):
                rows.append([f"`{scenario.name}`", words, *[f"{median(found):.2f}x" if found else "" for found in shown]])
    return _table(rows) if len(rows) > 1 else "(hcrs was not measured)"


def _setting(setting: dict) -> str:
    return f"""## Where and how

- machine: {setting['machine']}; load {setting['load']} at the start; {setting['pinned']}; client and server on the same machine, over loopback
- commit: {setting['commit']}
- Python {setting['python']}; {setting['hcrs']}; {setting['peers']}
- shared by all: {setting['shared']}
- {setting['edges']}
- client: {setting['h2load']}
- {setting['rounds']} rounds, {setting['seconds']} s a measurement, {setting['took']} in all

To repeat: `{setting['command']}`"""


def _table(rows: list[list[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)
