"""Starts worker processes for tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from worker.fake_edge import Worker, worker

Serve = Callable[..., Worker]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Runs a module's source in a worker, as ``worker`` of fake_edge does."""
    with ExitStack() as stack:
        yield lambda source, *arguments, **how: stack.enter_context(
            worker(tmp_path, source, *arguments, **how)
        )


@pytest.fixture(params=["asyncio", "uvloop"])
def serve_on(request: pytest.FixtureRequest, serve: Serve) -> Serve:
    """The same, on each event loop."""
    return lambda source, *arguments, **how: serve(source, "--worker-class", request.param, *arguments, **how)
