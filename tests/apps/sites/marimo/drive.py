"""marimo: a notebook's page, whose cells run by what is written into it."""

from __future__ import annotations

from site_table import Site
from visit import Visit


def drive(visit: Visit) -> None:
    with visit.page(stays=True) as page:
        with visit.step("WebSocket of the page") as step:
            page.until_text("Hello, nobody")
            step.note = page.open_socket().protocol
        with visit.step("runs a cell anew"):
            field = "document.querySelector('marimo-text').shadowRoot.querySelector('input')"
            page.until(field)
            page.evaluate(f"{field}.focus()")
            page.insert_text("Ann")
            page.press_enter()
            page.until_text("Hello, Ann")
        with visit.step("page") as step:
            step.note = page.assert_sound()


SITE = Site(
    "marimo",
    ("marimo", "starlette", "uvicorn"),
    "app:app",
    "asgi",
    drive,
    workers=1,
    one_worker_because="a session lives in the process that has opened it",
    ready="/health",
)
