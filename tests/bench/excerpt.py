"""Cuts panels out of the plot of a run, for the README:

python3 tests/bench/excerpt.py tests/bench/results/2026-11-24-9d39af0.svg docs/benchmark.svg \
    'Bare ASGI, h2 TLS, 8 connections x 32 streams' 'FastAPI, h2 TLS, 8 connections x 32 streams' \
    'Flask, h1 cleartext, 64 connections, 4 threads' 'WebSocket echo of 32-byte texts, h1 cleartext, 64 connections'

Panels are named by their titles and drawn in the order of the arguments.
"""

import re
import sys
from pathlib import Path

# As chart.py draws a panel: its title first, in bold.
TITLE = re.compile(r'<text x="[\d.]+" y="(?P<y>[\d.]+)" font-weight="bold" font-size="13">(?P<title>[^<]*)</text>')
ABOVE = 14  # from the baseline of a title to the top of its panel


def excerpt(plot: str, wanted: list[str]) -> str:
    head = plot.splitlines()[0]
    width = re.search(r'width="(\d+)"', head)[1]
    height = float(re.search(r'height="(\d+)"', head)[1])
    found = list(TITLE.finditer(plot))
    tops = [float(title["y"]) - ABOVE for title in found] + [height]
    ends = [title.start() for title in found[1:]] + [plot.rindex("</svg>")]
    parts, top = [], 0.0
    for name in wanted:
        [index] = [index for index, title in enumerate(found) if title["title"] == name]
        body = plot[found[index].start() : ends[index]].rstrip()
        parts.append(f'<g transform="translate(0 {top - tops[index]:g})">\n{body}\n</g>')
        top += tops[index + 1] - tops[index]
    size = f'width="{width}" height="{top:g}" viewBox="0 0 {width} {top:g}"'
    opening = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="11">'
    return "\n".join([opening, f'<rect width="{width}" height="{top:g}" fill="#ffffff"/>', *parts, "</svg>\n"])


if __name__ == "__main__":
    source, target, *titles = sys.argv[1:]
    Path(target).write_text(excerpt(Path(source).read_text(), titles))
