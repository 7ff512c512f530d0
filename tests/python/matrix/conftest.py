"""Fixtures: servers of several kinds on one app, started once in a module."""

from __future__ import annotations

from pathlib import Path

import pytest

from end_to_end.conftest import TIMEOUT


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.timeout(TIMEOUT))
