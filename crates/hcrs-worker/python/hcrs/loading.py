"""Finds the app that the operator has named, by the rules of Hypercorn's application path."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import FunctionType, ModuleType
from typing import NamedTuple

from hcrs.interface import Interface, KnownApp, know

#: Names that are told where none of them was meant.
_HINTS = 5


class NoAppError(Exception):
    """The application path names a module or an attribute that does not exist, or something that is no app."""


class AppPath(NamedTuple):
    """``[asgi:|wsgi:]module[:attribute]``, taken apart.

    The module part may be a path; the attribute part is an expression in the module's namespace, ``app`` if there is none.
    """

    text: str
    interface: Interface | None
    module: Path
    expression: str

    @classmethod
    def parse(cls, path: str) -> AppPath:
        """Raises ``ValueError`` if something else than an interface stands first."""
        interface: Interface | None = None
        mode, _, rest = path.partition(":")
        if ":" in rest and not is_expression(rest):
            if mode not in ("asgi", "wsgi"):
                raise ValueError(f"Invalid mode {mode!r} in the application path, must be 'asgi' or 'wsgi'")
            interface, path = ("asgi" if mode == "asgi" else "wsgi"), rest
        module, _, expression = path.partition(":")
        return cls(path, interface, Path(module).resolve(), expression or "app")

    def enter(self) -> None:
        """Has modules looked for in the module's folder before all others."""
        sys.path.insert(0, str(self.module.parent))

    @property
    def name(self) -> str:
        """The module's."""
        return self.module.with_suffix("").name if self.module.suffix == ".py" else self.module.name


def is_expression(text: str) -> bool:
    """Whether Python could evaluate it."""
    try:
        compile(text, "the application path", "eval")
    except (SyntaxError, ValueError):
        return False
    return True


def load(path: AppPath) -> KnownApp:
    """Loads the app, from a folder that was entered before."""
    try:
        module = importlib.import_module(path.name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{path.name}.".startswith(f"{error.name}."):
            raise  # something that the module itself imports
        raise NoAppError(
            f"Cannot load application from '{path.text}', module not found."
            f" There is no {error.name} in {path.module.parent}, and none is installed for {sys.executable}."
        ) from error
    try:
        app = eval(path.expression, vars(module))  # the operator's own expression
    except NameError as error:
        raise NoAppError(
            f"Cannot load application from '{path.text}', application not found.{hint(module)}"
        ) from error
    try:
        return know(app, path.interface)
    except TypeError as error:
        raise NoAppError(f"Cannot load application from '{path.text}': {error}") from None


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
