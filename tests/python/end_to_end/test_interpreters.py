"""The interpreter that was named is the one that runs the app, however it was named."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

import hcrs
from end_to_end.server import DEADLINE, command

#: The folder of the package ``hcrs`` that is tested.
PACKAGES = Path(hcrs.__file__).parent.parent

APP = """
import os, sys
os.write(2, f"runs on {sys.prefix}\\n".encode())


async def app(scope, receive, send):
    assert scope["type"] == "http"
"""


@pytest.fixture(scope="module")
def environments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Virtual environments: a and b have hcrs and its command, none has not; user is what ``pip install --user`` makes."""
    folder = tmp_path_factory.mktemp("environments")
    for name in ("a", "b", "none"):
        venv.create(folder / name, symlinks=True)
        if name != "none":
            (packages,) = (folder / name / "lib").glob("python*/site-packages")
            (packages / "hcrs.pth").write_text(str(PACKAGES))
            shutil.copy(command(), folder / name / "bin/hcrs")
    # An interpreter that has what is in a user's folder, though no virtual environment has.
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    (folder / f"user/lib/{version}/site-packages").mkdir(parents=True)
    (folder / f"user/lib/{version}/site-packages/hcrs").symlink_to(PACKAGES / "hcrs")
    (folder / "user/bin").mkdir()
    shutil.copy(command(), folder / "user/bin/hcrs")
    (folder / "system/bin").mkdir(parents=True)
    for name in ("python3", version):
        script = folder / "system/bin" / name
        script.write_text(f'#!/bin/sh\nPYTHONPATH={folder}/user/lib/{version}/site-packages exec {sys.executable} "$@"\n')
        script.chmod(0o755)
    return folder


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Starts a command in the folder of an app, and returns its log until it serves or ends."""
    (tmp_path / "main.py").write_text(APP)

    def run(arguments: Sequence[str | Path], **environment: str) -> str:
        inherited = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}
        process = subprocess.Popen(
            [*arguments, "main:app", "--bind", "127.0.0.1:0"],
            cwd=tmp_path,
            env={**inherited, **environment},
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert process.stderr is not None
        said = []
        try:
            for line in process.stderr:
                said.append(line)
                if "Running on" in line:
                    break
        finally:
            process.terminate()
            try:
                process.communicate(timeout=DEADLINE)
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
        return "".join(said)

    return run  # type: ignore[return-value]


def prefix(said: str) -> Path:
    found = re.search(r"^runs on (.*)$", said, re.MULTILINE)
    assert found is not None, said
    return Path(found[1])


def test_python_m_runs_the_app_in_this_python(environments: Path, start: Callable[..., str]) -> None:
    said = start([environments / "a/bin/python", "-m", "hcrs"], VIRTUAL_ENV=str(environments / "b"))
    assert prefix(said) == environments / "a"
    assert "VIRTUAL_ENV" not in said


def test_an_interpreter_that_is_named_wins_over_python_m(environments: Path, start: Callable[..., str]) -> None:
    python = environments / "b/bin/python"
    said = start([environments / "a/bin/python", "-m", "hcrs", "--python", python])
    assert prefix(said) == environments / "b"


def test_a_command_of_a_virtual_environment_runs_the_app_there(environments: Path, start: Callable[..., str]) -> None:
    said = start([environments / "a/bin/hcrs"], VIRTUAL_ENV=str(environments / "b"))
    assert prefix(said) == environments / "a"
    python = environments / "a/bin/python3"
    assert f"The app runs on {python}, not on the Python of VIRTUAL_ENV, {environments}/b" in said
    assert "VIRTUAL_ENV" not in start([environments / "a/bin/hcrs"], VIRTUAL_ENV=str(environments / "a"))


def test_a_link_to_a_command_belongs_to_the_commands_environment(
    environments: Path, start: Callable[..., str], tmp_path: Path
) -> None:
    """As pipx has them."""
    (tmp_path / "hcrs").symlink_to(environments / "a/bin/hcrs")
    (tmp_path / "python3").symlink_to(environments / "none/bin/python3")
    for arguments in ([tmp_path / "hcrs"], ["hcrs"]):
        assert prefix(start(arguments, PATH=f"{tmp_path}:{os.environ['PATH']}")) == environments / "a"


def test_an_active_environment_without_hcrs_is_passed_over_with_a_line(
    environments: Path, start: Callable[..., str]
) -> None:
    active = environments / "none"
    path = f"{active}/bin:{environments}/user/bin:{environments}/system/bin:/usr/bin:/bin"
    said = start([environments / "user/bin/hcrs"], VIRTUAL_ENV=str(active), PATH=path)
    assert prefix(said) not in (active, environments / "a", environments / "b")
    python = environments / "system/bin"
    assert re.search(rf"The app runs on {python}/python\S+, not on the Python of VIRTUAL_ENV, {active}\n", said), said


def test_a_missing_package_is_reported_with_the_interpreter(
    environments: Path, start: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "main.py").write_text("import not_installed\n")
    said = start([environments / "a/bin/hcrs"])
    assert "No module named 'not_installed'" in said
    assert f"The interpreter is {environments}/a/bin/python3." in said


def test_python_m_starts_beside_files_named_like_the_standard_library(
    environments: Path, start: Callable[..., str], tmp_path: Path
) -> None:
    """But for what Python itself imports to find the package."""
    for name in ("logging", "socket", "subprocess", "json", "email", "queue", "token", "http", "asyncio", "tempfile"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('it is the app that this is for')\n")
    assert prefix(start([environments / "a/bin/python", "-m", "hcrs"])) == environments / "a"
