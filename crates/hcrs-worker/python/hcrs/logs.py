"""A worker's logging: the error log in Hypercorn's format, and the operator's configuration of Python's logging.

Requests are logged by the edge, and exceptions of apps here, by the logger ``hcrs.error``. If the operator does not
configure Python's logging, records that apps send to the loggers of other servers go to the error log as well. No other
logger is changed.
"""

from __future__ import annotations

import configparser
import importlib
import json
import logging
import logging.config
import logging.handlers
import os
import re
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import parse_qs

log = logging.getLogger("hcrs.error")

#: The variable by which the edge passes ``logconfig_dict``, which may hold secrets that a command line would show.
DICT_VARIABLE = "_HCRS_LOGCONFIG_DICT"

#: The loggers of other servers' error logs, to which apps may write, each with the logger that has its handlers.
OTHER_SERVERS = {"hypercorn.error": "hypercorn.error", "uvicorn.error": "uvicorn", "gunicorn.error": "gunicorn.error"}

TIME = "[%Y-%m-%d %H:%M:%S %z]"
FORM = "%(asctime)s [%(process)d] [%(levelname)s] %(message)s"


def configure(
    level: str,
    target: str,
    config: str = "",
    statsd: str = "",
    statsd_prefix: str = "",
    tags: str = "",
    stderr: int | None = None,
) -> None:
    """Sets up logging. Raises the error of an invalid configuration by the operator.

    ``stderr`` is a descriptor of the edge's standard error, if this process has another one.
    """
    written = os.environ.pop(DICT_VARIABLE, "")
    stream = sys.stderr if stderr is None else stream_of(stderr)
    own = handler_of(target, stream) if target else None
    if own is not None:
        log.addHandler(own)
    log.setLevel(getattr(logging, level.upper(), logging.INFO))
    if config:
        apply_file(config)
    elif written:
        apply_dict(json.loads(written))
    elif own is not None:
        share_with_other_loggers(own)
    if own is not None and own in log.handlers and (config or written):
        # Python closes every handler before it configures logging, and some kinds do not work after that.
        log.removeHandler(own)
        log.addHandler(handler_of(target, stream))
    if statsd:
        try:
            log.addHandler(CountHandler(statsd, statsd_prefix, tags))
        except OSError as error:
            log.warning("Metrics are disabled: cannot use statsd_host %r: %s", statsd, error)


def share_with_other_loggers(handler: logging.Handler) -> None:
    """Adds the handler to the loggers of other servers, for apps that were written for those."""
    for name in OTHER_SERVERS.values():
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.setLevel(log.level)
        logger.propagate = False


def stream_of(descriptor: int) -> TextIO:
    """Returns a stream in the form of standard error that writes to a descriptor, which children do not inherit."""
    os.set_inheritable(descriptor, False)
    return open(descriptor, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)


def handler_of(target: str, stream: TextIO) -> logging.Handler:
    """Returns the handler of ``-``, which is the stream, of a file, or of ``syslog:``, which writes as the edge does."""
    if target == "-":
        handler: logging.Handler = logging.StreamHandler(stream)
    elif target.startswith("syslog:"):
        return syslog_handler(target[len("syslog:") :])
    else:
        # It reopens a file that was rotated, so that workers need no signal for it.
        handler = logging.handlers.WatchedFileHandler(target, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(Formatter(FORM, TIME))
    return handler


class Formatter(logging.Formatter):
    """A formatter that escapes control characters, which exceptions may contain because clients have sent them."""

    def format(self, record: logging.LogRecord) -> str:
        """Returns the formatted record without control characters."""
        return _CONTROLS.sub(lambda found: "".join(map("\\x{:02x}".format, found[0].encode())), super().format(record))


#: Control characters except tabs and line ends, and marks that change the text direction, as in the edge's escape.rs.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def syslog_handler(target: str) -> logging.Handler:
    """Returns a handler that writes syslog datagrams in the edge's format, with the edge's defaults."""
    where, _, options = target.partition("?")
    option = {name: values[-1] for name, values in parse_qs(options).items()}
    is_udp = where.startswith("udp://")
    address: Any = where or "/dev/log"
    if is_udp:
        host, _, port = where[len("udp://") :].rpartition(":")
        address = (host.strip("[]"), int(port))
    handler = logging.handlers.SysLogHandler(address, option.get("facility", "daemon"))
    handler.append_nul = False
    name = f"{socket.gethostname()} " if is_udp else ""
    if option.get("form", "rfc5424" if is_udp else "rfc3164") == "rfc5424":
        form = f"1 %(asctime)s {socket.gethostname()} hcrs %(process)d - - %(message)s"
        handler.setFormatter(Formatter(form, "%Y-%m-%dT%H:%M:%S%z"))
        handler.formatter.formatTime = _rfc3339  # type: ignore[union-attr, method-assign]
    else:
        form = f"%(asctime)s {name}hcrs[%(process)d]: %(message)s"
        handler.setFormatter(Formatter(form, "%b %e %H:%M:%S"))
    return handler


def _rfc3339(record: logging.LogRecord, datefmt: str | None = None) -> str:
    """Returns the record's time with a colon in the offset, which ``strftime`` does not write."""
    from datetime import datetime

    return datetime.fromtimestamp(record.created).astimezone().isoformat(timespec="seconds")


class CountHandler(logging.Handler):
    """A handler that counts log records in statsd, under Hypercorn's names."""

    def __init__(self, host: str, prefix: str, tags: str) -> None:
        super().__init__(logging.WARNING)
        name, _, port = host.rpartition(":")
        family, kind, protocol, _, address = socket.getaddrinfo(name.strip("[]"), int(port), type=socket.SOCK_DGRAM)[0]
        self._socket = socket.socket(family, kind, protocol)
        self._socket.setblocking(False)
        self._socket.connect(address)
        self._prefix = f"{prefix.rstrip('.')}." if prefix else ""
        self._tags = f"|#{tags}" if tags else ""

    def emit(self, record: logging.LogRecord) -> None:
        """Sends one count, which is lost if the socket's buffer is full."""
        kind = "exception" if record.exc_info else record.levelname.lower()
        with suppress(OSError):
            self._socket.send(f"{self._prefix}hypercorn.log.{kind}:1|c|@1.0{self._tags}".encode())


class LogConfigError(ValueError):
    """The file of ``logconfig`` cannot be read. It is reported without a traceback."""


def apply_file(config: str) -> None:
    """Applies ``logconfig``: ``json:PATH``, ``toml:PATH``, a path with that suffix, or the path of an INI file."""
    kind, _, path = config.partition(":")
    if kind not in ("json", "toml"):
        kind, path = Path(config).suffix[1:], config
    if kind in ("yaml", "yml"):
        raise LogConfigError(f"logconfig: {path!r} is YAML, which is not read: write it as JSON or as TOML")
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (IsADirectoryError, FileNotFoundError):
        raise LogConfigError(f"logconfig: there is no file {path!r}") from None
    try:
        found = json.loads(text) if kind == "json" else _toml(text) if kind == "toml" else _ini(text, path)
    except (ValueError, LookupError, configparser.Error) as error:
        form = kind.upper() if kind in ("json", "toml") else "INI"
        raise LogConfigError(f"logconfig: {path!r} cannot be read as {form}: {error}") from None
    if isinstance(found, configparser.RawConfigParser):
        logging.config.fileConfig(found, disable_existing_loggers=False)
        _follow_others()
    else:
        apply_dict(found)


def _ini(text: str, path: str) -> configparser.RawConfigParser:
    found = configparser.ConfigParser({"__file__": path, "here": str(Path(path).parent)})
    found.read_string(text, path)
    for section in ("loggers", "handlers", "formatters"):
        if not found.has_section(section):
            raise LookupError(f"it has no section [{section}]")
    return found


def apply_dict(config: dict[str, Any]) -> None:
    """Applies a dictionary. The server's own logger stays enabled if the dictionary does not name it."""
    logging.config.dictConfig(config)
    log.disabled = False
    _follow_others()


def _follow_others() -> None:
    """Applies the configuration of another server's error log, if there is one, to the logger ``hcrs.error``."""
    for name in OTHER_SERVERS:
        chain = _configured(name)
        if not chain:
            continue
        log.handlers[:] = [handler for logger in chain for handler in logger.handlers]
        log.propagate = chain[-1].propagate
        level = next((logger.level for logger in chain if logger.level != logging.NOTSET), logging.NOTSET)
        if level != logging.NOTSET:
            log.setLevel(level)
        return


def _configured(name: str) -> list[logging.Logger]:
    """Returns a logger and the ancestors that its records reach, without the root; empty if none is configured."""
    chain: list[logging.Logger] = []
    while name:
        logger = logging.root.manager.loggerDict.get(name)
        if isinstance(logger, logging.Logger):
            if logger.disabled:
                return []
            chain.append(logger)
            if not logger.propagate:
                break
        name = name.rpartition(".")[0]
    is_configured = [bool(it.handlers) or it.level != logging.NOTSET or not it.propagate for it in chain]
    return chain if any(is_configured) else []


def _toml(text: str) -> Any:
    for name in ("tomllib", "tomli"):
        try:
            return importlib.import_module(name).loads(text)
        except ModuleNotFoundError:
            continue
    raise RuntimeError("logconfig is a TOML file, which needs Python 3.11 or tomli: run 'pip install tomli'")
