"""hcrs: an HTTP/2-first server for ASGI and WSGI apps. The server itself is the native command ``hcrs``."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from hcrs._hcrs import BodyTooLargeError, ClientGoneError, UnexpectedMessageError

if TYPE_CHECKING:
    from hcrs.config import Config

__all__ = ["BodyTooLargeError", "ClientGoneError", "Config", "UnexpectedMessageError", "__version__"]

try:
    __version__ = version("hcrs")
except PackageNotFoundError:  # run from a source tree
    __version__ = "0+unknown"


def __getattr__(name: str) -> object:
    """Imports ``Config`` when it is asked for: workers need none."""
    if name == "Config":
        from hcrs.config import Config

        return Config
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
