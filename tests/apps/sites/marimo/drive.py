"""marimo: a notebook's page, whose cells run by what is written into it."""

from __future__ import annotations

from site_table import SESSION_IN_A_PROCESS, Site
from visit import Visit


def drive(visit: Visit) -> None:
    with visit.live_page(shows="Hello, nobody") as page, visit.step("runs a cell anew"):
        field = "document.querySelector('marimo-text').shadowRoot.querySelector('input')"
        page.until(field)
        page.evaluate(f"{field}.focus()")
        page.insert_text("Ann")
        page.press_enter()
        page.until_text("Hello, Ann")


SITE = Site(
    "marimo",
    ("marimo", "starlette", "uvicorn"),
    "app:app",
    "asgi",
    drive,
    workers=1,
    one_worker_because=SESSION_IN_A_PROCESS,
    ready="/health",
)
