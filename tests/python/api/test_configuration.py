"""``hcrs.config.Config``: Hypercorn's attributes and constructors, and the file that the edge is given."""

from __future__ import annotations

import logging
import ssl
import sys
from pathlib import Path

import pytest

from hcrs.config import Config, ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found, unused-ignore]

hypercorn_config = pytest.importorskip("hypercorn.config")


def test_attributes_and_defaults_are_hypercorns() -> None:
    theirs, ours = hypercorn_config.Config(), Config()
    names = [name for name in dir(theirs) if not name.startswith("_") and not callable(getattr(theirs, name, None))]
    missing = {"cert_reqs", "log"}
    assert {name for name in names if not hasattr(ours, name)} <= missing
    different = {name for name in names if name not in missing and getattr(ours, name) != getattr(theirs, name)}
    assert different == {"keep_alive_max_requests"}
    assert ours.keep_alive_max_requests is None
    assert not hasattr(ours, "application_path")


def test_a_mapping_and_keywords() -> None:
    config = Config.from_mapping({"bind": "[::1]:1", "workers": 2}, workers=3, root_path="/a/")
    assert (config.bind, config.workers, config.root_path) == (["[::1]:1"], 3, "/a")
    assert Config.from_mapping({"ssl_enabled": True}).ssl_enabled is False


def test_a_toml_file_as_the_command_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text('bind = ["a:1", "b:2"]\nkeep_alive_timeout = 7.5\n[hcrs]\nwsgi_threads = 3\n')
    config = Config.from_toml(path)
    assert (config.bind, config.keep_alive_timeout) == (["a:1", "b:2"], 7.5)
    assert tomllib.loads(config.to_toml()) == tomllib.loads(path.read_text())


def test_a_python_file(tmp_path: Path) -> None:
    path = tmp_path / "settings.py"
    path.write_text("import os\nworkers = 1 + 1\nbind = 'unix:' + os.path.join('run', 's')\ndef unused(): pass\n")
    config = Config.from_pyfile(str(path))
    assert tomllib.loads(config.to_toml()) == {"workers": 2, "bind": ["unix:run/s"]}
    with pytest.raises(ConfigError, match=r"end in \.py"):
        Config.from_pyfile(tmp_path / "settings")


def test_objects_and_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hcrs_test_settings.py").write_text("backlog = 7\nclass Sub:\n    backlog = 8\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert Config.from_object("hcrs_test_settings").backlog == 7
    assert Config.from_object("hcrs_test_settings.Sub").backlog == 8
    with pytest.raises(ImportError):
        Config.from_object("hcrs_test_no_such_module")


def test_a_class_of_ones_own() -> None:
    class Mine(Config):
        keep_alive_timeout = 9.0
        workers = 5

    config = Mine.from_mapping(workers=6)
    assert isinstance(config, Mine)
    assert tomllib.loads(config.to_toml(without=["workers"])) == {"keep_alive_timeout": 9.0}


def test_only_what_was_set_is_passed_on_and_any_text_survives() -> None:
    config = Config()
    assert config.to_toml() == ""
    odd = 'a"b\\c\n\x7f\x01 ü \U0001f600'
    config.root_path = odd
    config.certfile = Path("cert.pem")  # type: ignore[assignment]
    config.keyfile = None
    config.verify_mode = ssl.VerifyMode.CERT_REQUIRED
    config.include_date_header = False
    config.logconfig_dict = {"a b": {"c": [1, 2.5, ()]}}
    assert tomllib.loads(config.to_toml()) == {
        "root_path": odd,
        "certfile": "cert.pem",
        "verify_mode": 2,
        "include_date_header": False,
        "logconfig_dict": {"a b": {"c": [1, 2.5, []]}},
    }


def test_what_cannot_be_passed_on_is_said() -> None:
    config = Config()
    config.root_path = "\udcff"
    with pytest.raises(ConfigError, match=r"Config\.root_path: .* is not valid Unicode"):
        config.to_toml()
    config = Config()
    config.accesslog = logging.getLogger("mine")
    with pytest.warns(UserWarning, match="Config.accesslog is a Logger"):
        assert config.to_toml() == ""

    class Shaped(Config):
        def create_sockets(self) -> None: ...

    with pytest.raises(ConfigError, match="create_sockets"):
        Shaped().to_toml()


def test_the_old_name_of_verify_mode() -> None:
    config = Config()
    with pytest.warns(DeprecationWarning):
        config.cert_reqs = 2
    assert tomllib.loads(config.to_toml()) == {"verify_mode": 2}
