"""The plot: for each scenario, bars for the servers, drawn as SVG by hand.

Left the main figure, where longer is better; right the CPU per request, where shorter is.
"""

from html import escape
from statistics import median

from scenarios import MIB, Scenario

COLOURS = {
    "hcrs": "#c2410c",
    "former": "#f59e0b",
    "granian": "#1d4ed8",
    "uvicorn": "#0f766e",
    "uvicorn_wsproto": "#0e7490",
    "hypercorn": "#7e22ce",
    "gunicorn": "#4d7c0f",
    "nginx": "#15803d",
    "h2o": "#0369a1",
    "caddy": "#4338ca",
    "haproxy": "#a16207",
    "direct": "#6b7280",
}
# For each kind: (left heading, metric, unit divisor), (right heading, metric, unit divisor).
SIDES = {
    "load": (("requests/s", "rate", 1), ("CPU µs/request", "cpu_us", 1)),
    "transfer": (("MiB/s", "bytes_per_s", MIB), ("CPU ms/request", "cpu_us", 1e3)),
    "mixed": (("p99 of the fast, ms (shorter is better)", "fast_p99_us", 1e3), ("CPU µs/request", "cpu_us", 1)),
    "echo": (("messages/s", "rate", 1), ("CPU µs/message", "cpu_us", 1)),
    "idle": (("RSS at rest, MB (shorter is better)", "rest", 1e6), ("RSS with 1,000 connections, MB", "held", 1e6)),
}
WIDTH, NAME, SIDE, FIGURE = 1000, 120, 340, 70
BAR, GAP, HEAD = 14, 4, 44


def draw(scenarios: list[Scenario], cells: dict[str, dict[str, list[dict]]]) -> str:
    parts, top = [], 12
    for scenario in scenarios:
        by_server = cells.get(scenario.name, {})
        if scenario.kind in SIDES and by_server:
            drawn, top = _panel(scenario, by_server, top)
            parts += drawn
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{top}" '
        f'viewBox="0 0 {WIDTH} {top}" font-family="sans-serif" font-size="11">\n'
        f'<rect width="{WIDTH}" height="{top}" fill="#ffffff"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _panel(scenario: Scenario, by_server: dict[str, list[dict]], top: int) -> tuple[list[str], int]:
    parts = [_text(12, top + 14, scenario.title, 'font-weight="bold" font-size="13"')]
    servers = [server for server in scenario.servers if server in by_server]
    for side, (heading, metric, unit) in enumerate(SIDES[scenario.kind]):
        left = NAME + 12 + side * (SIDE + FIGURE + 30)
        parts.append(_text(left, top + 32, heading, 'fill="#555555"'))
        figures = [_figure(by_server[server], metric, unit) for server in servers]
        longest = max([figure for figure in figures if figure is not None], default=0) or 1
        for row, (server, figure) in enumerate(zip(servers, figures, strict=True)):
            y = top + HEAD + row * (BAR + GAP)
            if side == 0:
                parts.append(_text(12, y + BAR - 3, server))
            if figure is None:
                parts.append(_text(left, y + BAR - 3, "–"))
                continue
            length = max(1.0, figure / longest * SIDE)
            parts.append(
                f'<rect x="{left}" y="{y}" width="{length:.1f}" height="{BAR}" fill="{COLOURS[server]}"/>'
            )
            failed = " (failed some)" if any(cell.get("failed") for cell in by_server[server]) else ""
            parts.append(_text(left + length + 5, y + BAR - 3, _short(figure) + failed))
    return parts, top + HEAD + len(servers) * (BAR + GAP) + 16


def _figure(cells: list[dict], metric: str, unit: float) -> float | None:
    found = [cell[metric] / unit for cell in cells if metric in cell]
    return median(found) if found else None


def _short(figure: float) -> str:
    return f"{figure:,.0f}" if figure >= 100 else f"{figure:,.1f}"


def _text(x: float, y: float, words: str, style: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(words)}</text>'
