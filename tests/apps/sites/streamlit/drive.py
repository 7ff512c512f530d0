"""Streamlit: its page, and each run of its script over its WebSocket."""

from __future__ import annotations

from site_table import SESSION_IN_A_PROCESS, Site
from visit import Visit


def drive(visit: Visit) -> None:
    with visit.live_page(shows="run 1, hello nobody") as page:
        with visit.step("runs anew for a button"):
            page.click_text("button", "Again")
            page.until_text("run 2, hello nobody")
        with visit.step("runs anew for a text"):
            page.type("input[aria-label=Name]", "Ann")
            page.press_enter()
            page.until_text("run 3, hello Ann")


SITE = Site(
    "Streamlit",
    ("streamlit", "starlette", "uvicorn"),
    "app:app",
    "asgi",
    drive,
    workers=1,
    one_worker_because=SESSION_IN_A_PROCESS,
    ready="/_stcore/health",
    page_may_report={"metrics": "it asks a server of its makers, and none is asked here"},
)
