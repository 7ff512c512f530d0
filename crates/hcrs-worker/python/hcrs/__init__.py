"""hcrs: an HTTP/2-first server for ASGI and WSGI apps. The server itself is the native command ``hcrs``."""

from __future__ import annotations

from hcrs._hcrs import BodyTooLargeError, ClientGoneError, UnexpectedMessageError

# The standard library is not imported here: under ``python -m hcrs`` the app's directory still precedes it in sys.path.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from hcrs.config import Config

    __version__: str

__all__ = ["BodyTooLargeError", "ClientGoneError", "Config", "UnexpectedMessageError", "__version__"]


def __getattr__(name: str) -> object:
    """Imports ``Config`` and ``__version__`` at their first use: workers need neither."""
    if name == "Config":
        from hcrs.config import Config

        return Config
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("hcrs")
        except PackageNotFoundError:  # run from a source tree
            return "0+unknown"
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
