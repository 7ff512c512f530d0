"""docs/compatibility.md names every difference that the tests see, with the same reason."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from parity import test_apps, test_http1, test_http2, test_life, test_requests, test_websocket
from parity.differences import DIFFERENCES

PAGE = Path(__file__).parents[3] / "docs" / "compatibility.md"

CASES = {
    *test_requests.CASES,
    *test_http1.CASES,
    *test_http2.CASES,
    *test_websocket.CASES,
    *test_apps.CASES,
    *test_life.CASES,
}


def rows() -> dict[tuple[str, str], list[str]]:
    """The cells of each row, by section and subject."""
    found: dict[tuple[str, str], list[str]] = {}
    section = ""
    for line in PAGE.read_text().splitlines():
        if line.startswith("## "):
            section = line.removeprefix("## ")
        elif line.startswith("| ") and not line.startswith("| subject "):
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            assert len(cells) == 4, line
            assert (section, cells[0]) not in found, line
            found[section, cells[0]] = cells
    return found


@pytest.mark.parametrize("difference", DIFFERENCES, ids=lambda it: f"{it.section}: {it.subject}")
def test_page_has_the_difference_and_its_reason(difference: Any) -> None:
    cells = rows()[difference.section, difference.subject]
    assert cells[3] == difference.why
    assert cells[1] and cells[2]


@pytest.mark.parametrize("difference", DIFFERENCES, ids=lambda it: f"{it.section}: {it.subject}")
def test_difference_is_looked_for_in_a_case(difference: Any) -> None:
    for row in difference.seen:
        assert any(row.names(case, row.facet) for case in CASES), row.cases


def test_every_row_of_the_page_is_whole() -> None:
    for (section, subject), cells in rows().items():
        assert all(cells[1:]), (section, subject)


def test_no_difference_is_listed_twice() -> None:
    names = [(difference.section, difference.subject) for difference in DIFFERENCES]
    assert len(names) == len(set(names))
