"""Finds the app that the operator has named, by the rules of Hypercorn's application path."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import FunctionType, ModuleType

from hcrs.interface import Interface, KnownApp, know

#: Names that are told where none of them was meant.
_HINTS = 5


class NoAppError(Exception):
    """The application path names a module or an attribute that does not exist, or something that is no app."""


def load(path: str) -> KnownApp:
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
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # something that the module itself imports
        raise NoAppError(
            f"Cannot load application from '{path}', module not found."
            f" There is no {error.name} in {file.parent}, and none is installed for {sys.executable}."
        ) from error
    try:
        app = eval(expression or "app", vars(module))  # the operator's own expression
    except NameError as error:
        raise NoAppError(
            f"Cannot load application from '{path}', application not found.{hint(module)}"
        ) from error
    try:
        return know(app, interface)
    except TypeError as error:
        raise NoAppError(f"Cannot load application from '{path}': {error}") from None


def hint(module: ModuleType) -> str:
    """What the module has that could be meant."""
    own = (
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and callable(value)
        and (getattr(value, "__module__", None) == module.__name__ or not isinstance(value, (type, FunctionType)))
    )
    names = sorted(own, key=lambda name: ("app" not in name.lower(), name))[:_HINTS]
    return f" {module.__name__} has {', '.join(names)}." if names else f" {module.__name__} has nothing that can be called."
