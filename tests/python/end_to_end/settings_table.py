"""The settings as the generated reference lists them, and as the command shows what they have become."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from end_to_end.server import command

REFERENCE = Path(__file__).parents[3] / "docs" / "reference.md"


class Setting(NamedTuple):
    """A row of the reference."""

    key: str
    own: bool
    #: Long and short forms, aliases included.
    flags: list[str]
    takes: str
    #: Other names in a file.
    aliases: list[str]
    ignored: bool

    @property
    def variable(self) -> str:
        """Its variable of the environment."""
        return f"HCRS_{self.key.upper()}"


def _settings() -> dict[str, Setting]:
    found = {}
    ignored, section = False, ""
    for line in REFERENCE.read_text().splitlines():
        if line.startswith("## "):
            section = line
            ignored = line == "## Ignored"
        if section in ("## Keys of a route", "## Keys of an app"):
            continue
        row = re.fullmatch(r"\| `(\w+)`( \*hcrs\*)? \|([^|]*)\|(.*)\|", line)
        if row:
            key, own, flags, rest = row.groups()
            also = re.search(r" In a file also ([^|]*)\.", rest)
            found[key] = Setting(
                key,
                bool(own),
                re.findall(r"`(--?[A-Za-z-]+)`", flags),
                rest.split("|")[0].strip(),
                re.findall(r"`(\w+)`", also[1]) if also else [],
                ignored,
            )
    return found


SETTINGS = _settings()


class Shown(NamedTuple):
    """A setting as the command shows it."""

    #: As it would be written in a file; empty if it is unset.
    value: str
    origin: str


def show(
    folder: Path, arguments: Sequence[str] = (), env: Mapping[str, str] | None = None
) -> tuple[dict[str, Shown], str]:
    """Every setting as ``hcrs config show`` shows it, and the warnings."""
    result = subprocess.run(
        [command(), "config", "show", *arguments],
        cwd=folder,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    shown = {}
    #: What is printed as tables: the lines of all of them, and the origin of the first.
    tables = {"apps": Shown("", ""), "routes": Shown("", "")}
    table = None
    for line in result.stdout.splitlines():
        row = re.fullmatch(r"(?:(\w+) = (.*?)|# (\w+) is unset) +# (.*)", line)
        header = re.fullmatch(r"\[\[hcrs\.(\w+)]] +# (.*)", line)
        if header:
            table = header[1]
            tables[table] = Shown(tables[table].value, tables[table].origin or header[2])
        elif table:
            tables[table] = tables[table]._replace(value=f"{tables[table].value}{line}\n")
        elif row:
            key, value, unset, origin = row.groups()
            shown[key or unset] = Shown(value or "", origin)
    # The files of `static` are routes as well.
    return {**shown, **tables, "static": tables["routes"]}, result.stderr
