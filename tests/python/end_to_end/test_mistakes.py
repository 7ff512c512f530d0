"""Messages for operators: the place, the key, the expectation, the remedy, and the exit code."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from end_to_end.certificates import Pki
from end_to_end.server import APPS, Server, command

PLAIN = str(APPS / "plain.py") + ":app"
GUIDE = Path(__file__).parents[3] / "docs" / "guide" / "operation.md"

USAGE, NOT_STARTED, CONFIG = 2, 1, 78


def run(folder: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """A run that has to end by itself."""
    return subprocess.run(
        [command(), *arguments],
        cwd=folder,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        # A type, a value, an element of a list, the syntax.
        ("workers = 'two'", ["x.toml:1:11: workers: expected a whole number from 0 to 1024 or \"auto\", found the string \"two\""]),
        ("debug = 1", ["x.toml:1:9: debug: expected true or false, found 1"]),
        ("backlog = -1", ["x.toml:1:11: backlog: expected a whole number from 1 to"]),
        ("loglevel = 'loud'", ["x.toml:1:12: loglevel: expected \"debug\", \"info\""]),
        ("bind = [\n'a:1', '5000']", ["x.toml:2:8: bind: \"5000\" cannot be bound", 'write "127.0.0.1:5000"']),
        ("keep_alive_timeout = 'soon'", ["keep_alive_timeout: expected a number of seconds from 0.001"]),
        ("workers = ", ["x.toml:1:"]),
        ("server_names = ['https://a']", ["x.toml:1:17: server_names: expected a host name or address"]),
        ("[hcrs]\nminimum_version = '1.1'", ["x.toml:2:19: [hcrs] minimum_version: expected"]),
        # What does not go together.
        ("certfile = 'c.pem'", ["x.toml:1:12: certfile is set but keyfile is not: TLS needs both; for cleartext leave"]),
        ("keyfile = 'k.pem'", ["x.toml:1:11: keyfile is set but certfile is not"]),
        ("verify_mode = 2", ["x.toml:1:15: verify_mode is set but certfile and keyfile are not"]),
        # What is named and is not there.
        ("certfile = 'c.pem'\nkeyfile = 'k.pem'", ["x.toml:1: certfile: cannot read c.pem: No such file"]),
        ("certfile = '.'\nkeyfile = 'k.pem'", ["x.toml:1: certfile: cannot read .: Is a directory"]),
    ],
)
def test_mistakes_of_a_file_are_reported_with_place_key_and_expectation(tmp_path: Path, text: str, words: Any) -> None:
    (tmp_path / "x.toml").write_text(f"{text}\n")
    result = run(tmp_path, "-c", "x.toml", PLAIN)
    assert (result.returncode, result.stdout) == (CONFIG, "")
    for word in words:
        assert word in result.stderr, result.stderr
    assert "panicked" not in result.stderr and "RUST_BACKTRACE" not in result.stderr


def test_flags_and_variables_are_named_as_they_were_given(tmp_path: Path) -> None:
    result = run(tmp_path, "--keyfile=k.pem", "--certfile=c.pem", "-b", "127.0.0.1:0", PLAIN)
    assert (result.returncode, result.stderr[:40]) == (CONFIG, "hcrs: --certfile: cannot read c.pem: No ")
    result = run(tmp_path, "--keyfile=k.pem", "-b", "127.0.0.1:0", PLAIN, HCRS_CERTFILE="c.pem", HCRS_BACKLOG="x")
    assert result.returncode == CONFIG
    assert "HCRS_BACKLOG: expected a whole number from 1 to 2147483647, found the string \"x\"" in result.stderr


def test_all_mistakes_are_reported_at_once(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text("workers = 'two'\nbacklog = 0\ncertfile = 'c'\n[hcrs]\nio_threads = 0\n")
    result = run(tmp_path, "-c", "x.toml", "--umask", "9999", HCRS_DEBUG="perhaps")
    assert result.returncode == CONFIG
    for word in ("x.toml:1:11: workers", "x.toml:2:11: backlog", "x.toml:3:12: certfile is set", "x.toml:5:14: [hcrs] io_threads",
                 "--umask: expected", "HCRS_DEBUG: expected true or false"):  # fmt: skip
        assert word in result.stderr, result.stderr


def test_a_misspelt_key_is_reported_beside_a_wrong_value(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text("workers = 'two'\nkeep_alive_timeot = 5\n")
    result = run(tmp_path, "config", "check", "x.toml")
    assert result.returncode == CONFIG
    assert "x.toml:1:11: workers: expected" in result.stderr
    assert "warning: x.toml:2:1: unknown key: keep_alive_timeot, ignored; did you mean keep_alive_timeout?" in result.stderr


HOST_AND_PORT = "--host and --port are flags of uvicorn: write --bind 0.0.0.0:8000"
CONVERT = "; hcrs migrate -- COMMAND converts a whole command line"
OMIT = "omit it, since ASGI apps are recognized; for uvloop write --worker-class uvloop"


@pytest.mark.parametrize(
    ("flags", "lines"),
    [
        (["--host", "0.0.0.0", "--port=8000"], [HOST_AND_PORT + CONVERT]),
        (["--port", "8000", "--factory", "--host", "0.0.0.0"], [
            HOST_AND_PORT,
            "--factory is a flag of uvicorn: call the factory in the app's name: MODULE:create()" + CONVERT,
        ]),
        (["--threads", "4"], ["--threads is a flag of gunicorn: write --wsgi-threads NUMBER" + CONVERT]),
        (["--ssl-keyfile", "k"], ["--ssl-keyfile is a flag of uvicorn: write --keyfile FILE" + CONVERT]),
        (["-k", "uvicorn.workers.UvicornWorker"], [
            f"--worker-class uvicorn.workers.UvicornWorker is a class of gunicorn: {OMIT}",
        ]),
        (["--http-timeout", "9"], [
            (
                "--http-timeout is a flag of daphne: the app may take any time to answer; worker_timeout of [hcrs] "
                "replaces workers that hang"
            ),
        ]),
    ],
)  # fmt: skip
def test_flags_of_other_servers_are_reported_with_a_replacement(
    tmp_path: Path, flags: list[str], lines: list[str]
) -> None:
    result = run(tmp_path, PLAIN, *flags)
    assert (result.returncode, result.stdout) == (USAGE, "")
    assert result.stderr == "hcrs: " + "\n".join(lines) + "\n"


def test_http2_is_accepted_as_a_flag(launch: Callable[..., Server]) -> None:
    server = launch("plain.py:app", flags=["--http2"]).wait_until_running()
    server.wait_for_log(r"\[WARNING\] --http2 has no effect: HTTP/2 is always enabled")
    assert server.stop() == 0


def test_unknown_keys_are_mistakes_only_if_they_shall_be(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text("bind = '127.0.0.1:0'\nkeep_alive_timeot = 5\n[hcrs]\nworkers = 2\n")
    result = run(tmp_path, "config", "check", "x.toml")
    assert (result.returncode, result.stdout) == (0, "the configuration is valid\n")
    hint = "x.toml:2:1: unknown key: keep_alive_timeot, ignored; did you mean keep_alive_timeout?"
    assert f"warning: {hint}" in result.stderr
    for arguments in (("-c", "x.toml", "--strict", PLAIN), ("config", "check", "--strict", "x.toml")):
        result = run(tmp_path, *arguments)
        assert result.returncode == CONFIG
        assert hint in result.stderr and "[hcrs] workers, ignored; it belongs above all tables" in result.stderr


def test_a_check_finds_what_a_start_would_find_one_by_one(tmp_path: Path, pki: Pki) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        lines = [
            f"bind = ['{address}', '127.0.0.1:0']",
            f"insecure_bind = 'unix:{tmp_path}/none/s'",
            f"certfile = '{pki / 'localhost.pem'}'",
            f"keyfile = '{pki / 'client.pem'}'",
            "accesslog = 'none/access.log'",
            "pid_path = 'none/pid'",
            "logconfig = 'json:none.json'",
        ]
        (tmp_path / "x.toml").write_text("\n".join(lines))
        result = run(tmp_path, "config", "check", "x.toml")
    assert (result.returncode, result.stdout) == (CONFIG, "")
    for word in (
        f"x.toml:1: bind: cannot listen on {address}: Address already in use (os error 98); another process is using it; stop",
        "x.toml:2: insecure_bind: cannot listen on unix:",
        "x.toml:4: the key in keyfile",
        "does not belong to the first certificate",
        "x.toml:5: accesslog: cannot write the log none/access.log: No such file or directory (os error 2); its directory does",
        "x.toml:6: pid_path: cannot write the process id to none/pid",
        "x.toml:7: logconfig: cannot read json:none.json",
    ):
        assert word in result.stderr, result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.toml"], "nothing was made"


def test_a_check_reads_the_file_of_logconfig(tmp_path: Path) -> None:
    (tmp_path / "log.json").write_text("{'version': 1}")
    (tmp_path / "log.yaml").write_text("version: 1")
    for name, problem in (
        ("log.json", "cannot read log.json: it is not valid JSON: "),
        ("log.yaml", "cannot read log.yaml: YAML is not supported; convert the file to JSON or TOML"),
    ):
        (tmp_path / "x.toml").write_text(f"logconfig = '{name}'\nbind = '127.0.0.1:0'\n")
        result = run(tmp_path, "config", "check", "x.toml")
        assert (result.returncode, result.stdout) == (CONFIG, "")
        assert f"x.toml:1: logconfig: {problem}" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--no-such-flag"], USAGE, ["--no-such-flag", "Usage: hcrs"]),
        (["config", "check", "a", "b"], USAGE, ["unexpected argument 'b'"]),
        (["-c", "missing.toml"], CONFIG, ["missing.toml", "cannot read the configuration"]),
        (["-c", "file:missing.py"], CONFIG, ["there is no such file"]),
        (["-c", "python:no_such_module"], CONFIG, ["ModuleNotFoundError"]),
        (["-b", "192.0.2.1:0", PLAIN], NOT_STARTED, ["--bind: cannot listen on 192.0.2.1:0", "0.0.0.0 stands for all"]),
        (["-b", "no.such.host.invalid:0", PLAIN], NOT_STARTED, ["--bind: cannot listen on no.such.host.invalid:0"]),
        (["-b", "fd://99", PLAIN], NOT_STARTED, ["--bind: cannot listen on fd://99: Bad file descriptor"]),
        (["-p", "none/pid", PLAIN], NOT_STARTED, ["--pid: cannot write the process id to none/pid", "its directory does not exist"]),
        (["--access-logfile", "none/log", PLAIN], NOT_STARTED, ["--access-logfile: cannot write the log none/log"]),
        (["no_such:app"], NOT_STARTED, ["module not found. There is no no_such in /", "none is installed for /"]),
        (["no_such.part:app"], NOT_STARTED, ["module not found. There is no no_such in /"]),
        ([PLAIN.replace(":app", ":ap")], NOT_STARTED, ["application not found. plain defines app, app_headers, "]),
        ([PLAIN.replace(":app", ":None")], NOT_STARTED, ["it is of type NoneType, which is neither ASGI nor WSGI"]),
        ([str(APPS / "broken.py") + ":app"], NOT_STARTED, ["RuntimeError: broken on purpose"]),
        ([str(APPS / "lifespans.py") + ":fails"], NOT_STARTED, ["Lifespan failure in startup", "no database"]),
        (["--python", "/no/python", PLAIN], NOT_STARTED, ["/no/python"]),
        (["--log-config", "none.ini", PLAIN], NOT_STARTED, ["logconfig: there is no file 'none.ini'"]),
        (["--log-config", "log.yaml", PLAIN], NOT_STARTED, ["logconfig: 'log.yaml' is YAML, which is not read"]),
        (
            ["--log-config", PLAIN.partition(":")[0], PLAIN],
            NOT_STARTED,
            ["plain.py' cannot be read as INI: File contains no section headers."],
        ),
        (["-k", "gevant", PLAIN], CONFIG, ['--worker-class: expected "asyncio", "uvloop" or "trio", found']),
    ],
)
def test_every_failure_has_its_exit_code_and_a_reason(tmp_path: Path, arguments: Any, code: Any, words: Any) -> None:
    given = arguments if {"-b", "config"} & set(arguments) else [*arguments, "-b", "127.0.0.1:0"]
    result = run(tmp_path, *given)
    assert (result.returncode, result.stdout) == (code, ""), result.stderr
    for word in words:
        assert word in result.stderr, result.stderr


def test_an_address_in_use_is_reported_with_a_remedy(serve: Callable[..., Server], tmp_path: Path) -> None:
    running = serve("plain.py:app")
    address = running.listener.authority
    (tmp_path / "x.toml").write_text(f"workers = 1\nbind = '{address}'\n")
    result = run(tmp_path, "-c", "x.toml", PLAIN)
    assert result.returncode == NOT_STARTED
    assert result.stderr.startswith(f"hcrs: x.toml:2: bind: cannot listen on {address}: Address already in use")
    assert "choose another address" in result.stderr


def test_the_exit_codes_are_those_that_are_documented() -> None:
    """Of 0, 3 and 4 tell test_drain.py and test_workers.py; 70 is for what should never happen."""
    table = GUIDE.read_text().partition("### Exit codes")[2].partition("\n## ")[0]
    assert [int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)] == [0, 1, 2, 3, 4, 70, 78]


def test_version_and_help_are_no_failures(tmp_path: Path) -> None:
    for arguments in (["--version"], ["--help"], ["-h"], ["config", "show", "--help"], ["cert", "dev", "--help"]):
        result = run(tmp_path, *arguments)
        assert (result.returncode, result.stderr) == (0, "") and result.stdout


def test_a_certificate_for_development_comes_with_instructions_to_trust_it(tmp_path: Path) -> None:
    result = run(tmp_path, "cert", "dev")
    assert (result.returncode, result.stderr) == (0, "")
    for word in ("curl --cacert certs/ca.pem", "SSL_CERT_FILE=certs/ca.pem", "update-ca-certificates", "Firefox"):
        assert word in result.stdout, result.stdout
