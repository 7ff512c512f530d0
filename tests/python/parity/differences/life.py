"""Differences in the lifespan, exit codes and logs."""

from __future__ import annotations

from parity.comparison import Difference, Seen

LIFESPAN = (
    Difference(
        "Lifespan",
        "an exception before startup is complete",
        (
            "a missing database must not look like an app without lifespan. Frameworks without lifespan raise at "
            "the scope's type, before they receive."
        ),
        (Seen("lifespan/raises", "serves", True, False, all_else=True),),
    ),
    Difference(
        "Signals and exit codes",
        "the server could not start",
        "the process that started it must be able to detect it",
        (
            Seen(
                "lifespan/fails lifespan/hangs lifespan/exits lifespan/import-fails lifespan/no-such-app "
                "lifespan/no-such-module",
                "code",
                0,
                1,
            ),
        ),
    ),
    Difference(
        "Signals and exit codes",
        "the app's shutdown failed or took too long",
        "the failure must be detectable",
        (Seen("lifespan/fails-at-shutdown lifespan/hangs-at-shutdown", "code", 0, 4),),
    ),
)

LOGS = (
    Difference(
        "Logs",
        "refused requests",
        "an operator should see which requests were refused",
        (Seen("access-log", "line refused", [], lambda it: len(it) == 1),),
    ),
    Difference(
        "Logs",
        "quotes, backslashes and control characters in what clients send",
        "a client must not be able to forge a line or a part of one",
        (Seen("access-log", "line encoded", lambda it: 'b" 1.1' in it[0], lambda it: 'b\\" 1.1' in it[0]),),
    ),
)
