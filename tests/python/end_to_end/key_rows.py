"""The table of all keys: each test that is marked by ``shows`` is a row for the keys that it names.

It says which value a key gets, and the test observes what that does. The test's server is given its keys in turn by the
file, by the environment and by flags; that all of them mean the same for each key is shown in ``test_every_key.py``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from end_to_end.server import literal
from end_to_end.settings_table import SETTINGS

#: The value of each key in the first row that has it.
ROWS: dict[str, Any] = {}

#: Who unix sockets are given to: somebody else if that is allowed.
OWNER = 12_345 if os.geteuid() == 0 else os.geteuid()
GROUP = 12_346 if os.geteuid() == 0 else os.getegid()


def shows(app: str | None = None, *, waits: bool = True, **config: Any) -> Callable[[Any], Any]:
    """Marks a test that shows what these keys do. If it asks for the fixture ``server``, that is given these keys and
    runs; with ``waits=False`` it is just starting.

    In the values ``<folder>`` is the test's folder, ``<pki>`` that of certificates, ``<python>`` the interpreter and
    ``<port>`` that of the socket ``udp``.
    """
    for key, value in config.items():
        ROWS.setdefault(key, value)
    return pytest.mark.shows(app=app, waits=waits, config=config)


def filled(value: Any, places: Mapping[str, str]) -> Any:
    """The value with what stands for its placeholders."""
    if isinstance(value, str):
        for mark, text in places.items():
            value = value.replace(mark, text)
        return value
    if isinstance(value, list):
        return [filled(entry, places) for entry in value]
    if isinstance(value, dict):
        return {key: filled(entry, places) for key, entry in value.items()}
    return value


def in_file(given: Mapping[str, Any]) -> dict[str, Any]:
    """Keys of a file, with those of hcrs in their table."""
    own = {key: value for key, value in given.items() if SETTINGS[key].own}
    return {**{key: value for key, value in given.items() if key not in own}, **({"hcrs": own} if own else {})}


def as_variable(value: Any) -> str:
    """How the environment says it."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(entry, str) for entry in value):
        return ",".join(value)
    return literal(value)


def as_flags(flag: str, value: Any) -> list[str]:
    """How this flag says it."""
    if value is True:
        return [flag]
    texts = [str(entry) for entry in value] if isinstance(value, list) else [str(value)]
    if flag.startswith("--"):
        return [f"{flag}={text}" for text in texts]
    return [part for text in texts for part in (flag, text)]


def places() -> dict[str, str]:
    """The values of the placeholders where nothing is started."""
    return {"<folder>": "/folder", "<pki>": "/pki", "<python>": sys.executable, "<port>": "8125"}
