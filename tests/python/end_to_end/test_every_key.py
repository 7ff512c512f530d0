"""Every key and every flag: the table of what they do is complete, and file, environment and flags mean the same.

What each of them does is observed by tests that are marked as rows of the table (key_rows.py), most of them in
``test_keys_of_*.py``.
"""

from __future__ import annotations

import importlib
import os
import re
import socket
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from end_to_end.h1_client import H1Client
from end_to_end.key_rows import GROUP, OWNER, ROWS, as_flags, as_variable, filled, in_file, places
from end_to_end.server import APPS, Server, command, to_toml, wait_until
from end_to_end.settings_table import SETTINGS, show

# Importing a test fills the table with its rows.
for _path in sorted(Path(__file__).parent.glob("test_*.py")):
    if _path.stem != Path(__file__).stem and "\n@shows(" in _path.read_text():
        importlib.import_module(f"end_to_end.{_path.stem}")

OBEYED = [setting for setting in SETTINGS.values() if not setting.ignored]
IGNORED = [setting for setting in SETTINGS.values() if setting.ignored]
PLAIN = str(APPS / "plain.py") + ":app"


def test_every_key_has_a_row_that_shows_what_it_does() -> None:
    assert sorted(setting.key for setting in OBEYED) == sorted(ROWS), "a key is without a test that is marked by `shows` (key_rows.py)"


def test_every_key_and_flag_of_the_command_is_in_the_reference(tmp_path: Path) -> None:
    shown, _ = show(tmp_path)
    assert set(shown) == set(SETTINGS)
    helped = subprocess.run([command(), "--help"], capture_output=True, text=True, check=True).stdout
    offered = {name for pair in re.findall(r"^ +(?:(-\w), )?(--[a-z-]+)", helped, re.MULTILINE) for name in pair if name}
    listed = {flag for setting in SETTINGS.values() for flag in setting.flags}
    aliases = {"--access-log", "--cert-reqs", "--error-log", "--log-file", "--name"}
    others = {"--config", "-c", "--strict", "--help", "-h", "--version", "-V"}
    assert offered == (listed - aliases) | others


#: What has to stand beside a key so that it can be said at all.
BESIDE: dict[str, dict[str, Any]] = {
    "certfile": {"keyfile": "k"},
    "keyfile": {"certfile": "c"},
    **{key: {"certfile": "c", "keyfile": "k"} for key in ("ca_certs", "certificates", "crls", "verify_mode")},
    "user": {"group": 1},
    "group": {"user": 1},
    "process_group": {"process_user": "1"},
    "insecure_bind": {"certfile": "c", "keyfile": "k"},
    "quic_bind": {"certfile": "c", "keyfile": "k"},
    "redirect_http": {"certfile": "c", "keyfile": "k", "insecure_bind": "127.0.0.1:0"},
    "proxy_headers": {"forwarded_allow_ips": "127.0.0.1"},
    "forwarded_prefix": {"forwarded_allow_ips": "127.0.0.1"},
    "trusted_hops": {"forwarded_allow_ips": "127.0.0.1"},
    "proxy_protocol": {"forwarded_allow_ips": "127.0.0.1"},
    "rate_burst": {"rate": "1/s"},
    "rate_by": {"rate": "1/s"},
    "auth_realm": {"auth": "users"},
    "otlp_endpoint": {"trace_context": "all"},
    **{
        f"acme_{key}": {"acme_domains": "beside.example"}
        for key in ("email", "directory", "directory_ca", "challenge", "profile", "storage", "key_type")
    },
    "acme_eab_kid": {"acme_domains": "beside.example", "acme_eab_hmac_key": "YWJj"},
    "acme_eab_hmac_key": {"acme_domains": "beside.example", "acme_eab_kid": "k"},
}


@pytest.mark.parametrize("key", [setting.key for setting in OBEYED])
def test_file_environment_and_flags_mean_the_same(tmp_path: Path, key: Any) -> None:
    setting = SETTINGS[key]
    value = filled(ROWS[key], places())
    beside = tmp_path / "beside.toml"
    beside.write_text(to_toml(in_file(BESIDE.get(key, {}))))
    (tmp_path / "given.toml").write_text(to_toml(in_file({key: value, **BESIDE.get(key, {})})))
    variable = {setting.variable: as_variable(value)}

    by_file, warnings = show(tmp_path, ["given.toml"])
    assert re.fullmatch(r"given\.toml:\d+", by_file[key].origin) and not warnings, warnings
    assert by_file[key].value != show(tmp_path)[0][key].value, "the row's value is the default"
    by_variable, warnings = show(tmp_path, ["given.toml"], variable)
    assert by_variable[key] == (by_file[key].value, setting.variable) and not warnings
    by_variable, _ = show(tmp_path, ["beside.toml"], variable)
    assert by_variable[key] == (by_file[key].value, setting.variable)
    for flag in setting.flags if value is not False else []:
        by_flag, warnings = show(tmp_path, ["given.toml", *as_flags(flag, value)], variable)
        assert by_flag[key] == (by_file[key].value, setting.flags[0]), flag
        assert not warnings
    for alias in setting.aliases:
        text = to_toml({alias: value, **in_file(BESIDE.get(key, {}))})
        (tmp_path / "alias.toml").write_text(text)
        by_alias, warnings = show(tmp_path, ["alias.toml"])
        assert by_alias[key].value == by_file[key].value
        assert f"{alias} is taken as {key}" in warnings


def test_keys_that_are_ignored_say_why_once(serve: Callable[..., Server], connect_h1: Callable[..., H1Client]) -> None:
    server = serve("plain.py:app", **{setting.key: 1 for setting in IGNORED})
    assert connect_h1(server.listener).get().status == 200
    for setting in IGNORED:
        reason = f"{setting.key} is ignored: {setting.takes.rstrip('.')}"
        assert server.log.count(reason) == 1, (reason, server.log)
    assert server.log.count(" is ignored: ") == len(IGNORED)


def test_flags_and_variables_that_are_ignored_say_why(tmp_path: Path) -> None:
    for setting in IGNORED:
        _, warnings = show(tmp_path, [], {setting.variable: "1"})
        assert f"{setting.variable}: {setting.key} is ignored: " in warnings
        for flag in setting.flags:
            value = [] if flag in ("--daemon", "-D", "--reload") else ["1"]
            _, warnings = show(tmp_path, [flag, *value])
            assert f"{setting.flags[0]}: {setting.key} is ignored: " in warnings


def test_short_forms_do_what_the_long_ones_do(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client], tmp_path: Path
) -> None:
    (tmp_path / "conf.toml").write_text('root_path = "/of/the/file"\nbind = "127.0.0.1:0"\n')
    server = serve(
        None,
        bind=[f"unix:{tmp_path}/socket"],  # what is waited for; the file is another one
        flags=["-c", f"{tmp_path}/conf.toml", "-b", f"unix:{tmp_path}/socket", "-w", "2", "-k", "uvloop", "-p",
               f"{tmp_path}/pid", "-u", str(OWNER), "-g", str(GROUP), "-m", "63", "-D", str(APPS / "settings.py") + ":app"],
    )  # fmt: skip
    status = os.stat(tmp_path / "socket")
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o700, OWNER, GROUP), "63 is decimal"
    assert (tmp_path / "pid").read_text() == str(server.pid)
    assert len(server.worker_pids()) == 2
    body = connect_h1(server.listener).get().body
    assert b'"loop": "uvloop"' in body and b'"root_path": "/of/the/file"' in body
    assert "daemon is ignored" in server.log


def test_flags_may_be_shortened_joined_repeated_and_old(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client], tmp_path: Path
) -> None:
    server = serve(
        "plain.py:app",
        bind=["127.0.0.1:0", "127.0.0.1:0"],
        server_names=["of.the.file"],
        accesslog="of-the-file.log",
        flags=["--keep=9", "--bi", f"unix:{tmp_path}/a", f"--bind=unix:{tmp_path}/b", "--server-n", "a.test",
               "--server-name=b.test", "--access-log", "-", "--access-logformat=%(r)s|", "--workers=3", "-w2"],
    )  # fmt: skip
    assert [listener.path for listener in server.listeners] == [f"{tmp_path}/a", f"{tmp_path}/b"]
    assert len(server.worker_pids()) == 2, "what is said last"
    for host, status in (("a.test", 200), ("b.test", 200), ("of.the.file", 404)):
        client = connect_h1(server.listener)
        client.send(f"GET / HTTP/1.1\r\nhost: {host}\r\n\r\n")
        assert client.response().status == status
    wait_until(lambda: server.output.count("GET / 1.1|\n") == 3, "the lines of the access log")
    assert not (tmp_path / "server-0" / "of-the-file.log").exists()


def test_ambiguous_and_wrong_flags_are_reported(tmp_path: Path) -> None:
    for arguments, words in (
        (["--work", "2"], ["--worker", "similar"]),
        (["--workers", "two"], ["invalid value 'two'", "--workers"]),
        (["--wokers", "2"], ["'--wokers'", "--workers"]),
        (["--bind"], ["--bind"]),
    ):
        result = subprocess.run([command(), *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=20, check=False)
        assert (result.returncode, result.stdout) == (2, "")
        for word in words:
            assert word in result.stderr, result.stderr


def test_the_old_flag_of_the_error_log_is_obeyed(launch: Callable[..., Server], tmp_path: Path) -> None:
    server = launch("plain.py:app", flags=["--error-log", f"{tmp_path}/errors"])
    wait_until(lambda: (tmp_path / "errors").exists() and "Running on" in (tmp_path / "errors").read_text(), "the log")
    assert server.stop() == 0
    assert "Running on" not in server.log


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        return int(taken.getsockname()[1])


def test_variables_that_others_have_agreed_on_are_obeyed(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client]
) -> None:
    port = free_port()
    env = {"PORT": str(port), "WEB_CONCURRENCY": "2", "FORWARDED_ALLOW_IPS": "127.0.0.1"}
    server = serve("settings.py:app", env=env, workers=3)
    assert (server.listener.host, server.listener.port) == ("0.0.0.0", port)
    assert len(server.worker_pids()) == 2
    told = connect_h1(server.listener._replace(host="127.0.0.1")).get("/", headers="x-forwarded-for: 198.51.100.9\r\n")
    assert b'"client": "198.51.100.9"' in told.body


#: As people write it.
THE_FILE = """\
bind = ["0.0.0.0:8000"]
workers = 4
worker_class = "asyncio"
log_level = "info"
access_log = "-"
keep_alive_timeout = 5
graceful_timeout = 30
"""


def test_the_file_that_people_write_starts_as_it_is(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client], tmp_path: Path
) -> None:
    path = tmp_path / "hypercorn.toml"
    path.write_text(THE_FILE)
    # The port may be somebody's: everything else is the file's.
    server = serve(None, config_file=path, flags=["-b", "127.0.0.1:0", PLAIN])
    assert connect_h1(server.listener).get().body == b"hello"
    assert len(server.worker_pids()) == 4
    wait_until(lambda: '"GET / 1.1" 200' in server.output, "the line of the access log")
    shown, warnings = show(tmp_path, ["hypercorn.toml"])
    assert shown["bind"].value == '["0.0.0.0:8000"]' and shown["graceful_timeout"].value == "30"
    assert [line.partition(": ")[2].partition(": ")[2] for line in warnings.splitlines()] == [
        "log_level is taken as loglevel, which is its name in Hypercorn",
        "access_log is taken as accesslog, which is its name in Hypercorn",
    ]
    assert all(setting.value for key, setting in shown.items() if key in THE_FILE)
