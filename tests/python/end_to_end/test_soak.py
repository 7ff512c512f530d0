"""A short run of the soak (tests/soak): mixed load, killed and replaced workers, and every answer its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from end_to_end.server import command

SOAK = Path(__file__).parents[2] / "soak" / "soak.py"


@pytest.mark.slow
@pytest.mark.skipif(sys.version_info < (3, 11), reason="the soak's clients want asyncio.TaskGroup")
@pytest.mark.timeout(240)
def test_short_soak(tmp_path: Path) -> None:
    """With a worker killed and all of them replaced every few seconds."""
    options = ["--seconds", "20", "--scale", "0.5", "--kill-every", "6", "--reload-every", "8"]
    ran = subprocess.run(
        [sys.executable, str(SOAK), "--hcrs", command(), "--out", str(tmp_path), *options],
        capture_output=True,
        text=True,
        timeout=230,
    )
    print(ran.stdout)
    assert ran.returncode == 0, ran.stdout + ran.stderr
