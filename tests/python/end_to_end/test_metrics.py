"""Metrics, as the files for operators name them: the dashboard for Grafana uses metrics and labels that there are. The
tables of the guide are those of the code, which a test of the crate ``hcrs-metrics`` checks."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
DASHBOARD = ROOT / "examples" / "deploy" / "grafana-dashboard.json"
GUIDE = ROOT / "docs" / "guide" / "metrics.md"

#: A label that Prometheus adds to each series of a target.
OF_THE_TARGET = "instance"
#: A row of the guide's table of metrics: name, type and labels.
ROW = re.compile(r"^\| `(hcrs_\w+)` \| (counter|gauge|histogram|info) \| ([^|]*) \|", re.MULTILINE)


def _labels_of_samples() -> dict[str, set[str]]:
    """Returns the labels of each name that samples have."""
    labels = {}
    for name, kind, listed in ROW.findall(GUIDE.read_text(encoding="utf-8")):
        of_metric = set(re.findall(r"`(\w+)`", listed)) | {OF_THE_TARGET}
        if kind == "histogram":
            labels[f"{name}_bucket"] = of_metric
            labels[f"{name}_sum"] = labels[f"{name}_count"] = of_metric - {"le"}
        else:
            labels[name] = of_metric
    assert len(labels) > 25, "the table of the guide was found"
    return labels


def _dashboard() -> dict[str, Any]:
    dashboard: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return dashboard


def expressions() -> Iterator[str]:
    """The queries of all panels."""
    for panel in _dashboard()["panels"]:
        for target in panel.get("targets", []):
            yield target["expr"]


def test_the_dashboard_uses_metrics_and_labels_that_there_are() -> None:
    known = _labels_of_samples()
    used = set()
    for expression in expressions():
        names = set(re.findall(r"\bhcrs_\w+", expression))
        assert names and names <= known.keys(), expression
        used |= names
        for name, selectors in re.findall(r"\b(hcrs_\w+)\{([^}]*)\}", expression):
            assert set(re.findall(r"(\w+)\s*[=!]", selectors)) <= known[name], expression
        grouped = {label for group in re.findall(r"by \(([^)]*)\)", expression) for label in group.split(", ")}
        assert all(grouped <= known[name] for name in names), expression
    unused = {name for name in known if not name.endswith(("_sum", "_count", "_bucket"))} - used
    assert not unused, "each metric has its place in a panel"


def test_the_guide_names_metrics_that_there_are() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    known = {name.removesuffix("_bucket") for name in _labels_of_samples()} | _labels_of_samples().keys()
    named = set(re.findall(r"\bhcrs_\w+", text.partition("## All metrics")[0]))
    assert len(named) > 8 and named <= known, named - known


def test_the_dashboard_has_the_form_of_grafanas() -> None:
    dashboard = _dashboard()
    assert 36 <= dashboard["schemaVersion"] <= 41, "those of Grafana 10 and 11"
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken and all(x < 24 for x, _ in cells), panel["title"]
        taken |= cells
        if panel["type"] != "row":
            assert panel["targets"] and panel["datasource"]["uid"] == "${datasource}", panel["title"]
    variables = [variable["name"] for variable in dashboard["templating"]["list"]]
    assert variables == ["datasource", "instance"]
