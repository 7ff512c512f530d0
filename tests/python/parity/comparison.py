"""Compares what two servers answered, and knows which differences are meant."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from end_to_end.server import DEADLINE
from parity.conversation import PATIENCE, Answer, Speaker

#: What stands for a facet that an answer does not have.
ABSENT = "<absent>"


def anything(value: object) -> bool:
    """For what differs and need not be told."""
    return True


@dataclass(frozen=True)
class Seen:
    """Where a difference shows, and as what: in each of these cases and, if the answer has it at all, in this facet."""

    #: Patterns of case names; a case that one with ``!`` before it matches is left out.
    cases: str
    facet: str
    #: A value, or what says whether a value is the one that is meant.
    hypercorn: Any = anything
    hcrs: Any = anything
    #: Whether all else in the answer differs with it, as headers do when one is an error and the other is not.
    all_else: bool = False
    #: Whether it shows now and then: it depends on what arrives together.
    now_and_then: bool = False

    def names(self, case: str, facet: str) -> bool:
        """Whether this is about a facet of a case."""
        patterns = self.cases.split()
        return (
            fnmatchcase(facet, self.facet)
            and any(fnmatchcase(case, pattern) for pattern in patterns if pattern[0] != "!")
            and not any(fnmatchcase(case, pattern[1:]) for pattern in patterns if pattern[0] == "!")
        )

    def is_what_was_seen(self, hypercorn: Any, hcrs: Any) -> bool:
        """Whether both answered as is told here."""
        return _is(self.hypercorn, hypercorn) and _is(self.hcrs, hcrs)


def _is(expected: Any, value: Any) -> bool:
    return bool(expected(value) if callable(expected) else expected == value)


@dataclass(frozen=True)
class Difference:
    """A row of docs/compatibility.md, which says what either server does, and where it shows."""

    section: str
    subject: str
    why: str
    seen: tuple[Seen, ...]


@dataclass(frozen=True)
class Case:
    """Something that is said to both servers."""

    #: As ``FILE:ATTRIBUTE`` in the folder of apps.
    app: str
    says: Callable[[Speaker], Answer]
    tls: bool = False
    #: Over HTTP/3.
    quic: bool = False


#: Facets that tell of silence.
WAITED_FOR = ("end", "1.end", "2.end", "after")


def patience(case: str, server: str, differences: Iterable[Difference]) -> float:
    """How long an answer is waited for, in seconds: not long where Hypercorn is known to send none."""
    rows = [row for difference in differences for row in difference.seen if row.facet in WAITED_FOR]
    is_silent = server == "hypercorn" and any(
        row.names(case, row.facet) for row in rows if row.hypercorn is not anything and _is(row.hypercorn, "silent")
    )
    return PATIENCE if is_silent else DEADLINE


def compare(case: str, hypercorn: Answer, hcrs: Answer, differences: Iterable[Difference]) -> None:
    """Fails for a difference that is not in the table, and for one in the table that is not there any more."""
    rows = [(difference, row) for difference in differences for row in difference.seen]
    facets = {facet: (hypercorn.get(facet, ABSENT), hcrs.get(facet, ABSENT)) for facet in sorted({*hypercorn, *hcrs})}
    if any(row.all_else and _shows(row, case, facet, *values) for facet, values in facets.items() for _, row in rows):
        return
    wrong: list[str] = []
    for facet, (theirs, ours) in facets.items():
        about = [(difference, row) for difference, row in rows if row.names(case, facet)]
        told = f"{facet}\n    Hypercorn: {theirs!r}\n    hcrs:      {ours!r}"
        if theirs == ours:
            gone = [it.subject for it, row in about if not row.now_and_then]
            wrong += [f"no difference any more, but the table has {subject!r}: {told}" for subject in gone]
        elif not any(row.is_what_was_seen(theirs, ours) for _, row in about):
            listed = "".join(f"\n    {it.subject!r} tells something else" for it, _ in about)
            wrong.append(f"a difference that the table has not: {told}{listed}")
    assert not wrong, f"{case}\n" + "\n".join(wrong)


def _shows(row: Seen, case: str, facet: str, hypercorn: Any, hcrs: Any) -> bool:
    return row.names(case, facet) and hypercorn != hcrs and row.is_what_was_seen(hypercorn, hcrs)
