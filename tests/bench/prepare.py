"""The preparation of a run: the venv, hcrs in it, a certificate, the machine's facts."""

import argparse
import hashlib
import json
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path

from edges import PACKAGES as EDGES
from servers import Toolbox

# What hcrs is built from.
SOURCES = ("crates", "Cargo.toml", "Cargo.lock", "pyproject.toml", "setup.py", "setup.cfg")
PACKAGES = ("granian", "uvicorn", "httptools", "websockets", "wsproto", "hypercorn", "h2", "aioquic", "gunicorn")
ECHO_CLIENT = ("-p", "hcrs-ws", "--example", "echo_load")
H3_CLIENT = ("-p", "hcrs-h3", "--example", "h3_load")
SHARED = ("uvloop", "fastapi", "starlette", "pydantic", "flask")


def venv(here: Path, python: str) -> Path:
    """The bench's venv, made anew when the Python or the requirements have changed."""
    folder, wanted = here / ".venv", here / "requirements.txt"
    version = _output([python, "-c", "import sys; print(sys.version)"])
    stamp = hashlib.sha256(version.encode() + wanted.read_bytes()).hexdigest()
    if _stamped(folder / "requirements.stamp", stamp):
        return folder
    print(f"making {folder} with Python {version.split()[0]}", flush=True)
    _run([python, "-m", "venv", "--clear", folder])
    _run([folder / "bin/pip", "install", "-q", "-r", wanted])
    (folder / "requirements.stamp").write_text(stamp)
    return folder


def hcrs(here: Path, folder: Path, told: Path | None) -> Path:
    """The hcrs command: the one told, or of the wheel told, or of this checkout."""
    if told and told.suffix != ".whl":
        if not os.access(told, os.X_OK):
            sys.exit(f"--hcrs {told}: not a command")
        return told.resolve()
    checkout = here.parent.parent
    source = told or checkout
    stamp = _built_from(checkout) if told is None else None
    if stamp is None or not _stamped(folder / "hcrs.stamp", stamp):
        print(f"installing hcrs from {source}", flush=True)
        (folder / "hcrs.stamp").unlink(missing_ok=True)
        _run([folder / "bin/pip", "install", "-q", "--no-deps", "--force-reinstall", source])
        if stamp:
            (folder / "hcrs.stamp").write_text(stamp)
    return folder / "bin/hcrs"


def client(here: Path, example: tuple[str, ...]) -> Path:
    """A client that is an example of a crate, built as released."""
    checkout = here.parent.parent
    _run(["cargo", "build", "-q", "--locked", "--release", "--manifest-path", checkout / "Cargo.toml", *example])
    described = ["cargo", "metadata", "--format-version=1", "--no-deps", "--manifest-path", checkout / "Cargo.toml"]
    return Path(json.loads(_output(described))["target_directory"]) / "release/examples" / example[-1]


def certificate(here: Path, folder: Path, scratch: Path) -> tuple[Path, Path]:
    cert, key = scratch / "cert.pem", scratch / "key.pem"
    _run([folder / "bin/python", here / "certificate.py", cert, key])
    return cert, key


def setting(here: Path, tools: Toolbox, told: argparse.Namespace) -> dict:
    """Machine, versions and commit, in words for the head of the report."""
    checkout = here.parent.parent
    listing = f"import importlib.metadata as m; print({{p: m.version(p) for p in {PACKAGES + SHARED}}})"
    versions = json.loads(_output([tools.bin / "python", "-c", listing]).replace("'", '"'))
    own = _output([tools.hcrs, "--version"]) if "hcrs" in told.servers else "hcrs not measured"
    dirty = _output(["git", "-C", checkout, "status", "--porcelain", "--", *SOURCES], check=False)
    commit = _output(["git", "-C", checkout, "rev-parse", "--short", "HEAD"], check=False)
    release = ".".join(platform.release().split(".")[:2])
    return {
        "commit": (commit or "unknown") + ("-dirty" if dirty else ""),
        "machine": f"{_cpu()}, {os.cpu_count()} CPUs, {_memory()}, Linux {release}",
        "load": f"{os.getloadavg()[0]:.2f}",
        "python": _output([tools.bin / "python", "-V"]).removeprefix("Python "),
        "hcrs": own,
        "peers": ", ".join(f"{name} {versions[name]}" for name in PACKAGES),
        "shared": ", ".join(f"{name} {versions[name]}" for name in SHARED),
        "edges": ", ".join(_edge_version(command) for name, command in EDGES.items() if name in told.servers),
        "h2load": _output(["h2load", "--version"]),
        "command": shlex.join(["python3", "tests/bench/bench.py", *sys.argv[1:]]),
        "rounds": told.rounds,
        "seconds": told.seconds,
        "pinned": "the client on one CPU, the servers on the others" if told.pin else "no CPU pinned",
    }


def _edge_version(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    line = (done.stdout + done.stderr).splitlines()[0]
    return line if command[0] in line.lower() else f"{command[0]} {line}"


def _built_from(checkout: Path) -> str | None:
    """A name for the state of hcrs's sources; None if they are not as committed."""
    git = ["git", "-C", checkout]
    if _output([*git, "status", "--porcelain", "--", *SOURCES], check=False):
        return None
    return _output([*git, "ls-tree", "HEAD", "--", *SOURCES], check=False) or None


def _stamped(path: Path, stamp: str) -> bool:
    return path.exists() and path.read_text() == stamp


def _run(command: list) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL)
    if done.returncode:
        sys.exit(f"{shlex.join(map(str, command))} ended with {done.returncode}")


def _output(command: list, check: bool = True) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    except OSError as error:
        sys.exit(f"{command[0]}: {error}")
    if check and done.returncode:
        sys.exit(f"{shlex.join(map(str, command))}: {done.stderr.strip()}")
    return done.stdout.strip()


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _memory() -> str:
    return f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB"
