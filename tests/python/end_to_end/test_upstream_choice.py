"""Routes to upstreams: which server a request goes to, and as what."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from end_to_end.h1_client import H1Client
from end_to_end.proxying import status_of, write
from end_to_end.server import Server, to_toml, wait_until
from end_to_end.upstream import Peer, Request, Upstream

Serve = Callable[..., Server]


def test_paths_below_that_of_the_url(
    proxy: Callable[..., Server], connect_h1: Callable[..., H1Client], upstream: Upstream
) -> None:
    client = connect_h1(proxy(f"{upstream.url}/base", path="/api", strip_path=True).listeners[1])
    for path, target in [
        ("/api/x%20y?q=1", "/base/x%20y?q=1"), ("/api", "/base"), ("/api/../api/./z", "/base/z"), ("/%61pi/a", "/base/a"),
    ]:
        assert client.get(path).status == 200
        assert upstream.requests[-1].target == target
        assert upstream.requests[-1].header("x-forwarded-prefix") == "/api"


def test_the_host_that_upstreams_see(serve: Serve, tmp_path: Path, upstream: Upstream) -> None:
    routes = [
        {"path": "/client", "upstream": upstream.url},
        {"path": "/upstream", "upstream": upstream.url, "upstream_host": "upstream"},
        {"path": "/named", "upstream": upstream.url, "upstream_host": "inner.test:81"},
    ]
    file = tmp_path / "hosts.toml"
    tables = "".join("[[hcrs.routes]]\n" + to_toml(route) for route in routes)
    file.write_text(to_toml({"bind": "127.0.0.1:0"}) + tables)
    server = serve(None, config_file=file)
    for path, host in [("/client", "a.test"), ("/upstream", f"127.0.0.1:{upstream.port}"), ("/named", "inner.test:81")]:
        assert httpx.get(server.listener.url + path, headers={"host": "a.test"}).status_code == 200
        assert upstream.requests[-1].header("host") == host
        assert upstream.requests[-1].header("x-forwarded-host") == "a.test"


@pytest.mark.parametrize("believed", ["legacy", "modern", None])
def test_what_is_said_about_the_client(proxy: Callable[..., Server], upstream: Upstream, believed: str | None) -> None:
    """What a trusted proxy does not write is its client's own, and is not continued."""
    trusted = ["127.0.0.1"] if believed else ["192.0.2.9"]
    keys = {"hcrs": {"io_threads": 1, "proxy_headers": believed or "legacy", "forwarded_allow_ips": trusted}}
    server = proxy(upstream.url, keys=keys)
    theirs = {
        "x-forwarded-for": "192.0.2.1", "x-forwarded-proto": "https", "x-forwarded-host": "outer.test",
        "x-forwarded-prefix": "/x", "x-forwarded-ssl": "on", "forwarded": "for=192.0.2.2",
    }
    httpx.get(server.listeners[1].url, headers={"host": "a.test", **theirs})
    request = upstream.requests[-1]
    host, scheme = ("outer.test", "https") if believed == "legacy" else ("a.test", "http")
    own = f'for=127.0.0.1;host="{host}";proto={scheme}'
    assert request.header("x-forwarded-for") == ("192.0.2.1, 127.0.0.1" if believed == "legacy" else "127.0.0.1")
    assert request.header("forwarded") == (f"for=192.0.2.2, {own}" if believed == "modern" else own)
    assert request.header("x-forwarded-proto") == scheme
    assert request.header("x-forwarded-host") == request.header("host") == host
    assert request.header("x-forwarded-prefix") is None and request.header("x-forwarded-ssl") is None


def test_a_unix_socket(proxy: Callable[..., Server], tmp_path: Path) -> None:
    with Upstream(path=str(tmp_path / "up.sock")) as upstream:
        server = proxy(upstream.url)
        assert [status_of(server) for _ in range(3)] == [200] * 3
        assert upstream.connections == 1


def test_requests_are_spread(proxy: Callable[..., Server], connect_h1: Callable[..., H1Client]) -> None:
    with Upstream() as first, Upstream() as second:
        client = connect_h1(proxy(first.url, second.url).listeners[1])
        for _ in range(10):
            assert client.get().status == 200
        assert (len(first.requests), len(second.requests)) == (5, 5)


@pytest.mark.parametrize("by", ["path", "x-user"])
def test_the_same_upstream_for_the_same_value(
    proxy: Callable[..., Server], connect_h1: Callable[..., H1Client], by: str
) -> None:
    ups = [Upstream() for _ in range(3)]
    try:
        client = connect_h1(proxy(*(up.url for up in ups), hash_by=by).listeners[1])
        for _ in range(3):
            for number in range(12):
                value = f"/{number}"
                assert client.get(value if by == "path" else "/", f"x-user: {value}\r\n").status == 200
        used = [{(r.target if by == "path" else r.header("x-user")) for r in up.requests} for up in ups]
        assert sum(map(len, used)) == 12, "each value has one upstream"
        assert all(used)
    finally:
        for up in ups:
            up.close()


def test_the_next_upstream_takes_what_one_cannot(proxy: Callable[..., Server], upstream: Upstream) -> None:
    with Upstream() as other:
        pass
    server = proxy(other.url, upstream.url)
    for method in ["GET", "POST"] * 4:
        assert status_of(server, method=method, content=b"x" if method == "POST" else None) == 200
    assert len(upstream.requests) == 8
    assert len(server.wait_for_log(rf"\[WARNING\] Upstream {other.url} is down: ")) == 1, "it is logged once"


def test_an_upstream_that_is_up_again_is_used_again(proxy: Callable[..., Server], upstream: Upstream) -> None:
    with Upstream() as other:
        port = other.port
    server = proxy(other.url, upstream.url)
    for _ in range(4):
        assert status_of(server) == 200
    server.wait_for_log(rf"Upstream {other.url} is down: ")
    with Upstream(port=port) as back:
        wait_until(lambda: status_of(server) == 200 and back.requests, "the upstream to be used again")
        server.wait_for_log(rf"\[INFO\] Upstream {other.url} is up again")


def test_checks_take_an_upstream_out_and_in(proxy: Callable[..., Server]) -> None:
    is_well = [True]

    def show(peer: Peer, request: Request) -> None:
        if request.target == "/health" and not is_well[0]:
            peer.answer(status="503 Service Unavailable")
        else:
            peer.answer()

    with Upstream(show) as first, Upstream() as second:
        server = proxy(first.url, second.url, health_path="/health", health_interval=0.1)

        def used() -> int:
            first.requests.clear()
            for _ in range(4):
                assert status_of(server, "/page") == 200
            return len([request for request in first.requests if request.target == "/page"])

        assert used() == 2
        is_well[0] = False
        server.wait_for_log(rf"\[WARNING\] Upstream {first.url} is down: its check is answered with 503")
        assert used() == 0
        is_well[0] = True
        server.wait_for_log(rf"\[INFO\] Upstream {first.url} is up again")
        assert used() == 2


def test_metrics_of_upstreams(proxy: Callable[..., Server], upstream: Upstream, tmp_path: Path) -> None:
    with Upstream() as other:
        pass
    server = proxy(other.url, upstream.url, keys={"hcrs": {"io_threads": 1, "admin_bind": f"unix:{tmp_path}/admin"}})
    for _ in range(6):
        assert status_of(server) == 200
    transport = httpx.HTTPTransport(uds=f"{tmp_path}/admin")
    with httpx.Client(transport=transport, base_url="http://localhost") as admin:
        lines = admin.get("/metrics").text.splitlines()
    samples = [line.rpartition(" ") for line in lines if line.startswith("hcrs_upstream_")]
    values = {name: int(value) for name, _, value in samples}
    assert values[f'hcrs_upstream_requests_total{{upstream="{upstream.url}"}}'] == 6
    assert values[f'hcrs_upstream_connections{{upstream="{upstream.url}"}}'] == 1
    assert values[f'hcrs_upstream_failures_total{{upstream="{upstream.url}"}}'] == 0
    assert values[f'hcrs_upstream_failures_total{{upstream="{other.url}"}}'] >= 1
    assert values[f'hcrs_upstream_connections{{upstream="{other.url}"}}'] == 0


def test_pools_live_on_when_their_settings_are_the_same(
    proxy: Callable[..., Server], upstream: Upstream, tmp_path: Path, certificate: dict[str, str]
) -> None:
    server = proxy(upstream.url)
    assert status_of(server) == 200
    keys: dict[str, Any] = {**certificate, "insecure_bind": "127.0.0.1:0"}
    write(tmp_path / "proxy.toml", upstream.url, keys={**keys, "graceful_timeout": 7})
    server.signal(signal.SIGHUP)
    server.wait_for_log("graceful_timeout")
    assert status_of(server) == 200
    assert upstream.connections == 1
    with Upstream() as other:
        write(tmp_path / "proxy.toml", other.url, keys=keys)
        server.signal(signal.SIGHUP)
        wait_until(lambda: status_of(server) == 200 and other.requests, "requests to go to the other upstream")
        wait_until(lambda: upstream.open == 0, "the old upstream's connections to be closed")
