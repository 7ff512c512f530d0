"""Servers that send the files of one folder: hcrs, nginx, h2o and Caddy, each as close to the others as it can be
configured."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from abc import ABC, abstractmethod
from pathlib import Path

from end_to_end.server import Listening, command, find_tool, is_alive, to_toml, wait_until
from end_to_end.test_fleet import free_port


class MissingProgram(Exception):
    """A server that is not installed."""


class FileServer(ABC):
    """A running server."""

    #: The name in the table of differences, and of the program.
    name: str
    #: The Debian package.
    package: str

    def __init__(self, folder: Path, site: Path) -> None:
        folder.mkdir()
        self.folder, self.site = folder, site
        self.listener = Listening("http", "127.0.0.1", free_port())
        self.program = self.find()
        self._log = (folder / "log").open("w+b")
        environment = {**os.environ, "HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
        self._process = subprocess.Popen(
            self.command(), cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=self._log, stderr=subprocess.STDOUT
        )
        try:
            wait_until(self._listens, f"{self.name} listens")
        except BaseException:
            self.close()
            raise

    def find(self) -> str:
        """The program."""
        found = shutil.which(self.name, path="/usr/sbin:/usr/local/sbin") or find_tool(self.name, self.package)
        if found is None:
            raise MissingProgram(f"{self.name} is missing: apt-get install {self.package}")
        return found

    @abstractmethod
    def command(self) -> list[str]:
        """Writes the configuration, and returns the command."""

    def _listens(self) -> bool:
        if not is_alive(self._process.pid):
            raise ChildProcessError(f"{self.name} has ended:\n{self.log}")
        try:
            socket.create_connection((self.listener.host, self.listener.port)).close()
        except ConnectionRefusedError:
            return False
        return True

    @property
    def log(self) -> str:
        """What it has written."""
        return Path(self._log.name).read_text(errors="replace")

    def close(self) -> None:
        """Ends it."""
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()


class Hcrs(FileServer):
    """The server under test."""

    name, package = "hcrs", "hcrs"

    def find(self) -> str:
        return command()

    def command(self) -> list[str]:
        file = self.folder / "hcrs.toml"
        route = "[[hcrs.routes]]\n" + to_toml({"files": str(self.site), "precompressed": True})
        file.write_text(to_toml({"bind": f"127.0.0.1:{self.listener.port}"}) + route)
        return [self.program, "--config", str(file)]


class Nginx(FileServer):
    """nginx with gzip_static; its package has no module for Brotli."""

    name, package = "nginx", "nginx-light"

    def command(self) -> list[str]:
        temporary = "\n".join(
            f"{kind}_temp_path {self.folder / kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        file = self.folder / "nginx.conf"
        # The folder of the test belongs to the user of the test.
        user = "user root;" if os.geteuid() == 0 else ""
        file.write_text(f"""
            daemon off; worker_processes 1; {user}
            pid {self.folder / "pid"}; error_log {self.folder / "error.log"};
            events {{}}
            http {{
                include /etc/nginx/mime.types;
                default_type application/octet-stream;
                access_log off;
                {temporary}
                server {{
                    listen 127.0.0.1:{self.listener.port};
                    absolute_redirect off;
                    gzip_static on;
                    gzip_vary on;
                    root {self.site};
                    location ~ /\\. {{ return 404; }}
                    location / {{ disable_symlinks on from=$document_root; }}
                }}
            }}
        """)
        return [self.program, "-c", str(file), "-e", str(self.folder / "error.log")]


class H2o(FileServer):
    """h2o with ``file.send-compressed``."""

    name, package = "h2o", "h2o"

    def command(self) -> list[str]:
        file = self.folder / "h2o.conf"
        user = "user: root\n" if os.geteuid() == 0 else ""
        file.write_text(f"""{user}
num-threads: 1
listen:
  host: 127.0.0.1
  port: {self.listener.port}
file.send-compressed: ON
hosts:
  default:
    paths:
      /:
        file.dir: {self.site}
""")
        return [self.program, "-m", "worker", "-c", str(file)]


class Caddy(FileServer):
    """Caddy's file_server with precompressed files."""

    name, package = "caddy", "caddy"

    def command(self) -> list[str]:
        file = self.folder / "Caddyfile"
        file.write_text(f"""
{{
    admin off
    auto_https off
}}
http://127.0.0.1:{self.listener.port} {{
    root * {self.site}
    file_server {{
        precompressed br zstd gzip
        hide .*
    }}
}}
""")
        return [self.program, "run", "--adapter", "caddyfile", "--config", str(file)]


PEERS: tuple[type[FileServer], ...] = (Nginx, H2o, Caddy)
