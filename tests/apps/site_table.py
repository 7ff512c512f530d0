"""The facts of an app before it is served."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from visit import Visit

FOLDER = Path(__file__).resolve().parent / "sites"

#: Why many apps have one worker.
SESSION_IN_A_PROCESS = "a session lives in the process that has opened it"


@dataclass(frozen=True)
class Site:
    """An app, as it is served to be visited."""

    title: str
    #: The packages whose versions the table names, the app's own first.
    packages: tuple[str, ...]
    #: ``MODULE:ATTRIBUTE`` in the app's folder, or of what is installed.
    app: str
    #: ``asgi`` or ``wsgi``.
    interface: str
    #: Visits it: raises nothing, since a step that fails is recorded by the visit.
    drive: Callable[[Visit], None]
    workers: int = 2
    #: Why there is one worker only.
    one_worker_because: str = ""
    #: A path that is answered once it is ready.
    ready: str = "/"
    env: Mapping[str, str] = field(default_factory=dict)
    #: What the log may hold of it on every server: expressions, each with its reason.
    log_may_hold: Mapping[str, str] = field(default_factory=dict)
    #: What a browser may report of it on every server: expressions, each with its reason.
    page_may_report: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.workers == 1) != bool(self.one_worker_because):
            raise ValueError(f"{self.title}: one worker has a reason, and only one has")
        for expression in (*self.log_may_hold, *self.page_may_report):
            re.compile(expression)


def names() -> list[str]:
    """The folders of the apps."""
    return sorted(path.parent.name for path in FOLDER.glob("*/drive.py"))


def site(name: str) -> Site:
    """The app of a folder."""
    found: Site = importlib.import_module(f"sites.{name}.drive").SITE
    return found
