"""NiceGUI within FastAPI: a button that counts, and a field whose text is shown."""

from fastapi import FastAPI
from nicegui import ui

app = FastAPI()


@ui.page("/")
def index():
    clicks = {"count": 0}

    def click():
        clicks["count"] += 1
        shown.set_text(f"clicked {clicks['count']} times")

    ui.button("Click", on_click=click)
    shown = ui.label("not clicked")
    written = ui.input("Name")
    ui.label().bind_text_from(written, "value", lambda name: f"Hello, {name}")


ui.run_with(app, storage_secret="of the apps")
