"""What every ``serve`` needs in the calling process, whatever its event loop."""

from __future__ import annotations

import logging
import types
import warnings
from typing import Any, Literal

from hcrs import _hcrs, logs
from hcrs.config import Config, ConfigError
from hcrs.interface import KnownApp, know
from hcrs.logger_pipe import LoggerHandler
from hcrs.serving import WSGI_THREADS, WsgiServing

#: How much later than the graceful timeout the edge may say that it has drained, in seconds.
DRAIN_SLACK = 5.0


def warn_of_settings(config: Config) -> None:
    """Names what ``serve`` does not obey; for its first line."""
    if config.workers != 1:
        warnings.warn("Config.workers has no effect on serve(), which uses the calling process", stacklevel=3)
    if config.debug:
        warnings.warn("Config.debug has no effect on serve(): the loop is the calling program's", stacklevel=3)


def known(app: Any, mode: Literal["asgi", "wsgi"] | None) -> KnownApp:
    """The app and what it speaks."""
    if mode not in (None, "asgi", "wsgi"):
        raise ValueError(f"mode is 'asgi', 'wsgi' or None, not {mode!r}")
    return know(app, mode)


def app_name(app: Any) -> str:
    """A name for the list of processes."""
    kind = app if isinstance(app, (type, types.FunctionType)) else type(app)
    return f"{kind.__module__}:{kind.__qualname__}"


def wsgi_serving(app: KnownApp, links: list[_hcrs.Link], config: Config) -> WsgiServing:
    """Makes the pool of threads that runs a WSGI app."""
    threads = config.hcrs.get("wsgi_threads", WSGI_THREADS)
    if not isinstance(threads, int) or threads < 1:
        raise ConfigError(f"Config.hcrs: wsgi_threads is a number of threads, and {threads!r} is not")
    return WsgiServing(
        app.app,
        links,
        root_path=config.root_path,
        threads=threads,
        max_body_size=config.wsgi_max_body_size,
        multiprocess=False,
        is_guess=app.is_guess,
    )


class ErrorLog:
    """Sends what goes wrong in the app to ``config.errorlog``, in Hypercorn's form.

    A program that has set up Python's logging decides itself what becomes of the logger ``hcrs.error``; then this does
    nothing, unless ``config.errorlog`` is a logger. ``config.logconfig`` and ``config.logconfig_dict`` set it up too, as
    with Hypercorn. Several calls of ``serve`` at a time share what the first of them says.
    """

    _uses = 0
    _handler: logging.Handler | None = None
    _propagated = True

    def __init__(self, config: Config) -> None:
        self._config = config
        self._log = logging.getLogger("hcrs.error")

    def __enter__(self) -> None:
        kind = type(self)
        _configure_python(self._config)
        kind._uses += 1
        target = self._config.errorlog
        is_logger = isinstance(target, logging.Logger)
        if kind._handler is not None or target is self._log or (self._log.hasHandlers() and not is_logger):
            return
        kind._handler = self._new_handler()
        kind._propagated = self._log.propagate
        if is_logger:
            self._log.propagate = False  # what the other logger propagates would come twice
        self._log.addHandler(kind._handler)
        if self._log.level == logging.NOTSET:
            self._log.setLevel(getattr(logging, str(self._config.loglevel).upper(), logging.INFO))

    def __exit__(self, *_: object) -> None:
        kind = type(self)
        kind._uses -= 1
        if kind._uses == 0 and kind._handler is not None:
            self._log.removeHandler(kind._handler)
            self._log.propagate = kind._propagated
            kind._handler.close()
            kind._handler = None

    def _new_handler(self) -> logging.Handler:
        target = self._config.errorlog
        if not target:
            return logging.NullHandler()
        if isinstance(target, logging.Logger):
            return LoggerHandler(target)
        return logs.handler_of(target if isinstance(target, str) else "-")


def _configure_python(config: Config) -> None:
    if config.logconfig is not None:
        logs.apply_file(config.logconfig)
    elif config.logconfig_dict is not None:
        logs.apply_dict(config.logconfig_dict)
