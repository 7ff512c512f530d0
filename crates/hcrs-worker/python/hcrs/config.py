"""The configuration of a program that serves its own app, with Hypercorn's attributes."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import logging
import os
import ssl
import sys
import types
import warnings
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from hcrs import toml_writer

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found, unused-ignore]

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Config", "ConfigError"]

#: Methods by which a program customizes Hypercorn. To ignore them could open what they are to close.
_REPLACED = ("create_ssl_context", "create_sockets", "response_headers")


class ConfigError(ValueError):
    """The configuration is wrong; the message has the place and the expected value."""


class Config:
    """The settings of the server.

    The attributes, their units and their defaults are Hypercorn's, except for ``keep_alive_max_requests``, which is
    unset. ``None`` leaves the choice to the server; ``errorlog = None`` disables the log. Values are checked when the
    server starts, which also warns of unknown attributes. The paths of ``certfile`` and other files are relative to the
    working directory. ``hcrs`` holds the settings that Hypercorn does not have, like the table ``[hcrs]`` of a
    configuration file.
    """

    access_log_format: str = '%(h)s %(l)s %(l)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"'
    accesslog: str | logging.Logger | None = None
    alpn_protocols: list[str] = ["h2", "http/1.1"]
    alt_svc_headers: list[str] = []
    application_path: str
    backlog: int = 100
    ca_certs: str | None = None
    certfile: str | None = None
    ciphers: str = "ECDHE+AESGCM"
    daemon: bool = True
    debug: bool = False
    dogstatsd_tags: str = ""
    errorlog: str | logging.Logger | None = "-"
    graceful_timeout: float = 3.0
    group: int | None = None
    h11_max_incomplete_size: int = 16 << 10
    h11_pass_raw_headers: bool = False
    h2_max_concurrent_streams: int = 100
    h2_max_header_list_size: int = 64 << 10
    h2_max_inbound_frame_size: int = 16 << 10
    hcrs: Mapping[str, Any] = {}
    include_date_header: bool = True
    include_server_header: bool = True
    keep_alive_max_requests: int | None = None
    keep_alive_timeout: float = 5.0
    keyfile: str | None = None
    keyfile_password: str | None = None
    logconfig: str | None = None
    logconfig_dict: dict[str, Any] | None = None
    loglevel: str = "INFO"
    max_app_queue_size: int = 10
    max_requests: int | None = None
    max_requests_jitter: int = 0
    pid_path: str | None = None
    read_timeout: float | None = None
    server_names: list[str] = []
    shutdown_timeout: float = 60.0
    ssl_handshake_timeout: float = 60.0
    startup_timeout: float = 60.0
    statsd_host: str | None = None
    statsd_prefix: str = ""
    umask: int | None = None
    use_reloader: bool = False
    user: int | None = None
    verify_flags: ssl.VerifyFlags | None = None
    verify_mode: ssl.VerifyMode | None = None
    websocket_max_message_size: int = 16 << 20
    websocket_ping_interval: float | None = None
    worker_class: str = "asyncio"
    workers: int = 1
    wsgi_max_body_size: int = 16 << 20

    _bind: list[str] = ["127.0.0.1:8000"]
    _insecure_bind: list[str] = []
    _quic_bind: list[str] = []
    _root_path: str = ""

    @property
    def bind(self) -> list[str]:
        """The addresses to listen on: ``HOST:PORT``, ``unix:PATH`` or ``fd://N``; may be set to one string."""
        return self._bind

    @bind.setter
    def bind(self, value: list[str] | str) -> None:
        self._bind = _strings(value)

    @property
    def insecure_bind(self) -> list[str]:
        """The addresses to listen on without TLS, if ``bind`` uses TLS."""
        return self._insecure_bind

    @insecure_bind.setter
    def insecure_bind(self, value: list[str] | str) -> None:
        self._insecure_bind = _strings(value)

    @property
    def quic_bind(self) -> list[str]:
        """The addresses to listen on for HTTP/3."""
        return self._quic_bind

    @quic_bind.setter
    def quic_bind(self, value: list[str] | str) -> None:
        self._quic_bind = _strings(value)

    @property
    def root_path(self) -> str:
        """The path below which the app is mounted, without a slash at the end."""
        return self._root_path

    @root_path.setter
    def root_path(self, value: str) -> None:
        self._root_path = value.rstrip("/")

    @property
    def ssl_enabled(self) -> bool:
        """Whether ``bind`` uses TLS."""
        return self.certfile is not None and self.keyfile is not None

    def set_cert_reqs(self, value: int) -> None:
        """Sets ``verify_mode`` by its old name."""
        warnings.warn("Config.cert_reqs is the old name of verify_mode", DeprecationWarning, stacklevel=2)
        self.verify_mode = ssl.VerifyMode(value)

    cert_reqs = property(None, set_cert_reqs)

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any] | None = None, **kwargs: Any) -> Self:
        """Creates a configuration from a mapping, from keyword arguments, or from both."""
        config = cls()
        for name, value in {**(mapping or {}), **kwargs}.items():
            # A read-only property raises; Hypercorn ignores it as well.
            with contextlib.suppress(AttributeError):
                setattr(config, name, value)
        return config

    @classmethod
    def from_toml(cls, filename: str | bytes | os.PathLike[str]) -> Self:
        """Creates a configuration from a TOML file, as the command's ``--config`` does."""
        with open(filename, "rb") as file:
            return cls.from_mapping(tomllib.load(file))

    @classmethod
    def from_pyfile(cls, filename: str | bytes | os.PathLike[str]) -> Self:
        """Runs a Python file and creates a configuration from its variables."""
        path = os.fsdecode(filename)
        spec = importlib.util.spec_from_file_location("hcrs_config_file", path)
        if spec is None or spec.loader is None:
            raise ConfigError(f"{path} is not a Python file: its name must end in .py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return cls.from_object(module)

    @classmethod
    def from_object(cls, instance: object | str) -> Self:
        """Creates a configuration from an object's attributes; a string names a module, or an object in a module."""
        if isinstance(instance, str):
            instance = _imported(instance)
        names = (name for name in dir(instance) if not name.startswith("__"))
        values = {name: getattr(instance, name) for name in names}
        return cls.from_mapping(
            {name: value for name, value in values.items() if not isinstance(value, types.ModuleType)}
        )

    def to_toml(self, *, without: Iterable[str] = (), instead: Mapping[str, Any] | None = None) -> str:
        """Returns the text of a configuration file with the attributes that were set; defaults are left out.

        ``without`` names further attributes to leave out, and ``instead`` has values that replace those of the object.
        Raises ``ConfigError`` if a value cannot be written to such a file.
        """
        written = {}
        for name, value in self._changed().items():
            value = (instead or {}).get(name, value)
            if name == "errorlog" and value is None:
                value = ""  # no log, rather than the default
            if name in without or value is None:
                continue
            if isinstance(value, logging.Logger):
                warnings.warn(f"Config.{name} is a Logger, to which the server cannot write", stacklevel=3)
                continue
            written[name] = value
        try:
            return toml_writer.dumps(written)
        except TypeError as error:
            raise ConfigError(f"Config.{error}") from None

    def _changed(self) -> dict[str, Any]:
        """Returns the attributes that were set, on the object or in a derived class."""
        for name in _REPLACED:
            if hasattr(self, name):
                raise ConfigError(
                    f"Config.{name} customizes Hypercorn in a way that hcrs does not support: use the settings"
                )
        changed: dict[str, Any] = {}
        for values in [*(vars(kind) for kind in reversed(_own_classes(type(self)))), vars(self)]:
            for name in values:
                public = name[1:] if name in ("_bind", "_insecure_bind", "_quic_bind", "_root_path") else name
                value = getattr(self, public, None)
                if public == "logger_class":
                    warnings.warn("Config.logger_class has no effect: the server writes its logs itself", stacklevel=4)
                if public.startswith("_") or callable(value) or public in ("ssl_enabled", "cert_reqs"):
                    continue
                changed[public] = value
        return changed


def _own_classes(kind: type) -> list[type]:
    """Returns the classes that the program has derived from ``Config``, the most derived first."""
    return [base for base in kind.__mro__ if base not in (Config, object)]


def _strings(value: list[str] | str) -> list[str]:
    return [value] if isinstance(value, str) else value


def _imported(name: str) -> object:
    try:
        return importlib.import_module(name)
    except ImportError:
        module, _, attribute = name.rpartition(".")
        if not module:
            raise
        found: object = getattr(importlib.import_module(module), attribute)
        return found
