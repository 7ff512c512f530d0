"""The check of words finds what it should in prose, and nothing in code."""

from __future__ import annotations

import pytest

from words import READERS, Rules

RULES = Rules.of(
    {
        "checked": [],
        "generated": [],
        "columns": 40,
        "words": {"so many bytes": "that many bytes", "whoever": "the caller"},
        "openings": {"Gives": "Returns"},
        "spelling": {"behaviour": "behavior", "analys": "analyz"},
    }
)


def findings(name: str, text: str) -> list[int]:
    """The lines of the findings."""
    return sorted(number for number, _ in RULES.findings(name, text))


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("Whoever writes so many\nbytes.", [1, 1]),
        ("Other behaviours, and\nthis behaviour.", [1, 2]),
        ("To analyse.\nAn analysis", [1]),
        ("`whoever`, [a link](https://behaviour.example/whoever)", []),
        ("```python\nwhoever()\n```\nWhoever", [4]),
        ("<!-- whoever\n-->\nso\n\nmany bytes, whoever", [5]),
        (f"{'a ' * 30}\n| {'a ' * 30}|\n[a]({'a' * 60})\n```\n{'a' * 60}\n```", [1]),
    ],
)
def test_markdown(text: str, lines: list[int]) -> None:
    assert findings("a.md", text) == lines


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("/// Reads so many\n/// bytes.\nfn whoever() {}", [1]),
        ('let url = "https://whoever"; // whoever', [1]),
        ("let raw = r#\"// whoever \"quoted\" // whoever\"#;\nlet quote = '\"'; // whoever", [2]),
        ("/// Gives the length.\nfn length() {}\n\n/// It\n/// Gives up.\nfn up() {}", [1]),
        ("//! ```\n//! whoever();\n//! ```\n//! Whoever.", [4]),
        ("/* whoever\n * and behaviour */", [1, 2]),
        ("// so many\nfn a<'a>() {}\n// bytes", []),
    ],
)
def test_rust(text: str, lines: list[int]) -> None:
    assert findings("a.rs", text) == lines


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ('def whoever() -> str:\n    """Gives so many\n    bytes."""\n    return "whoever"  # whoever', [2, 2, 4]),
        ('"""Whoever."""\nwhoever = "# whoever"', [1]),
    ],
)
def test_python(text: str, lines: list[int]) -> None:
    assert findings("a.py", text) == lines


def test_toml() -> None:
    assert findings("a.toml", '# Whoever\nwhoever = "# whoever"') == [1]


def test_every_reader_has_a_test() -> None:
    assert set(READERS) == {".md", ".rs", ".py", ".toml"}
