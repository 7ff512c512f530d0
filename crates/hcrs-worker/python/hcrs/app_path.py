"""The application path, by which the operator names the app as with Hypercorn, and the import of the app."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import FunctionType, ModuleType
from typing import NamedTuple

from hcrs.app_interface import Interface, ServableApp, detect

#: Names that an error suggests at most.
_SUGGESTIONS_MAX = 5


class NoAppError(Exception):
    """The application path names a module or an attribute that does not exist, or an object that is not an app."""


class AppPath(NamedTuple):
    """The parts of ``[asgi:|wsgi:]module[:attribute]``.

    The module part may be a path; the attribute part is an expression in the module's namespace, by default ``app``.
    """

    text: str
    interface: Interface | None
    module: Path
    expression: str

    @classmethod
    def parse(cls, path: str) -> AppPath:
        """Parses an application path. Raises ``ValueError`` if its prefix is not an interface."""
        interface: Interface | None = None
        mode, _, rest = path.partition(":")
        if ":" in rest and not is_expression(rest):
            if mode not in ("asgi", "wsgi"):
                raise ValueError(f"Invalid mode {mode!r} in the application path, must be 'asgi' or 'wsgi'")
            interface, path = ("asgi" if mode == "asgi" else "wsgi"), rest
        module, _, expression = path.partition(":")
        return cls(path, interface, Path(module).resolve(), expression or "app")

    def add_to_sys_path(self) -> None:
        """Puts the module's directory before all others in ``sys.path``."""
        sys.path.insert(0, str(self.module.parent))

    @property
    def module_name(self) -> str:
        """The name by which the module is imported."""
        return self.module.with_suffix("").name if self.module.suffix == ".py" else self.module.name


def is_expression(text: str) -> bool:
    """Returns whether ``text`` is a Python expression."""
    try:
        compile(text, "the application path", "eval")
    except (SyntaxError, ValueError):
        return False
    return True


def load(path: AppPath) -> ServableApp:
    """Imports the app. The module's directory has to be in ``sys.path``."""
    try:
        module = importlib.import_module(path.module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{path.module_name}.".startswith(f"{error.name}."):
            raise  # a module that the app itself imports
        raise NoAppError(
            f"Cannot load application from '{path.text}', module not found."
            f" There is no {error.name} in {path.module.parent}, and none is installed for {sys.executable}."
        ) from error
    try:
        app = eval(path.expression, vars(module))  # the operator's own expression
    except NameError as error:
        raise NoAppError(
            f"Cannot load application from '{path.text}', application not found.{suggestions(module)}"
        ) from error
    try:
        return detect(app, path.interface)
    except TypeError as error:
        raise NoAppError(f"Cannot load application from '{path.text}': {error}") from None


def suggestions(module: ModuleType) -> str:
    """Returns a sentence with the callables of the module that may be the app."""
    own = (
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and callable(value)
        and (getattr(value, "__module__", None) == module.__name__ or not isinstance(value, (type, FunctionType)))
    )
    names = sorted(own, key=lambda name: ("app" not in name.lower(), name))[:_SUGGESTIONS_MAX]
    return f" {module.__name__} defines {', '.join(names)}." if names else f" {module.__name__} defines no callables."
