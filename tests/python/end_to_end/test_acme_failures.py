"""Certificates that come by themselves when something goes wrong: the authority, the storage, or the server itself."""

from __future__ import annotations

import datetime
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from end_to_end.certificates import Pki
from end_to_end.fake_authority import FakeAuthority, Refused, fake_authority
from end_to_end.h1_client import H1Client
from end_to_end.key_rows import shows
from end_to_end.pebble import EXTERNAL_KEY, EXTERNAL_KID, free_ports, names_of, served
from end_to_end.server import Server, command, wait_until
from end_to_end.test_succession import SUCCEEDED, succeeded

Serve = Callable[..., Server]

pytestmark = pytest.mark.slow

NEW = "There is a new certificate for "
DAY = datetime.timedelta(days=1)


@pytest.fixture
def authority(pki: Pki) -> Iterator[FakeAuthority]:
    with fake_authority(pki, free_ports(1)[0]) as running:
        yield running


class Hold:
    """Holds the first request of one step until it is released."""

    def __init__(self, step: str) -> None:
        self.step = step
        self.is_reached = threading.Event()
        self.is_released = threading.Event()

    def __call__(self, step: str) -> None:
        if step == self.step and not self.is_reached.is_set():
            self.is_reached.set()
            assert self.is_released.wait(60)


def acme_status(server: Server) -> str:
    """What ``hcrs acme status`` says."""
    words = [command(), "acme", "status", "--config", str(server.folder / "hcrs.toml")]
    return subprocess.run(words, capture_output=True, text=True, timeout=20, check=True).stdout


def administered(server: Server, path: str) -> str:
    """A report of the admin interface."""
    with H1Client(server.listeners[0]._replace(scheme="http", path=str(server.folder / "admin"))) as client:
        response = client.get(path)
        assert response.status == 200
        return response.body.decode()


@shows(
    acme_domains=["all.example"],
    acme_email="operator@all.example",
    acme_directory="letsencrypt-staging",
    acme_directory_ca="<pki>/ca.pem",
    acme_challenge="http-01",
    acme_profile="short",
    acme_eab_kid=EXTERNAL_KID,
    acme_eab_hmac_key=EXTERNAL_KEY,
    acme_storage="<folder>/acme",
    acme_key_type="rsa-2048",
)
def test_all_keys_reach_the_authority(authority: FakeAuthority, serve: Serve, tmp_path: Path) -> None:
    authority.external_required = True
    keys = authority.settings(
        "all.example", email="operator@all.example", profile="short", eab_kid=EXTERNAL_KID, key_type="rsa-2048",
        storage=str(tmp_path / "acme"),
    )  # fmt: skip
    server = serve("plain.py:app", env={"HCRS_ACME_EAB_HMAC_KEY": EXTERNAL_KEY}, **keys)
    server.wait_for_log(NEW)
    assert list(authority.contacts.values()) == [["mailto:operator@all.example"]]
    assert (authority.profiles_asked, authority.key_types) == (["short"], ["rsa-2048"])
    assert (tmp_path / "acme" / f"localhost_{authority.port}_dir" / "certificates" / "all.example.pem").exists()


def test_an_authority_that_wants_an_account_of_its_own_is_told_in_words(
    authority: FakeAuthority, serve: Serve, tmp_path: Path
) -> None:
    authority.external_required = True
    server = serve("plain.py:app", **authority.settings("unbound.example", storage=str(tmp_path / "acme")))
    server.wait_for_log("No certificate for unbound.example: .*set eab_kid and eab_hmac_key of \\[hcrs.acme]")
    assert authority.accounts == []


STEPS = ["nonce", "account", "order", "authorization", "challenge", "finalize", "certificate"]


@pytest.mark.parametrize("step", STEPS)
def test_a_server_that_is_killed_at_any_step_continues_with_the_same_account(
    authority: FakeAuthority, launch: Serve, serve: Serve, tmp_path: Path, step: str
) -> None:
    storage = tmp_path / "acme"
    hold = Hold(step)
    authority.before = hold
    killed = launch("plain.py:app", **authority.settings("killed.example", storage=str(storage)))
    assert hold.is_reached.wait(60), killed.log
    assert list(storage.glob("*/account.json")) and not list(storage.rglob("*.pem"))
    killed.signal(signal.SIGKILL)
    killed.wait_for_exit()
    hold.is_released.set()
    authority.http_port = free_ports(1)[0]
    again = serve("plain.py:app", **authority.settings("killed.example", storage=str(storage)))
    again.wait_for_log(NEW)
    assert "Breaking the lock" in again.log
    assert len(authority.accounts) == 1
    wait_until(lambda: names_of(served(again.listener.port, "killed.example")) == ["killed.example"], "the certificate")
    wait_until(lambda: not list(storage.glob("*/lock")), "the end of the lock")
    account = json.loads(next(storage.glob("*/account.json")).read_text())
    assert account["url"].endswith("/account/0")
    # The order is continued with, unless its URL was not known yet.
    assert len(authority.replaced) == (2 if step == "order" else 1)
    assert not list(storage.rglob("*.order"))


def test_an_order_that_has_become_invalid_meanwhile_is_followed_by_another(
    authority: FakeAuthority, launch: Serve, serve: Serve, tmp_path: Path
) -> None:
    hold = Hold("finalize")
    authority.before = hold
    keys = authority.settings("over.example", storage=str(tmp_path / "acme"))
    killed = launch("plain.py:app", **keys)
    assert hold.is_reached.wait(60), killed.log
    killed.signal(signal.SIGKILL)
    killed.wait_for_exit()
    authority.orders[0]["status"] = "invalid"
    again = serve("plain.py:app", **keys)
    again.wait_for_log(NEW)
    assert len(authority.replaced) == 2 and "Continuing" not in again.log
    hold.is_released.set()


@pytest.mark.parametrize("retry_after", ["3", "86400"])
def test_an_order_that_the_authority_has_not_finished_is_looked_at_when_it_says(
    authority: FakeAuthority, serve: Serve, tmp_path: Path, retry_after: str
) -> None:
    """An authority that says a day, as ZeroSSL does, finishes sooner nevertheless."""
    authority.beginning, authority.unfinished = "ready", retry_after
    looks: list[float] = []

    def finish(step: str) -> None:
        if step == "order":
            looks.append(time.monotonic())
            if len(looks) == 3:
                authority.unfinished = None

    authority.before = finish
    server = serve("plain.py:app", **authority.settings("late.example", storage=str(tmp_path / "acme")))
    server.wait_for_log(NEW)
    assert authority.steps == ["account", "order", "finalize", "order", "order", "certificate"]
    assert looks[2] - looks[1] > 2.9


def test_an_order_is_kept_while_the_authority_is_out_of_order(
    authority: FakeAuthority, serve: Serve, tmp_path: Path
) -> None:
    authority.beginning, authority.unfinished = "ready", "3"

    def close(step: str) -> None:
        if step == "order" and "finalize" in authority.steps:
            raise Refused(503, "serverInternal", "closed", {"retry-after": "7200"})

    authority.before = close
    keys = authority.settings("kept.example", storage=str(tmp_path / "acme"))
    keys["hcrs"]["admin_bind"] = "unix:admin"
    server = serve("plain.py:app", **keys)
    server.wait_for_log(r"No certificate for kept\.example: .*closed \(serverInternal\); the next try is in (1|2) h")
    authority.before, authority.unfinished = lambda step: None, None
    subprocess.run([command(), "acme", "renew", "--config", "hcrs.toml"], cwd=server.folder, check=True, timeout=20)
    server.wait_for_log(NEW)
    assert len(authority.replaced) == 1 and authority.steps.count("finalize") == 1


def test_two_servers_that_share_a_storage_share_one_order(authority: FakeAuthority, serve: Serve, tmp_path: Path) -> None:
    hold = Hold("order")
    authority.before = hold
    storage = str(tmp_path / "acme")
    first = serve("plain.py:app", **authority.settings("shared.example", storage=storage))
    assert hold.is_reached.wait(60)
    # The authority looks for the challenge at the second one, which has not asked for it.
    authority.http_port = free_ports(1)[0]
    second = serve("plain.py:app", **authority.settings("shared.example", storage=storage))
    hold.is_released.set()
    first.wait_for_log(NEW)
    first.wait_for_log("The certificates were read again")
    second.wait_for_log("The certificates were read again")
    both = {served(server.listener.port, "shared.example").serial_number for server in (first, second)}
    assert len(both) == 1 and NEW not in second.log
    assert authority.steps.count("finalize") == 1 and len(authority.accounts) == 1


def test_an_order_that_a_succession_interrupts_is_made_by_the_successor(
    authority: FakeAuthority, launch: Serve, tmp_path: Path
) -> None:
    hold = Hold("finalize")
    authority.before = hold
    server = launch("plain.py:app", **authority.settings("heir.example", storage=str(tmp_path / "acme"))).wait_until_running()
    assert hold.is_reached.wait(60)
    with succeeded(server):
        server.wait_for_log(SUCCEEDED)
        wait_until(lambda: not server.is_running, "the end of the predecessor")
        hold.is_released.set()
        server.wait_for_log(NEW)
        wait_until(lambda: names_of(served(server.listener.port, "heir.example")) == ["heir.example"], "the certificate")
        with H1Client(server.listeners[1]) as client:
            assert client.get().body == b"hello"
    assert len(authority.accounts) == 1


def test_an_authority_that_is_slow_delays_no_request(authority: FakeAuthority, serve: Serve, tmp_path: Path) -> None:
    hold = Hold("finalize")
    authority.before = hold
    keys = authority.settings("slow.example", storage=str(tmp_path / "acme"))
    keys["hcrs"]["admin_bind"] = "unix:admin"
    server = serve("plain.py:app", **keys)
    assert hold.is_reached.wait(60)
    with H1Client(server.listeners[1]) as client:
        for _ in range(20):
            assert client.get().body == b"hello"
    assert json.loads(administered(server, "/status"))["acme"][0]["is_asking"] is True
    # A stop does not wait for it either.
    began = time.monotonic()
    server.assert_ends_well()
    assert time.monotonic() - began < 15
    hold.is_released.set()


def test_an_authority_that_limits_rates_is_asked_when_it_says_also_after_a_restart(
    authority: FakeAuthority, serve: Serve, tmp_path: Path
) -> None:
    def limit(step: str) -> None:
        if step == "order":
            raise Refused(429, "rateLimited", "too many orders", {"retry-after": "10800"})

    authority.before = limit
    keys = authority.settings("often.example", storage=str(tmp_path / "acme"))
    keys["hcrs"]["admin_bind"] = "unix:admin"
    server = serve("plain.py:app", **keys)
    server.wait_for_log(
        r"No certificate for often\.example: the authority refuses with status 429: too many orders \(rateLimited\); "
        r"the next try is in (2|3) h"
    )
    told = json.loads(administered(server, "/status"))["acme"][0]
    assert (told["state"], told["failures"], told["failures_total"]) == ("missing", 1, 1)
    assert 10_700 < told["wait"] <= 10_800 and "too many orders" in told["error"]
    metrics = administered(server, "/metrics")
    assert 'hcrs_acme_failures_total{name="often.example"} 1' in metrics
    assert f'hcrs_acme_next_try_timestamp_seconds{{name="often.example"}} {told["next_try"]}' in metrics
    assert "hcrs_acme_certificate_expiry_timestamp_seconds{" not in metrics
    server.assert_ends_well()
    words = r"often\.example: no certificate yet; next try in (2h 59m|3h 0m); failed once, the last time because the authority"
    assert re.match(words, acme_status(server))
    again = serve("plain.py:app", **keys)
    assert json.loads(administered(again, "/status"))["acme"][0]["failures"] == 1
    assert authority.steps.count("order") == 1 and "Asking" not in again.log
    # An operator may ask at once.
    authority.before = lambda step: None
    subprocess.run([command(), "acme", "renew", "--config", "hcrs.toml"], cwd=again.folder, check=True, timeout=20)
    again.wait_for_log(NEW)
    wait_until(lambda: "valid; to be renewed in" in acme_status(again), "the state")
    metrics = administered(again, "/metrics")
    assert 'hcrs_acme_certificate_expiry_timestamp_seconds{name="often.example"}' in metrics


def test_an_authority_that_refuses_is_quoted(authority: FakeAuthority, serve: Serve, tmp_path: Path) -> None:
    def refuse(step: str) -> None:
        if step == "order":
            raise Refused(403, "rejectedIdentifier", "the name is\nnot for you")

    authority.before = refuse
    server = serve("plain.py:app", **authority.settings("no.example", storage=str(tmp_path / "acme")))
    server.wait_for_log(r"status 403: the name is not for you \(rejectedIdentifier\); the next try is in 60 s")


def test_the_other_challenge_is_tried_after_a_failure(authority: FakeAuthority, serve: Serve, tmp_path: Path) -> None:
    """This authority has no tls-alpn-01, which is tried first."""
    keys = authority.settings("other.example", storage=str(tmp_path / "acme"), challenge="auto")
    keys["hcrs"]["admin_bind"] = "unix:admin"
    server = serve("plain.py:app", **keys)
    server.wait_for_log("the authority does not offer the challenge tls-alpn-01")
    subprocess.run([command(), "acme", "renew", "--config", "hcrs.toml"], cwd=server.folder, check=True, timeout=20)
    server.wait_for_log(NEW)
    assert "for other.example by http-01" in server.log


def test_a_challenge_that_is_not_found_is_a_failure_in_words(authority: FakeAuthority, serve: Serve, tmp_path: Path) -> None:
    keys = authority.settings("lost.example", storage=str(tmp_path / "acme"))
    other = serve("plain.py:app", bind="127.0.0.1:0")
    authority.http_port = other.listener.port
    server = serve("plain.py:app", **keys)
    server.wait_for_log(r"the challenge http-01 for lost\.example has failed: found 404 \(unauthorized\)")
    assert list((tmp_path / "acme" / "challenges").iterdir()) == []


def test_an_account_that_the_authority_has_forgotten_is_registered_again(
    authority: FakeAuthority, serve: Serve, tmp_path: Path
) -> None:
    keys = authority.settings("again.example", storage=str(tmp_path / "acme"))
    keys["hcrs"]["admin_bind"] = "unix:admin"
    server = serve("plain.py:app", **keys)
    server.wait_for_log(NEW)
    (known,) = authority.accounts
    authority.accounts.clear()
    subprocess.run([command(), "acme", "renew", "--config", "hcrs.toml"], cwd=server.folder, check=True, timeout=20)
    server.wait_for_log(NEW, 2)
    assert authority.accounts == [known]


def test_the_authority_suggests_when_to_renew(authority: FakeAuthority, serve: Serve, tmp_path: Path) -> None:
    authority.back_dated = 5 * DAY
    authority.window = (30 * DAY, 31 * DAY)
    keys = authority.settings("early.example", storage=str(tmp_path / "acme"))
    server = serve("plain.py:app", **keys)
    server.wait_for_log(NEW)
    record = wait_until(lambda: next((tmp_path / "acme").glob("*/certificates/early.example.json"), None), "a record")
    known = wait_until(lambda: json.loads(record.read_text())["suggestion"], "the suggestion")
    now = time.time()
    assert now + 29 * 86_400 < known["window"]["start"] < known["window"]["end"] < now + 32 * 86_400
    assert now + 3_500 < known["next_check"] < now + 3_700, "retry-after"
    server.assert_ends_well()
    # The next time it is asked, it wants the certificate to be replaced at once.
    text = json.loads(record.read_text())
    text["suggestion"]["next_check"] = 0
    text["obtained"]["at"] -= 5 * 86_400
    record.write_text(json.dumps(text))
    authority.window = (-2 * DAY, -DAY)

    def no_more(step: str) -> None:
        if step == "finalize":
            authority.window = (30 * DAY, 31 * DAY)

    authority.before = no_more
    again = serve("plain.py:app", **keys)
    again.wait_for_log("suggests when to renew the certificate of early.example: https://ca.test/why")
    again.wait_for_log(NEW)
    assert authority.replaced == [None, known["id"]]


@pytest.mark.parametrize("problem", [(403, "unauthorized"), (404, "malformed"), (409, "alreadyReplaced")])
def test_an_order_that_may_replace_nothing_is_made_as_a_new_one(
    authority: FakeAuthority, serve: Serve, tmp_path: Path, problem: tuple[int, str]
) -> None:
    """As after a loss of the account: Let's Encrypt refuses to replace the certificate of another one."""
    authority.window = (30 * DAY, 31 * DAY)
    keys = authority.settings("adopted.example", storage=str(tmp_path / "acme"))
    keys["hcrs"]["admin_bind"] = "unix:admin"
    server = serve("plain.py:app", **keys)
    server.wait_for_log(NEW)
    authority.refuses_replacement = problem
    subprocess.run([command(), "acme", "renew", "--config", "hcrs.toml"], cwd=server.folder, check=True, timeout=20)
    server.wait_for_log(NEW, 2)
    assert len(authority.replaced) == 3 and authority.replaced[1] and authority.replaced[2] is None


def test_a_certificate_that_is_due_when_it_arrives_is_not_asked_for_again_at_once(
    authority: FakeAuthority, serve: Serve, tmp_path: Path
) -> None:
    """As where the clock of the server is ahead, or the authority sends a certificate that it has had for long."""
    authority.back_dated = 70 * DAY
    keys = authority.settings("old.example", storage=str(tmp_path / "acme"))
    keys["hcrs"]["admin_bind"] = "unix:admin"
    server = serve("plain.py:app", **keys)
    server.wait_for_log(NEW)
    told = json.loads(administered(server, "/status"))["acme"][0]
    assert told["state"] == "valid" and told["wait"] > 80_000
    assert len(authority.replaced) == 1


def test_the_limit_of_orders_is_one_for_all_names_and_lasts_when_the_server_is_killed(
    authority: FakeAuthority, serve: Serve, tmp_path: Path
) -> None:
    names = [f"n{number}.example" for number in range(18)]
    keys = authority.settings(*names, storage=str(tmp_path / "acme"))
    keys["hcrs"]["admin_bind"] = "unix:admin"

    def waiting(server: Server) -> list[str] | None:
        told = json.loads(administered(server, "/status"))["acme"]
        missing = [name for name in told if name["state"] == "missing"]
        is_over = all(name["wait"] > 300 and not name["is_asking"] for name in missing)
        return [name["name"] for name in missing] if is_over else None

    server = serve("plain.py:app", **keys)
    assert wait_until(lambda: waiting(server), "the limit", deadline=60) == names[16:]
    server.signal(signal.SIGKILL)
    server.wait_for_exit()
    (authority.http_port,) = free_ports(1)
    keys["insecure_bind"] = f"127.0.0.1:{authority.http_port}"
    again = serve("plain.py:app", **keys)
    assert waiting(again) == names[16:]
    assert len(authority.replaced) == 16


def test_a_storage_that_cannot_be_made_is_told_and_the_server_serves(
    authority: FakeAuthority, serve: Serve, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    server = serve("plain.py:app", **authority.settings("none.example", storage=str(tmp_path / "file" / "acme")))
    server.wait_for_log(r"The folder \S+/file/acme cannot be made: ")
    server.wait_for_log("No certificate for none.example: the storage cannot be used: ")
    with H1Client(server.listeners[1]) as client:
        assert client.get().body == b"hello"
    assert authority.steps == [], "the authority is not asked for what could not be kept"


def test_a_disk_that_is_full_is_told_before_the_authority_is_asked(
    authority: FakeAuthority, serve: Serve, tmp_path: Path
) -> None:
    """The folder is a file system of some kilobytes, in a mount namespace of the server's own."""
    storage = tmp_path / "acme"
    storage.mkdir(mode=0o700)
    own = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-Urm"]
    assert shutil.which("unshare"), "util-linux has it"
    script = f'mount -t tmpfs -o size=16k,mode=700 tmpfs {storage} && exec "$@"'
    keys = authority.settings("full.example", storage=str(storage))
    server = serve("plain.py:app", started_by=[*own, "sh", "-c", script, "sh"], **keys)
    server.wait_for_log("No certificate for full.example: .*No space left")
    assert authority.steps == [] and authority.accounts == []
    with H1Client(server.listeners[1]) as client:
        assert client.get().body == b"hello"


def test_a_folder_of_certificates_that_cannot_be_written_is_told_before_the_authority_is_asked(
    authority: FakeAuthority, serve: Serve, tmp_path: Path
) -> None:
    """As one that belongs to another user. Neither a certificate nor the time of a try could be kept."""
    storage = tmp_path / "acme"
    certificates = storage / f"localhost_{authority.port}_dir" / "certificates"
    certificates.mkdir(mode=0o700, parents=True)
    own = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-Urm"]
    script = f'mount -t tmpfs -o ro,mode=700 tmpfs {certificates} && exec "$@"'
    keys = authority.settings("kept.example", storage=str(storage))
    server = serve("plain.py:app", started_by=[*own, "sh", "-c", script, "sh"], **keys)
    server.wait_for_log("No certificate for kept.example: the storage cannot be used: .*Read-only file system")
    assert authority.steps == []


def test_a_certificate_that_could_not_be_stored_is_fetched_again(
    authority: FakeAuthority, serve: Serve, tmp_path: Path
) -> None:
    """As on a disk that has become full while the authority was at work."""
    storage = tmp_path / "acme"
    in_the_way = storage / f"localhost_{authority.port}_dir" / "certificates" / "full.example.pem"
    in_the_way.mkdir(mode=0o700, parents=True)
    storage.chmod(0o700)
    keys = authority.settings("full.example", storage=str(storage))
    keys["hcrs"]["admin_bind"] = "unix:admin"
    server = serve("plain.py:app", **keys)
    server.wait_for_log("No certificate for full.example: cannot write ")
    in_the_way.rmdir()
    subprocess.run([command(), "acme", "renew", "--config", "hcrs.toml"], cwd=server.folder, check=True, timeout=20)
    server.wait_for_log(NEW)
    assert len(authority.replaced) == 1 and authority.steps.count("finalize") == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_the_storage_belongs_to_the_user_that_the_server_becomes(
    authority: FakeAuthority, serve: Serve, pki: Pki, any_user_folder: Path
) -> None:
    ca = any_user_folder / "ca.pem"
    shutil.copy(pki / "ca.pem", ca)
    storage = any_user_folder / "new" / "acme"
    keys = authority.settings("user.example", storage=str(storage), directory_ca=str(ca))
    keys["hcrs"]["process_user"] = "nobody"
    server = serve(**keys)
    server.wait_for_log(NEW)
    server.wait_for_log("The certificates were read again")
    owners = {path.stat().st_uid for path in [storage, *storage.rglob("*")]}
    assert owners == {storage.stat().st_uid} and owners != {0}
    assert names_of(served(server.listener.port, "user.example")) == ["user.example"]


@pytest.fixture
def any_user_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder that another user can reach."""
    folder = Path(tempfile.mkdtemp(prefix="hcrs-acme-"))
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)
