"""Gradio: its page, and its functions by the page and by its own client."""

from __future__ import annotations

from site_table import Site
from visit import Visit


def drive(visit: Visit) -> None:
    with visit.step("predict, a stream and an upload by its client"):
        visit.run("client.py")
    with visit.step("page") as step, visit.page() as page:
        page.type("#name textarea, #name input", "Ann")
        page.click("#greet")
        page.until("document.querySelector('#shown textarea, #shown input').value === 'Hello, Ann'")
        step.note = page.assert_sound()


SITE = Site(
    "Gradio",
    ("gradio", "gradio-client", "fastapi", "uvicorn"),
    "app:app",
    "asgi",
    drive,
    workers=1,
    one_worker_because="its queue and the events of a session live in a process",
)
