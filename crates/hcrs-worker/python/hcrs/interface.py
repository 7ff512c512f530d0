"""What an app speaks, as far as that can be seen from outside, and how it is called."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

Interface = Literal["asgi", "wsgi"]


class KnownApp(NamedTuple):
    """An app that can be served."""

    #: For ASGI, called as version 3 says; otherwise what it was.
    app: Any
    interface: Interface
    #: Nobody has said what it speaks, and its arguments do not show it.
    is_guess: bool


def know(app: Any, mode: Interface | None = None) -> KnownApp:
    """Finds out what ``app`` speaks, unless ``mode`` says so. Raises ``TypeError`` for what cannot be an app."""
    if not callable(app):
        raise TypeError(f"it is of type {type(app).__name__}, and neither ASGI nor WSGI")
    interface = mode or interface_of(app)
    is_guess = mode is None and not gives_coroutine(app) and takes_anything(app)
    return KnownApp(as_asgi(app) if interface == "asgi" else app, interface, is_guess)


def interface_of(app: Any) -> Interface:
    """What ``app`` speaks: ASGI if calling it gives a coroutine, and otherwise by the arguments that it takes."""
    if gives_coroutine(app):
        if takes(app, 3) is False:
            raise TypeError("it is asynchronous, and does not take (scope, receive, send), as ASGI says")
        return "asgi"
    if inspect.isclass(app) and hasattr(app, "__await__"):
        return "asgi"
    if takes_anything(app):
        # As many decorators do: what they decorate may tell more.
        wrapped = getattr(app, "__wrapped__", None)
        return "asgi" if wrapped is not None and gives_coroutine(wrapped) else "wsgi"
    if takes(app, 2):
        return "wsgi"
    if takes(app, 0):
        what = "a class" if inspect.isclass(app) else "a factory"
        call = f"'module:{name_of(app)}()'"
        raise TypeError(f"it takes no arguments: it is {what}, and has to be called, as in {call}")
    if takes(app, 1) or takes(app, 3):
        return "asgi"
    raise TypeError(
        "it takes neither (scope, receive, send), as ASGI says, nor (environ, start_response), as WSGI does"
    )


def as_asgi(app: Any) -> Any:
    """An app of ASGI, of whatever kind, as one of version 3 whose call gives a coroutine."""
    if gives_coroutine(app):
        return app
    if takes(app, 1) and not takes(app, 3):
        return of_version_2(app)
    return awaiting(app)


def gives_coroutine(app: Any) -> bool:
    """Whether it is seen that calling ``app`` gives a coroutine."""
    while True:
        if inspect.iscoroutinefunction(app):
            return True
        inner = getattr(app, "func", None)
        if inner is None or not type(app).__name__.startswith("partial"):
            break
        app = inner
    # To call a class makes an object, whatever can be done with that.
    call = getattr(app, "__call__", None)  # noqa: B004 - what a call runs, and not whether it can be called
    return not inspect.isclass(app) and inspect.iscoroutinefunction(call)


def takes(app: Any, count: int) -> bool | None:
    """Whether ``app`` can be called with so many arguments; None if that cannot be seen."""
    try:
        signature = inspect.signature(app, follow_wrapped=False)
    except (TypeError, ValueError):
        return None
    try:
        signature.bind(*range(count))
    except TypeError:
        return False
    return True


def takes_anything(app: Any) -> bool:
    """Whether the arguments of ``app`` do not show what it speaks."""
    return takes(app, 2) is None or bool(takes(app, 2) and takes(app, 3))


def name_of(app: Any) -> str:
    """A name for ``app`` in an error."""
    return str(getattr(app, "__name__", type(app).__name__))


def awaiting(app: Callable[..., Any]) -> Callable[..., Any]:
    """An app whose call gives something that can be awaited, but perhaps no coroutine."""

    async def call(scope: Any, receive: Any, send: Any) -> None:
        running = app(scope, receive, send)
        if not inspect.isawaitable(running):
            kind = type(running).__name__
            raise TypeError(f"The app has returned {kind}, which cannot be awaited, as ASGI wants it")
        await running

    return call


def of_version_2(app: Callable[..., Any]) -> Callable[..., Any]:
    """An app of ASGI 2, which is called with the scope, and its result with ``receive`` and ``send``."""

    async def call(scope: Any, receive: Any, send: Any) -> None:
        instance = app({**scope, "asgi": {**scope["asgi"], "version": "2.0"}})
        await instance(receive, send)

    return call
