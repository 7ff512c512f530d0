"""MLflow: a run that is logged and found again by its client, and its page."""

from __future__ import annotations

from site_table import Site
from visit import Visit


def drive(visit: Visit) -> None:
    with visit.step("logs a run and finds it by its client"):
        visit.run("client.py", seconds=120)
    visit.page_step("page of the experiments", "/#/experiments", shows="visits")


SITE = Site(
    "MLflow",
    ("mlflow", "fastapi", "uvicorn"),
    "app:app",
    "asgi",
    drive,
    ready="/health",
    page_may_report={"users/current": "asked in any case, and there are no users"},
)
