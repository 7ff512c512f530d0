"""Serves an app from within a program, on its trio event loop.

    import trio
    from hcrs.config import Config
    from hcrs.trio import serve

    trio.run(serve, app, Config())

The app runs in the calling process, as it does with ``hcrs.asyncio.serve``.
"""

from __future__ import annotations

import trio  # noqa: F401 - the import fails here if trio is not installed, and not at the first use of ``serve``

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hcrs.trio.embed import serve

__all__ = ["serve"]


def __getattr__(name: str) -> object:
    """Imports ``serve`` at its first use: a worker, which runs apps by this package too, does not need it."""
    if name == "serve":
        from hcrs.trio.embed import serve

        return serve
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
