"""marimo with one notebook, as an app."""

from pathlib import Path

import marimo

notebook = Path(__file__).parent / "notebook.py"
app = marimo.create_asgi_app(include_code=False).with_app(path="", root=str(notebook)).build()
