"""Apps of others that install little (tests/apps): each is served over cleartext and TLS, driven, and ended."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from end_to_end.server import command

APPS = Path(__file__).parents[2] / "apps" / "apps.py"
#: Their visits make their own deadlines felt first, in seconds.
VISITED_S = 240


@pytest.mark.slow
@pytest.mark.timeout(VISITED_S + 10)
@pytest.mark.parametrize("name", ["cherrypy", "httpbin", "sanic", "socketio", "strawberry"])
def test_an_app_of_others_works(tmp_path: Path, name: str) -> None:
    options = ["--only", name, "--servers", "hcrs,hcrs-tls", "--python", sys.executable, "--out", str(tmp_path)]
    ran = subprocess.run(
        [sys.executable, str(APPS), "--hcrs", command(), "--logs", str(tmp_path), *options],
        capture_output=True,
        text=True,
        timeout=VISITED_S,
    )
    for log in sorted(tmp_path.glob("*.log")):
        print(f"{log.name}:", log.read_text(errors="replace")[-10_000:])
    assert ran.returncode == 0, ran.stdout + ran.stderr
    (table,) = tmp_path.glob("*.md")
    assert table.read_text().count("| starts | ok | ok |") == 1, "it was served both ways"
