"""The types of apps (https://asgi.readthedocs.io, PEP 3333)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, TypeAlias

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
ASGIReceiveCallable: TypeAlias = Callable[[], Awaitable[Any]]
ASGISendCallable: TypeAlias = Callable[[Any], Awaitable[None]]
#: Frameworks declare the three arguments more narrowly than ASGI does, each in its own way.
ASGIFramework: TypeAlias = Callable[[Any, Any, Any], Awaitable[Any]]
WSGIFramework: TypeAlias = Callable[[dict[str, Any], Any], Iterable[bytes]]
Framework: TypeAlias = "ASGIFramework | WSGIFramework"
