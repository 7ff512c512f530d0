"""A project whose files change while it is served with ``use_reloader``."""

from __future__ import annotations

import textwrap
from pathlib import Path

MAIN = """
    import importlib
    import sys

    ANSWER = "first"


    async def app(scope, receive, send):
        assert scope["type"] == "http"
        module = scope["path"][1:]
        answer = importlib.import_module(module).ANSWER if module else ANSWER
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": answer.encode()})
"""


class Project:
    """A folder with an app that is served from it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.write("main.py", MAIN)

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))

    def read(self, name: str) -> str:
        """The text of a file."""
        return (self.folder / name).read_text()

    def break_code(self) -> None:
        """Makes the app one that cannot be loaded."""
        self.edit("main.py", "async def app", "async dfe app")

    def mend_code(self) -> None:
        """Takes that back."""
        self.edit("main.py", "async dfe app", "async def app")

    def edit(self, name: str, old: str, new: str) -> None:
        path = self.folder / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))
