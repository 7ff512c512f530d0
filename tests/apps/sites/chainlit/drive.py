"""Chainlit: a chat in the browser, over its WebSocket."""

from __future__ import annotations

from site_table import SESSION_IN_A_PROCESS, Site
from visit import Visit


def drive(visit: Visit) -> None:
    with visit.live_page("/chat/", shows="Ready for Ann") as page, visit.step("answers"):
        page.type("#chat-input", "hello there")
        page.click("#chat-submit")
        page.until_text("You said: hello there")


SITE = Site(
    "Chainlit",
    ("chainlit", "fastapi", "python-socketio", "uvicorn"),
    "app:app",
    "asgi",
    drive,
    workers=1,
    one_worker_because=SESSION_IN_A_PROCESS,
    ready="/chat/",
)
