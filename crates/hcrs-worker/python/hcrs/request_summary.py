"""Lists of requests for the log, and the lines that an app's runners write about them."""

from __future__ import annotations

import collections
import logging
from collections.abc import Iterable
from typing import Any

log = logging.getLogger("hcrs.error")

#: Distinct requests that a line of the log names.
NAMED_MAX = 10


def request_line(scope: dict[str, Any]) -> str:
    """Returns a scope's method and path, as in ``GET /mail``."""
    return f"{scope.get('method') or 'WebSocket'} {scope.get('path')}"


def summary(requests: Iterable[str]) -> str:
    """Returns the request lines with their counts, the most frequent first, as in ``GET /mail (2), GET /report``."""
    counts = collections.Counter(requests).most_common()
    texts = [line if count == 1 else f"{line} ({count})" for line, count in counts[:NAMED_MAX]]
    if len(counts) > NAMED_MAX:
        texts.append(f"{len(counts) - NAMED_MAX} others")
    return ", ".join(texts)


def log_abandoned(requests: list[str]) -> None:
    """Logs the requests that did not end although they were cancelled."""
    log.warning("Abandoning requests that did not end in time: %d (%s)", len(requests), summary(requests))
