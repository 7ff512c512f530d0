"""Names of cases, and predicates, that several sections use."""

from __future__ import annotations

from typing import Any

from parity.comparison import ABSENT

CHUNKED = [("transfer-encoding", "chunked")]


def has_length(framing: Any) -> bool:
    """Framing by content-length."""
    return framing != ABSENT and [name for name, _ in framing] == ["content-length"]


def some_words(reason: Any) -> bool:
    """A reason phrase."""
    return reason not in ("", ABSENT)


#: Apps that raise, leave or send nonsense once they have sent the head.
AFTER_THE_HEAD = "fail-start leave-start nonsense-status-string nonsense-body-str nonsense-twice"

#: Apps that send a status or a field that cannot be sent.
UNSENDABLE = (
    "nonsense-status-small nonsense-status-large nonsense-header-crlf nonsense-header-nul nonsense-header-name "
    "nonsense-header-name-crlf"
)

#: Apps whose first message is none.
NOTHING_SENT = (
    "nonsense-status-missing nonsense-header-str nonsense-header-pseudo nonsense-header-short nonsense-body-first "
    "nonsense-unknown nonsense-no-type nonsense-no-dict"
)


def on(protocols: str, names: str) -> str:
    """Patterns for these cases over these protocols."""
    return " ".join(f"*/{protocol}/{name}" for protocol in protocols.split() for name in names.split())
