"""h2load as a client, and what it has counted."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass

import pytest

from end_to_end.server import find_tool


@dataclass
class Load:
    """The result of a run of h2load."""

    total: int
    succeeded: int
    failed: int
    errored: int
    timed_out: int
    ok: int
    client_errors: int
    server_errors: int
    output: str


class H2Load:
    """A run of h2load that has been started."""

    def __init__(self, url: str, requests: int, connections: int, streams: int, *options: str) -> None:
        tool = find_tool("h2load", "nghttp2-client")
        if tool is None:
            pytest.skip("h2load is missing: apt-get install nghttp2-client")
        self._process = subprocess.Popen(
            [tool, "-n", str(requests), "-c", str(connections), "-m", str(streams), *options, url],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def kill(self) -> None:
        """Ends it without a result."""
        self._process.kill()
        self._process.wait()

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def result(self, timeout: float = 60) -> Load:
        """Waits for its end."""
        output, _ = self._process.communicate(timeout=timeout)
        assert self._process.returncode == 0, output

        def numbers(line: str) -> dict[str, int]:
            text = re.search(rf"^{line}: (.*)$", output, re.MULTILINE)
            assert text is not None, output
            return {name: int(count) for count, name in re.findall(r"(\d+) (\w+)", text[1])}

        requests, codes = numbers("requests"), numbers("status codes")
        return Load(
            total=requests["total"],
            succeeded=requests["succeeded"],
            failed=requests["failed"],
            errored=requests["errored"],
            timed_out=requests["timeout"],
            ok=codes["2xx"],
            client_errors=codes["4xx"],
            server_errors=codes["5xx"],
            output=output,
        )
