"""Servers without an app: nginx, h2o, Caddy and HAProxy beside hcrs's routes.

Each has one thread or process that serves, no access log, and no limit that ends a connection in the middle of a
measurement. nginx caches open files, which is off by default and on in every guide.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from servers import Site, Toolbox

UNLIMITED = 1_000_000_000
UPSTREAM_BODY = "hello upstream\n"
CODINGS = ("gzip", "br", "zstd")


def fill(folder: Path) -> None:
    """Makes the files that are served."""
    folder.mkdir(exist_ok=True)
    (folder / "small.txt").write_bytes(b"twenty-five bytes of text")
    (folder / "large.bin").write_bytes(bytes(range(256)) * 4096)
    rows = [{"id": n, "name": f"item {n * 7919 % 1000}", "price": n * 31 % 977 / 10, "tags": ["a", "b"]} for n in range(150)]
    (folder / "data.json").write_text(json.dumps(rows)[:10240])


def hcrs_routes(site: Site) -> str:
    """The keys of ``[hcrs]`` and the routes of a site."""
    keys = "io_threads = 1\n" if site.folder or site.upstream else ""
    if site.coding:
        keys += f'compress = ["{site.coding}"]\n'
    tables = ""
    if site.folder:
        tables = f'[[hcrs.routes]]\nfiles = "{site.folder}"\n'
    if site.upstream:
        tables = f'[[hcrs.routes]]\nupstream = "http://127.0.0.1:{site.upstream}"\n'
    if site.routes:
        tables = "".join(f'[[hcrs.routes]]\npath = "/route{n}"\nstatus = 404\n' for n in range(site.routes))
    return keys + tables


def nginx(tools: Toolbox, site: Site, port: int) -> list:
    tls = f"ssl_certificate {tools.cert}; ssl_certificate_key {tools.key}; ssl_protocols TLSv1.3;" if site.tls else ""
    place = f"root {site.folder};"
    upstream = ""
    if site.upstream:
        upstream = f"upstream up {{ server 127.0.0.1:{site.upstream}; keepalive 256; keepalive_requests {UNLIMITED}; }}"
        place = 'proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection "";'
    coding = "gzip on; gzip_types application/json; gzip_min_length 0;" if site.coding == "gzip" else ""
    return _nginx(
        tools.scratch / f"nginx-{port}",
        f"""{upstream}
        server {{ listen 127.0.0.1:{port}{" ssl http2" if site.tls else ""}; {tls} {coding} location / {{ {place} }} }}""",
    )


def _nginx(folder: Path, servers: str) -> list:
    folder.mkdir(exist_ok=True)
    temporary = " ".join(
        f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"""daemon off; worker_processes 1; user root; pid {folder}/pid; error_log stderr warn;
        events {{ worker_connections 4096; }}
        http {{ access_log off; keepalive_timeout 600; keepalive_requests {UNLIMITED}; sendfile on; tcp_nopush on;
        types {{ text/plain txt; application/json json; application/octet-stream bin; }}
        open_file_cache max=1000; {temporary} {servers} }}"""
    )
    return ["nginx", "-e", "stderr", "-c", folder / "nginx.conf"]


def h2o(tools: Toolbox, site: Site, port: int) -> list:
    config = tools.scratch / "h2o.conf"
    tls = f"ssl:\n    certificate-file: {tools.cert}\n    key-file: {tools.key}\n" if site.tls else ""
    config.write_text(
        f"""num-threads: 1
user: root
pid-file: {tools.scratch}/h2o.pid
http1-request-timeout: 600
http2-idle-timeout: 600
max-connections: 4096
listen:
  host: 127.0.0.1
  port: {port}
  {tls}
hosts:
  default:
    paths:
      /:
        file.dir: {site.folder}
"""
    )
    return ["h2o", "-m", "worker", "-c", config]


def caddy(tools: Toolbox, site: Site, port: int) -> list:
    config = tools.scratch / "Caddyfile"
    scheme = "https" if site.tls else "http"
    tls = f"tls {tools.cert} {tools.key}" if site.tls else ""
    encode = f"encode {site.coding}" if site.coding else ""
    protocols = "servers {\n        protocols h1 h2 h3\n    }" if site.quic else ""
    config.write_text(
        f"""{{
    admin off
    auto_https off
    {protocols}
    log {{
        level ERROR
    }}
}}
{scheme}://127.0.0.1:{port}, {scheme}://localhost:{port} {{
    {tls}
    root * {site.folder}
    {encode}
    file_server
}}
"""
    )
    return ["env", "GOMAXPROCS=1", f"HOME={tools.scratch}", "caddy", "run", "--adapter", "caddyfile", "--config", config]


def haproxy(tools: Toolbox, site: Site, port: int) -> list:
    config = tools.scratch / "haproxy.cfg"
    pem = tools.scratch / "haproxy.pem"
    pem.write_bytes(tools.cert.read_bytes() + tools.key.read_bytes())
    tls = f"ssl crt {pem} alpn h2,http/1.1" if site.tls else ""
    config.write_text(
        f"""global
    nbthread 1
    maxconn 4096
defaults
    mode http
    timeout connect 5s
    timeout client 600s
    timeout server 600s
    http-reuse always
frontend front
    bind 127.0.0.1:{port} {tls}
    default_backend back
backend back
    server one 127.0.0.1:{site.upstream}
"""
    )
    return ["haproxy", "-db", "-f", config]


COMMANDS = {"nginx": nginx, "h2o": h2o, "caddy": caddy, "haproxy": haproxy}
PACKAGES = {"nginx": ["nginx", "-v"], "h2o": ["h2o", "-v"], "caddy": ["caddy", "version"], "haproxy": ["haproxy", "-v"]}


class Upstream:
    """The server behind proxies: nginx with a fixed answer, outside what is measured. Ends with the ``with``."""

    def __init__(self, scratch: Path, port: int):
        self.command = _nginx(
            scratch / "upstream",
            f"server {{ listen 127.0.0.1:{port}; location / {{ return 200 '{UPSTREAM_BODY}'; }} }}",
        )

    def __enter__(self) -> None:
        self.process = subprocess.Popen(list(map(str, self.command)), stdin=subprocess.DEVNULL, start_new_session=True)

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait()
