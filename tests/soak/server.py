"""hcrs with the soak's app, what is seen of its processes, and what it says."""

import os
import random
import re
import signal
import subprocess
import time
from pathlib import Path

from bodies import FILE_SIZES, FIRST_FILE, body

HERE = Path(__file__).resolve().parent
WORKERS = 3
START_S = 60
STOP_S = 60
RUNNING = re.compile(r"Running on (https?)://\S+?:(\d+) (\(QUIC\))?")
# Lines of the log that are failures, whatever else goes well.
WRONG = re.compile(r"accounting:|panicked|Traceback")


class Server:
    """A running hcrs: TLS, cleartext and QUIC, three workers."""

    def __init__(self, command: Path, folder: Path) -> None:
        files = folder / "files"
        files.mkdir()
        for place, size in enumerate(FILE_SIZES):
            (files / str(place)).write_bytes(body(FIRST_FILE + place, size))
        subprocess.run([command, "cert", "dev", "--dir", str(folder)], check=True, capture_output=True)
        self.certificate = folder / "cert.pem"
        config = folder / "hcrs.toml"
        config.write_text(
            f'bind = "127.0.0.1:0"\ninsecure_bind = "127.0.0.1:0"\nquic_bind = "127.0.0.1:0"\napplication_path = "app:app"\n'
            f'workers = {WORKERS}\ncertfile = "{self.certificate}"\nkeyfile = "{folder / "key.pem"}"\n'
            # Nothing here takes so long: whoever is retired finishes all that it has begun, and no connection is closed
            # for idleness while a slow reader still takes an answer that has left the edge.
            f"graceful_timeout = 30\nkeep_alive_timeout = 75\n"
            # Clients that have moved reach another thread's socket.
            "[hcrs]\npathsend = true\nio_threads = 2\n"
        )
        self._log = folder / "hcrs.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [command, "--config", str(config)],
                cwd=HERE,
                env={**os.environ, "SOAK_FILES": str(files)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        until = time.monotonic() + START_S
        while len(found := RUNNING.findall(self.log)) < 3:
            if time.monotonic() > until or self.process.poll() is not None:
                self.kill()
                raise RuntimeError(f"hcrs did not start:\n{self.log[-2000:]}")
            time.sleep(0.05)
        ports = {scheme + quic: int(port) for scheme, port, quic in found}
        self.ports = {"tls": ports["https"], "cleartext": ports["http"], "quic": ports["https(QUIC)"]}

    @property
    def log(self) -> str:
        """Its log so far."""
        return self._log.read_text(errors="replace")

    def wrong_lines(self) -> list[str]:
        """Those that are failures."""
        return [line for line in self.log.splitlines() if WRONG.search(line)]

    def kinds_of_errors(self) -> dict[str, int]:
        """Warnings and errors without their numbers, and how often each was said."""
        kinds: dict[str, int] = {}
        for line in self.log.splitlines():
            if found := re.search(r"\[(WARNING|ERROR|CRITICAL)\] (.*)", line):
                kind = re.sub(r"\d+", "N", found[2])
                kinds[kind] = kinds.get(kind, 0) + 1
        return kinds

    def workers(self) -> list[int]:
        """The process ids of those that live."""
        living = []
        for child in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split():
            try:
                if Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX":
                    living.append(int(child))
            except (FileNotFoundError, ProcessLookupError):
                pass
        return living

    def resources(self, pid: int) -> tuple[float, int]:
        """Resident memory in MiB, and open descriptors."""
        status = Path(f"/proc/{pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+)", status)
        return int(found[1]) / 1024 if found else 0.0, len(os.listdir(f"/proc/{pid}/fd"))

    def kill_a_worker(self) -> bool:
        """One of them, by SIGKILL, if none is missing."""
        living = self.workers()
        if len(living) < WORKERS:
            return False
        os.kill(random.choice(living), signal.SIGKILL)
        return True

    def reload(self) -> None:
        """New workers for the old ones."""
        self.process.send_signal(signal.SIGHUP)

    def stop(self) -> int | None:
        """Sends SIGTERM and returns the exit code, or None if it has to be killed."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()
            return None

    def kill(self) -> None:
        """In any case."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
