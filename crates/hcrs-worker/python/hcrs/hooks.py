"""Functions of the operator that each worker calls: ``post_fork``, ``worker_start`` and ``worker_exit``."""

from __future__ import annotations

import importlib
import inspect
import logging
import os
from collections.abc import Callable
from typing import Any, NamedTuple

log = logging.getLogger("hcrs.error")


class Worker(NamedTuple):
    """The argument of a hook: the worker that calls it."""

    #: The number of the configured worker, from 1 on. While a worker is replaced, the old and the new one have the same.
    slot: int
    #: The process id.
    pid: int


class HookError(Exception):
    """A hook names a module or a function that does not exist, or that cannot be called."""


class Hooks:
    """The hooks of a worker, each of which is called with a ``Worker``."""

    def __init__(self, *, post_fork: str = "", worker_start: str = "", worker_exit: str = "") -> None:
        """Imports the functions, each given as ``module:function``. An empty text is no hook."""
        self._functions = {
            name: function_of(name, text)
            for name, text in [("post_fork", post_fork), ("worker_start", worker_start), ("worker_exit", worker_exit)]
            if text
        }

    def post_fork(self, slot: int) -> None:
        """Calls the hook of a worker that was forked from the template."""
        self._call("post_fork", slot)

    def worker_start(self, slot: int) -> None:
        """Calls the hook of a worker that has the app loaded and is about to start it."""
        self._call("worker_start", slot)

    def worker_exit(self, slot: int) -> bool:
        """Calls the hook of a worker that has finished. Returns False if it has raised."""
        try:
            self._call("worker_exit", slot)
        except BaseException:
            log.exception("Error in worker_exit")
            return False
        return True

    def _call(self, name: str, slot: int) -> None:
        function = self._functions.get(name)
        if function is not None:
            function(Worker(slot, os.getpid()))


def function_of(hook: str, text: str) -> Callable[[Worker], object]:
    """Returns the function that ``module:function`` names. The function may be an attribute of an attribute."""
    module_name, _, path = text.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise  # a module that the hook's own imports
        raise HookError(f"{hook}: there is no module {module_name!r}, which {text!r} names") from error
    for name in path.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            raise HookError(f"{hook}: {module_name} has no {path!r}, which {text!r} names") from None
    if inspect.iscoroutinefunction(found) or not callable(found):
        raise HookError(f"{hook}: {text!r} is not a function that is called without await")
    function: Callable[[Worker], object] = found
    return function
