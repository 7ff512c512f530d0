"""The Autobahn test suite: a venv of Python 2.7 that holds it, and its fuzzing client."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

SUITE = "autobahntestsuite==25.10.1"
# The last one that makes venvs for Python 2.7, which has no venv of its own.
VIRTUALENV = "virtualenv==20.15.1"
AGENT = "hcrs"
MISSING = """the suite runs on Python 2.7 alone, and there is none: say where by PYTHON2=/path/to/python2.7, or
  pyenv install 2.7.18
(looked for python2.7 in PATH and in pyenv's versions)"""


def find_python2(told: str | None) -> str:
    """The interpreter that was told, the one in PATH, or pyenv's newest."""
    if told:
        found = shutil.which(told)
        if found is None:
            sys.exit(f"PYTHON2={told}: no such command")
        return found
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = sorted(versions.glob("2.7*/bin/python2.7"), reverse=True)
    # Not pyenv's shim, which is in PATH for versions that are not chosen.
    candidates[:0] = [Path(found)] if (found := shutil.which("python2.7")) else []
    for candidate in candidates:
        if subprocess.run([candidate, "-c", ""], capture_output=True).returncode == 0:
            return str(candidate)
    sys.exit(MISSING)


def prepare(venv: Path, python2: str | None) -> Path:
    """Makes the venv, unless it exists, and returns its `wstest`."""
    wstest, stamp = venv / "bin/wstest", venv / "suite.stamp"
    if wstest.exists() and stamp.exists() and stamp.read_text() == SUITE:
        return wstest
    python = find_python2(python2)
    print(f"making {venv} with {python}", flush=True)
    shutil.rmtree(venv, ignore_errors=True)
    tools = venv / "tools"
    _run([python, "-m", "pip", "install", "-q", "--no-warn-script-location", "--target", tools, VIRTUALENV])
    _run([python, "-m", "virtualenv", "-q", venv], PYTHONPATH=str(tools))
    _run([venv / "bin/pip", "install", "-q", SUITE])
    stamp.write_text(SUITE)
    return wstest


def fuzz(wstest: Path, url: str, cases: list[str], scratch: Path, limit_s: float) -> dict[str, dict]:
    """Runs the fuzzing client; what it says of each case."""
    spec, reports = scratch / "fuzzingclient.json", scratch / "reports"
    server = {"agent": AGENT, "url": url, "options": {"version": 18}}
    spec.write_text(
        json.dumps(
            {"outdir": str(reports), "servers": [server], "cases": cases, "exclude-cases": [], "exclude-agent-cases": {}}
        )
    )
    with (scratch / "wstest.log").open("wb") as log:
        done = subprocess.run(
            [wstest, "-m", "fuzzingclient", "-s", spec], cwd=scratch, stdout=log, stderr=log, timeout=limit_s
        )
    index = reports / "index.json"
    if done.returncode or not index.exists():
        sys.exit(f"wstest ended with {done.returncode}:\n{(scratch / 'wstest.log').read_text()[-2000:]}")
    cases_of: dict[str, dict] = json.loads(index.read_text())[AGENT]
    return cases_of


def _run(command: list, **env: str) -> None:
    done = subprocess.run(command, env={**os.environ, **env}, stdin=subprocess.DEVNULL)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))} ended with {done.returncode}")
