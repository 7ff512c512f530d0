"""NiceGUI: its page, whose every event goes over its WebSocket."""

from __future__ import annotations

from site_table import Site
from visit import Visit


def drive(visit: Visit) -> None:
    with visit.live_page(shows="not clicked") as page:
        with visit.step("clicks"):
            for count in (1, 2, 3):
                page.click("button")
                page.until_text(f"clicked {count} times")
        with visit.step("writes"):
            page.type("input", "Ann")
            page.until_text("Hello, Ann")


SITE = Site(
    "NiceGUI",
    ("nicegui", "fastapi", "python-socketio", "uvicorn"),
    "app:app",
    "asgi",
    drive,
    workers=1,
    one_worker_because="the state of a page lives in the process that has made it",
)
