"""Finds the app that the operator has named, by the rules of Hypercorn's application path."""

from __future__ import annotations

import importlib
import inspect
import sys
from pathlib import Path
from typing import Any, Literal, NamedTuple

Interface = Literal["asgi", "wsgi"]


class NoAppError(Exception):
    """The application path names a module or an attribute that does not exist."""


class LoadedApp(NamedTuple):
    """An app and the interface that it speaks."""

    app: Any
    interface: Interface


def load(path: str) -> LoadedApp:
    """Loads ``[asgi:|wsgi:]module[:attribute]``.

    The module part may be a path, whose directory goes to the front of ``sys.path``; the attribute part is an
    expression in the module's namespace, ``app`` if there is none.
    """
    interface: Interface | None = None
    if path.count(":") == 2:
        mode, path = path.split(":", 1)
        if mode not in ("asgi", "wsgi"):
            raise ValueError(f"Invalid mode {mode!r} in the application path, must be 'asgi' or 'wsgi'")
        interface = "asgi" if mode == "asgi" else "wsgi"
    module_path, _, expression = path.partition(":")
    file = Path(module_path).resolve()
    sys.path.insert(0, str(file.parent))
    name = file.with_suffix("").name if file.suffix == ".py" else file.name
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name == name:
            raise NoAppError(f"Cannot load application from '{path}', module not found.") from error
        raise
    try:
        app = eval(expression or "app", vars(module))  # the operator's own expression
    except NameError as error:
        raise NoAppError(f"Cannot load application from '{path}', application not found.") from error
    return LoadedApp(app, interface or ("asgi" if is_asgi(app) else "wsgi"))


def is_asgi(app: Any) -> bool:
    """Whether calling ``app`` gives a coroutine, as far as that can be seen from outside."""
    while True:
        if inspect.iscoroutinefunction(app):
            return True
        inner = getattr(app, "func", None)
        if inner is None or not type(app).__name__.startswith("partial"):
            break
        app = inner
    return inspect.iscoroutinefunction(getattr(app, "__call__", None))
