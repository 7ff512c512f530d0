"""What holds for all tests."""

from __future__ import annotations

import signal

# A shell that runs the tests in the background has SIGINT ignored, and what is ignored stays so in the programs that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)
