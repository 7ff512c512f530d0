"""A folder of its own for what each app wants installed, with hcrs in it."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from site_table import FOLDER

#: How long an installation may take, in seconds: some apps are hundreds of megabytes.
INSTALL_S = 1800
#: How long anything else may take that is run once, in seconds.
RUN_S = 120
#: Prints the versions of what it is told and finds.
VERSIONS = """
import importlib.metadata, json, sys
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pass
print(json.dumps(found))
"""


class CannotInstall(Exception):
    """An installation failed, with the output of pip."""


def make(name: str, folder: Path, hcrs: Path) -> Path:
    """Makes an app's virtual environment, or takes the one that was made for the same requirements; returns its Python."""
    wanted = FOLDER / name / "requirements.txt"
    python = folder / name / "bin/python"
    stamp = folder / name / "requirements.stamp"
    sign = hashlib.sha256(sys.version.encode() + wanted.read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text() != sign:
        folder.mkdir(parents=True, exist_ok=True)
        _run([sys.executable, "-m", "venv", "--clear", folder / name], RUN_S)
        quiet = ["--quiet", "--disable-pip-version-check", "--no-cache-dir", "--only-binary", ":all:"]
        _run([python, "-m", "pip", "install", *quiet, "-r", wanted], INSTALL_S)
        stamp.write_text(sign)
    _share_hcrs(python, hcrs)
    return python


def versions(python: Path, packages: Sequence[str]) -> dict[str, str]:
    """The versions of those packages that are installed."""
    found: dict[str, str] = json.loads(_run([python, "-c", VERSIONS, *packages], RUN_S))
    return found


def _share_hcrs(python: Path, hcrs: Path) -> None:
    """Puts the package of an hcrs command among an environment's own: it needs nothing but itself, and one for all
    environments spares building it for each."""
    where = "import hcrs, pathlib; print(pathlib.Path(hcrs.__file__).parent)"
    package = Path(_run([hcrs.parent / "python", "-c", where], RUN_S).strip())
    packages = Path(_run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], RUN_S).strip())
    link = packages / "hcrs"
    if link.is_symlink() and link.readlink() == package:
        return
    link.unlink(missing_ok=True)
    link.symlink_to(package)


def _run(command: Sequence[object], seconds: float) -> str:
    words = [str(part) for part in command]
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotInstall(str(error)) from error
    if done.returncode:
        raise CannotInstall(f"{' '.join(words)} ended with {done.returncode}: {done.stderr.strip()[-2000:]}")
    return done.stdout
