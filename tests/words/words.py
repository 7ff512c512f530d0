"""Checks the prose of this repository against a list of words, and the width of Markdown lines.

It reads Markdown, the comments of Rust, Python and TOML, and Python's docstrings. Code is not checked: neither code blocks and
`code` in prose, nor string literals. words.toml holds the list and names the folders that are checked.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found, unused-ignore]

ROOT = Path(__file__).parents[2]
LIST = Path(__file__).with_name("words.toml")

#: Replaces code, so that the words on both sides of it do not form a phrase.
CODE = "\N{OBJECT REPLACEMENT CHARACTER}"

#: A line of prose and its number, from 1.
Line = tuple[int, str]


@dataclass(frozen=True)
class Rules:
    """The list."""

    checked: list[str]
    generated: list[str]
    columns: int
    #: Expressions for phrases that are not to be written, each with what to write instead.
    phrases: list[tuple[re.Pattern[str], str]]
    #: The same for the beginnings of comments and docstrings.
    openings: list[tuple[re.Pattern[str], str]]

    @classmethod
    def of(cls, table: dict[str, Any]) -> Rules:
        """Reads a parsed words.toml. The end of a word of ``[spelling]`` is free, so that it also matches its forms."""
        phrases = [(pattern(phrase), better) for phrase, better in table["words"].items()]
        for word, better in table["spelling"].items():
            # Of "analys" the verb is meant, and not "analysis"; of "optimis" not "optimist".
            ending = r"(?:e|ing|ation)\w*" if word.endswith(("is", "ys")) else r"\w*"
            phrases.append((pattern(word, ending), f"“{better}…”"))
        openings = [(opening(words), better) for words, better in table["openings"].items()]
        return cls(table["checked"], table["generated"], table["columns"], phrases, openings)

    def files(self, root: Path) -> list[Path]:
        """Returns the files that are checked. A path in the list that does not exist is an error."""
        found: set[Path] = set()
        for name in self.checked:
            path = root / name
            if not path.exists():
                raise FileNotFoundError(f"words.toml names {name}, which does not exist")
            inside = path.rglob("*") if path.is_dir() else [path]
            found.update(file for file in inside if file.suffix in READERS and file.is_file())
        left_out = {root / name for name in self.generated}
        return sorted(file for file in found if left_out.isdisjoint([file, *file.parents]))

    def findings(self, name: str, text: str) -> Iterator[tuple[int, str]]:
        """Yields the line and the message of everything in a file that breaks a rule."""
        suffix = Path(name).suffix
        lines = list(READERS[suffix](text))
        starts: list[int] = []
        blob = ""
        for _, line in lines:
            starts.append(len(blob))
            blob += line + "\n"
        for expression, better in self.phrases + (self.openings if suffix in (".rs", ".py") else []):
            for found in expression.finditer(blob):
                index = max(i for i, start in enumerate(starts) if start <= found.start())
                words = " ".join(found[0].split())
                yield lines[index][0], f"“{words}”: write {better}"
        if suffix == ".md":
            for number, line in without_code(text):
                width = len(without_targets(line))
                if width > self.columns and not line.lstrip().startswith("|"):
                    yield number, f"{width} columns: at most {self.columns}"


def pattern(phrase: str, ending: str = "") -> re.Pattern[str]:
    """Compiles a phrase, which may be broken over lines and begin with a capital."""
    words = r"\s+".join(map(re.escape, phrase.split()))
    return re.compile(rf"\b{words}{ending}\b", re.IGNORECASE)


def opening(words: str) -> re.Pattern[str]:
    """Compiles the first words of a comment or a docstring, before which there is code or nothing."""
    return re.compile(rf"(?:\A|(?<={CODE}\n)){re.escape(words)}\b")


def without_code(text: str) -> Iterator[Line]:
    """Yields the lines of Markdown outside of code blocks. Headings and blank lines end a phrase, as code does."""
    fence = ""
    for number, line in enumerate(text.splitlines(), 1):
        mark = re.match(r"\s*(```+|~~~+)", line)
        if mark and not fence:
            fence = mark[1]
        elif mark and mark[1].startswith(fence):
            fence = ""
        elif not fence:
            yield number, line


def without_targets(line: str) -> str:
    """Removes the targets of links, and URLs, which cannot be broken."""
    return re.sub(r"\w+://\S+", "", re.sub(r"\]\([^)]*\)", "]", line))


def without_inline_code(line: str) -> str:
    """Replaces `code`."""
    return re.sub(r"(`+).+?\1", CODE, line)


def markdown(text: str) -> Iterator[Line]:
    """Yields the prose of a Markdown file."""
    blanked = re.sub(r"<!--.*?-->", lambda comment: "\n" * comment[0].count("\n"), text, flags=re.DOTALL)
    for number, line in without_code(blanked):
        yield number, without_inline_code(without_targets(line)) or CODE


_RUST = re.compile(
    r"""b?r(?P<hashes>\#*)".*?"(?P=hashes)   # a raw string
    | b?"(?:\\.|[^"\\])*"                    # a string
    | b?'(?:\\[^'\n]*|[^'\\\n])'             # a character
    | (?P<line>//[^\n]*)
    | (?P<block>/\*.*?\*/)
    """,
    re.DOTALL | re.VERBOSE,
)


def rust(text: str) -> Iterator[Line]:
    """Yields the comments of Rust. Their code blocks are left out."""
    previous = 0
    prose: list[Line] = []
    for found in _RUST.finditer(text):
        comment = found["line"] or found["block"]
        if comment is None:
            continue
        number = text.count("\n", 0, found.start()) + 1
        if number > previous + 1:
            prose.append((number, CODE))
        for offset, line in enumerate(comment.splitlines()):
            previous = number + offset
            prose.append((previous, re.sub(r"^\s*(?://[/!]?|/?\*+[/!]?)\s?", "", line)))
    fenced = False
    for number, line in prose:
        if line.startswith("```"):
            fenced = not fenced
        elif not fenced:
            yield number, without_inline_code(without_targets(line))


def python(text: str) -> Iterator[Line]:
    """Yields the comments and docstrings of Python."""
    prose: list[Line] = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            prose.append((token.start[0], token.string.lstrip("#: ")))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            match node.body:
                case [ast.Expr(value=ast.Constant(value=str(docstring)) as constant), *_]:
                    prose += enumerate(docstring.splitlines(), constant.lineno)
    previous = 0
    for number, line in sorted(prose):
        if number > previous + 1:
            yield number, CODE
        previous = number
        yield number, without_inline_code(without_targets(line))


def toml(text: str) -> Iterator[Line]:
    """Yields the comments of TOML that have a line of their own."""
    for number, line in enumerate(text.splitlines(), 1):
        comment = line.lstrip()
        yield number, without_inline_code(comment.lstrip("# ")) if comment.startswith("#") else CODE


READERS = {".md": markdown, ".rs": rust, ".py": python, ".toml": toml}


def main() -> int:
    """Prints every finding; the exit code is 1 if there is one. Arguments name files to check instead of the list's."""
    rules = Rules.of(tomllib.loads(LIST.read_text()))
    files = [Path(name).resolve() for name in sys.argv[1:]] or rules.files(ROOT)
    count = 0
    for file in files:
        name = str(file.relative_to(ROOT))
        for number, message in sorted(rules.findings(name, file.read_text())):
            print(f"{name}:{number}: {message}")
            count += 1
    print(f"{len(files)} files, {count} findings")
    return int(count > 0)


if __name__ == "__main__":
    sys.exit(main())
