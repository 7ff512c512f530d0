"""Chainlit: a chat in the browser, over its WebSocket."""

from __future__ import annotations

from site_table import Site
from visit import Visit


def drive(visit: Visit) -> None:
    with visit.page("/chat/", stays=True) as page:
        with visit.step("WebSocket of the page") as step:
            page.until_text("Ready for Ann")
            step.note = page.open_socket().protocol
        with visit.step("answers"):
            page.type("#chat-input", "hello there")
            page.click("#chat-submit")
            page.until_text("You said: hello there")
        with visit.step("page") as step:
            step.note = page.assert_sound()


SITE = Site(
    "Chainlit",
    ("chainlit", "fastapi", "python-socketio", "uvicorn"),
    "app:app",
    "asgi",
    drive,
    workers=1,
    one_worker_because="a session lives in the process that has opened it",
    ready="/chat/",
)
