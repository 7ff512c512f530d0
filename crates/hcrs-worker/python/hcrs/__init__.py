"""hcrs: an HTTP/2-first server for ASGI and WSGI apps. The server itself is the native command ``hcrs``."""

from importlib.metadata import PackageNotFoundError, version

from hcrs._hcrs import BodyTooLargeError, UnexpectedMessageError

__all__ = ["BodyTooLargeError", "UnexpectedMessageError", "__version__"]

try:
    __version__ = version("hcrs")
except PackageNotFoundError:  # run from a source tree
    __version__ = "0+unknown"
