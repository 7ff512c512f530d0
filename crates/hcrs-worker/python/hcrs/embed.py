"""Serving an app from within a program: the parts that do not depend on the event loop."""

from __future__ import annotations

import logging
import sys
import types
import warnings
from typing import Any, Literal

from hcrs import _hcrs, logs
from hcrs.app_interface import ServableApp, detect
from hcrs.config import Config, ConfigError
from hcrs.logger_pipe import LoggerHandler
from hcrs.wsgi_runner import WSGI_THREADS, WsgiRunner

#: Seconds after the graceful timeout that are waited for the edge's report that it has drained.
DRAIN_SLACK = 5.0


def warn_of_ignored_settings(config: Config) -> None:
    """Warns of settings that ``serve`` ignores. Must be called by ``serve`` itself, for the warning's location."""
    if config.workers != 1:
        warnings.warn("Config.workers has no effect on serve(), which uses the calling process", stacklevel=3)
    if config.debug:
        warnings.warn("Config.debug has no effect on serve(): the loop is the calling program's", stacklevel=3)


def detect_app(app: Any, mode: Literal["asgi", "wsgi"] | None) -> ServableApp:
    """Returns the app with its interface: ``mode``, or else the detected one."""
    if mode not in (None, "asgi", "wsgi"):
        raise ValueError(f"mode is 'asgi', 'wsgi' or None, not {mode!r}")
    return detect(app, mode)


def app_name(app: Any) -> str:
    """Returns a name of the app for the list of processes."""
    kind = app if isinstance(app, (type, types.FunctionType)) else type(app)
    return f"{kind.__module__}:{kind.__qualname__}"


def new_wsgi_runner(app: ServableApp, links: list[_hcrs.Link], config: Config) -> WsgiRunner:
    """Creates the pool of threads that runs a WSGI app."""
    threads = config.hcrs.get("wsgi_threads", WSGI_THREADS)
    if not isinstance(threads, int) or threads < 1:
        raise ConfigError(f"Config.hcrs: wsgi_threads must be a positive number of threads, not {threads!r}")
    return WsgiRunner(
        app,
        links,
        root_path=config.root_path,
        threads=threads,
        max_body_size=config.wsgi_max_body_size,
        multiprocess=False,
    )


class ErrorLog:
    """The handler that writes the app's errors to ``config.errorlog`` in Hypercorn's format, while ``serve`` runs.

    If the program has configured Python's logging, directly or by ``config.logconfig`` or ``config.logconfig_dict``,
    the logger ``hcrs.error`` is left as it is, unless ``config.errorlog`` is a logger. Concurrent calls of ``serve``
    share the handler of the first.
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
            self._log.propagate = False  # or the records would reach the other logger's ancestors twice
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
        return logs.handler_of(target if isinstance(target, str) else "-", sys.stderr)


def _configure_python(config: Config) -> None:
    if config.logconfig is not None:
        logs.apply_file(config.logconfig)
    elif config.logconfig_dict is not None:
        logs.apply_dict(config.logconfig_dict)
