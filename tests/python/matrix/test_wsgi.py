"""One WSGI site behind each wrapper, on hcrs, Gunicorn and Hypercorn."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from end_to_end.server import Server
from matrix.servers import running
from matrix.talks import ALWAYS, Talk, differences
from parity.conversation import Request

pytestmark = pytest.mark.slow

#: Of apps/wrapped_wsgi.py.
BEHIND = (
    "nothing", "proxy-fix", "dispatcher", "prometheus", "whitenoise", "shared-data", "flask-session", "lint", "a2wsgi",
)

FORWARDED = (
    ("x-forwarded-for", "192.0.2.1"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-host", "outside.test"),
    ("x-forwarded-prefix", "/outside"),
)

#: What is asked of those that have more to say.
MORE: dict[str, dict[str, Request]] = {
    "proxy-fix": {"forwarded": Request(target="/json", headers=FORWARDED)},
    "dispatcher": {
        "inner": Request(target="/inner/where"),
        "inner-nowhere": Request(target="/inner/nowhere"),
        "boundary": Request(target="/innermost"),
    },
    "prometheus": {"metrics": Request(target="/metrics"), "below": Request(target="/metrics/x")},
    **{
        name: {
            "static": Request(target="/static/wsgi_site.py"),
            "static-range": Request(target="/static/wsgi_site.py", headers=(("range", "bytes=5-50"),)),
            "static-head": Request("HEAD", "/static/wsgi_site.py"),
            "static-missing": Request(target="/static/nowhere.txt"),
            "static-outside": Request(target="/static/%2e%2e/servers.py"),
        }
        for name in ("whitenoise", "shared-data")
    },
}


#: Where Hypercorn answers 400 or 500: it wants a body of each response, and does not say that a chunked request ends.
HYPERCORN_FAILS = ("file-head", "static-head", "upload-chunked")


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Server]]:
    # Python's sets are in the same order in all.
    same = {"PYTHONHASHSEED": "0", "PROMETHEUS_DISABLE_CREATED_SERIES": "1"}
    kinds = ("hcrs", "gunicorn", "hypercorn")
    with running(tmp_path_factory.mktemp("behind"), "wsgi:wrapped_wsgi.py:app", kinds, env=same) as started:
        yield started


@pytest.mark.parametrize("behind", BEHIND)
@pytest.mark.parametrize("over", ["h1", "h2"])
def test_answers(over: str, behind: str, servers: dict[str, Server]) -> None:
    asked = ALWAYS | MORE.get(behind, {})
    hcrs = Talk(servers["hcrs"].listener, over, behind)
    ours = {name: hcrs.ask(request) for name, request in asked.items()}
    for kind in ("gunicorn", "hypercorn"):
        other = Talk(servers[kind].listener, "h1", behind)
        theirs = {name: other.ask(request) for name, request in asked.items()}
        different = differences(ours, theirs)
        if kind == "hypercorn" and behind != "a2wsgi":
            failing = {name: different.pop(name)["status"][1] for name in HYPERCORN_FAILS if name in different}
            assert set(failing) >= {"file-head", "upload-chunked"} and set(failing.values()) <= {400, 500}
        assert different == {}, kind


@pytest.mark.parametrize("behind", ["nothing", "flask-session"])
def test_sessions_last(behind: str, servers: dict[str, Server]) -> None:
    for kind, over in (("hcrs", "h1"), ("hcrs", "h2"), ("gunicorn", "h1"), ("hypercorn", "h1")):
        bodies = Talk(servers[kind].listener, over, behind).visits(3)
        assert [body["visits"] for body in bodies] == [1, 2, 3]
