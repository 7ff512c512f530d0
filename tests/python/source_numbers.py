"""The numbers of the server's own sources, so that tests of the protocol and of limits have no second copy of them."""

from __future__ import annotations

import re
from pathlib import Path

CRATES = Path(__file__).parents[2] / "crates"


def numbers(source: str) -> dict[str, int]:
    """The constants of a source file, named from the folder of the crates, whose values are numbers."""
    text = (CRATES / source).read_text()
    found = re.findall(r"^ *(?:pub(?:\(\w+\))? )?const (\w+): \w+ = (\d+)(?: << (\d+))?;$", text, re.MULTILINE)
    return {name: int(number) << int(shift or 0) for name, number, shift in found}
