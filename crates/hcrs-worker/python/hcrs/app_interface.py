"""Detection of the interface of an app, ASGI or WSGI, and its adaptation to the way in which the server calls it."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

log = logging.getLogger("hcrs.error")

Interface = Literal["asgi", "wsgi"]


class ServableApp(NamedTuple):
    """An app that can be served, with its interface."""

    #: The app itself for WSGI; for ASGI, a callable of version 3 that returns a coroutine.
    app: Any
    interface: Interface
    #: Whether the interface was neither given nor shown by the app's arguments.
    is_guess: bool


def detect(app: Any, mode: Interface | None = None) -> ServableApp:
    """Detects the interface of ``app``, unless ``mode`` names it. Raises ``TypeError`` if it cannot be an app."""
    if not callable(app):
        raise TypeError(f"it is of type {type(app).__name__}, which is neither ASGI nor WSGI")
    interface = mode or interface_of(app)
    is_guess = mode is None and not returns_coroutine(app) and accepts_any_arguments(app)
    return ServableApp(as_asgi(app) if interface == "asgi" else app, interface, is_guess)


def interface_of(app: Any) -> Interface:
    """Returns the interface of ``app``: ASGI if a call returns a coroutine, otherwise by its arguments."""
    if returns_coroutine(app):
        if accepts(app, 3) is False:
            raise TypeError("it is asynchronous but does not take (scope, receive, send), as ASGI requires")
        return "asgi"
    if inspect.isclass(app) and hasattr(app, "__await__"):
        return "asgi"
    if accepts_any_arguments(app):
        # Many decorators do; the function that they decorate may show more.
        wrapped = getattr(app, "__wrapped__", None)
        return "asgi" if wrapped is not None and returns_coroutine(wrapped) else "wsgi"
    if accepts(app, 2):
        return "wsgi"
    if accepts(app, 0):
        kind = "a class" if inspect.isclass(app) else "a factory"
        call = f"'module:{name_of(app)}()'"
        raise TypeError(f"it takes no arguments: it is {kind} and has to be called, as in {call}")
    if accepts(app, 1) or accepts(app, 3):
        return "asgi"
    raise TypeError(
        "it takes neither (scope, receive, send), as ASGI requires, nor (environ, start_response), as WSGI does"
    )


def as_asgi(app: Any) -> Any:
    """Adapts an ASGI app of any version to version 3, as a callable that returns a coroutine."""
    if returns_coroutine(app):
        return app
    if accepts(app, 1) and not accepts(app, 3):
        return from_version_2(app)
    return from_awaitable(app)


def returns_coroutine(app: Any) -> bool:
    """Returns whether a call of ``app`` is known to return a coroutine."""
    while True:
        if inspect.iscoroutinefunction(app):
            return True
        inner = getattr(app, "func", None)
        if inner is None or not type(app).__name__.startswith("partial"):
            break
        app = inner
    # Calling a class makes an instance, even if the instance itself is an asynchronous callable.
    call = getattr(app, "__call__", None)  # noqa: B004 - the function that a call runs, not whether there is one
    return not inspect.isclass(app) and inspect.iscoroutinefunction(call)


def accepts(app: Any, count: int) -> bool | None:
    """Returns whether ``app`` can be called with ``count`` arguments, or ``None`` if its signature is unknown."""
    try:
        signature = inspect.signature(app, follow_wrapped=False)
    except (TypeError, ValueError):
        return None
    try:
        signature.bind(*range(count))
    except TypeError:
        return False
    return True


def accepts_any_arguments(app: Any) -> bool:
    """Returns whether the arguments of ``app`` do not show its interface."""
    return accepts(app, 2) is None or bool(accepts(app, 2) and accepts(app, 3))


def name_of(app: Any) -> str:
    """Returns a name of ``app`` for error messages."""
    return str(getattr(app, "__name__", type(app).__name__))


def from_awaitable(app: Callable[..., Any]) -> Callable[..., Any]:
    """Adapts an app whose call returns an awaitable that may not be a coroutine."""

    async def call(scope: Any, receive: Any, send: Any) -> None:
        returned = app(scope, receive, send)
        if not inspect.isawaitable(returned):
            kind = type(returned).__name__
            raise TypeError(f"The app has returned {kind}; an ASGI app must return an awaitable")
        await returned

    return call


def from_version_2(app: Callable[..., Any]) -> Callable[..., Any]:
    """Adapts an app of ASGI 2, which is called with the scope and returns a callable of ``receive`` and ``send``."""

    async def call(scope: Any, receive: Any, send: Any) -> None:
        instance = app({**scope, "asgi": {**scope["asgi"], "version": "2.0"}})
        await instance(receive, send)

    return call


class WrongInterfaceHint:
    """A log line, written at most once, for an app that fails as if its interface had been guessed wrongly."""

    def __init__(self, interface: Interface, is_guess: bool) -> None:
        self._interface = interface
        self._is_armed = is_guess

    def check(self, error: BaseException) -> None:
        """Logs the hint if ``error`` comes from the call of the app itself, by its arguments or its result."""
        if not self._is_armed or not isinstance(error, TypeError):
            return
        trace = error.__traceback__
        if trace is not None and trace.tb_next is not None:
            return  # raised inside of the app, so the call was right
        self._is_armed = False
        other = "wsgi" if self._interface == "asgi" else "asgi"
        log.error(
            "The app was detected as %s from its signature. If it is %s, name the interface: '%s:MODULE:APP', or"
            " mode='%s' in serve()",
            self._interface.upper(),
            other.upper(),
            other,
            other,
        )
