"""Writes settings as TOML (https://toml.io/en/v1.0.0)."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from typing import Any

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def dumps(settings: Mapping[str, Any]) -> str:
    """Returns the text of a file. Raises ``TypeError`` with the setting's name if TOML cannot represent a value."""
    return "".join(f"{_key(name)} = {_value(name, value)}\n" for name, value in settings.items())


def _key(name: str) -> str:
    return name if _BARE_KEY.fullmatch(name) else _string(name, name)


def _value(name: str, value: Any) -> str:
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):  # also ssl.VerifyMode and the like
        return str(int(value))
    if isinstance(value, float):
        return repr(float(value))
    if isinstance(value, str):
        return _string(name, value)
    if isinstance(value, (list, tuple, set, frozenset)):
        return "[" + ", ".join(_value(name, element) for element in value) + "]"
    if isinstance(value, Mapping):
        entries = (f"{_key(str(key))} = {_value(f'{name}.{key}', inner)}" for key, inner in value.items())
        return "{" + ", ".join(entries) + "}"
    raise TypeError(f"{name}: a value of type {type(value).__name__} cannot be passed to the server")


def _string(name: str, text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise TypeError(f"{name}: {text!r} is not valid Unicode") from None
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
