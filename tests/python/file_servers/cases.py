"""The requests that all servers get: a few hundred, about files, names, conditions, ranges and codings."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

#: The time of all files but one.
SECOND = 1_700_000_000
SAME = "Tue, 14 Nov 2023 22:13:20 GMT"
BEFORE = "Tue, 14 Nov 2023 22:13:19 GMT"
AFTER = "Tue, 14 Nov 2023 22:13:21 GMT"

TEXT = b"".join(b"line %03d\n" % number for number in range(100))
LARGE = bytes(range(256)) * 400
SCRIPT = b"let answer = 42;\n" * 100


def write_site(folder: Path) -> None:
    """Writes the files."""
    (folder / "sub").mkdir(parents=True)
    (folder / "empty").mkdir()
    files = {
        "index.html": b"<h1>home</h1>", "a.txt": TEXT, "large.bin": LARGE, "nothing.txt": b"", "a b.txt": b"space",
        "100%.txt": b"percent", "ü.txt": b"umlaut", "a+b.txt": b"plus", "noextension": b"none", "style.css": b"a { b: c }",
        "sub/index.html": b"<h1>sub</h1>", "sub/x.json": b"{}", ".hidden": b"SECRET", "../outside.txt": b"SECRET",
        "app.js": SCRIPT, "app.js.gz": gzip.compress(SCRIPT, mtime=0), "picture.svg": b"<svg/>", "UPPER.HTML": b"<p>",
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)
    (folder / "out.txt").symlink_to("../outside.txt")
    for path in [*folder.rglob("*"), folder]:
        os.utime(path, (SECOND, SECOND), follow_symlinks=False)


@dataclass(frozen=True)
class Case:
    """A request; ``{etag}`` in a field stands for the tag of the file, in each server its own."""

    target: str
    method: str = "GET"
    fields: tuple[tuple[str, str], ...] = ()


#: Names, and what each asks for.
TARGETS = {
    "root": "/", "text": "/a.txt", "large": "/large.bin", "nothing": "/nothing.txt", "space": "/a%20b.txt",
    "percent": "/100%25.txt", "umlaut": "/%C3%BC.txt", "umlaut-raw": "/ü.txt", "plus": "/a+b.txt", "plus-encoded": "/a%2Bb.txt",
    "noextension": "/noextension", "css": "/style.css", "folder": "/sub/", "folder-without-slash": "/sub",
    "folder-query": "/sub?x=1&y", "json": "/sub/x.json", "svg": "/picture.svg", "upper": "/UPPER.HTML", "script": "/app.js",
    "script-gz": "/app.js.gz", "query": "/a.txt?v=1", "query-odd": "/a.txt?../%00", "none": "/none.txt", "empty-folder": "/empty/",
    "empty-folder-without-slash": "/empty", "index": "/index.html", "case": "/A.TXT",
}

ODD_PATHS = {
    "dots": "/../a.txt", "dots-within": "/sub/../a.txt", "dots-encoded": "/sub/%2e%2e/a.txt", "dots-half": "/sub/.%2e/a.txt",
    "dots-out": "/../../outside.txt", "dots-out-encoded": "/%2e%2e/outside.txt", "slash-encoded": "/sub%2fx.json",
    "slash-encoded-out": "/..%2foutside.txt", "dot": "/./a.txt", "dot-encoded": "/%2e/a.txt", "slashes": "//a.txt",
    "slashes-within": "/sub//x.json", "slash-behind": "/a.txt/", "more-behind": "/a.txt/more", "dot-behind": "/a.txt/.",
    "nul": "/a.txt%00", "nul-within": "/a%00.txt", "backslash": "/sub\\x.json", "backslash-encoded": "/..%5coutside.txt",
    "hidden": "/.hidden", "hidden-encoded": "/%2ehidden", "link-out": "/out.txt", "encoded-twice": "/%2561.txt",
    "encoded-letter": "/%61.txt", "lower-hex": "/%c3%bc.txt", "bad-hex": "/%zz.txt", "cut-hex": "/a.txt%", "percent-raw": "/100%.txt",
    "overlong": "/%c0%af", "latin": "/%ff", "long": "/" + "a" * 3000, "long-segments": "/" + "a/" * 500, "tab": "/a%09.txt",
    "newline": "/a.txt%0d%0a", "semicolon": "/a.txt;v=1", "tilde": "/~root", "star": "/*", "question": "/?", "question-name": "/%3F",
    "hash-encoded": "/a.txt%23x", "colon": "/:a.txt", "absolute": "http://127.0.0.1/a.txt", "three-dots": "/.../a.txt",
    "folder-dots": "/sub/..", "folder-dot": "/sub/.", "dots-to-none": "/none/../a.txt",
}

METHODS = ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND", "BREW", "get")

CONDITIONS = {
    "none-match-same": {"if-none-match": "{etag}"}, "none-match-weak": {"if-none-match": "W/{etag}"},
    "none-match-other": {"if-none-match": '"other"'}, "none-match-list": {"if-none-match": '"x", {etag} , "y"'},
    "none-match-list-weak": {"if-none-match": 'W/"x",W/{etag}'}, "none-match-any": {"if-none-match": "*"},
    "none-match-unquoted": {"if-none-match": "other"}, "none-match-empty": {"if-none-match": ""},
    "none-match-many": {"if-none-match": ", ".join(f'"{number}"' for number in range(300)) + ", {etag}"},
    "none-match-comma": {"if-none-match": '"a,b", {etag}'}, "none-match-beats-date": {"if-none-match": '"x"', "if-modified-since": AFTER},
    "none-match-same-beats-date": {"if-none-match": "{etag}", "if-modified-since": BEFORE},
    "modified-same": {"if-modified-since": SAME}, "modified-before": {"if-modified-since": BEFORE},
    "modified-after": {"if-modified-since": AFTER}, "modified-bad": {"if-modified-since": "yesterday"},
    "modified-rfc850": {"if-modified-since": "Tuesday, 14-Nov-23 22:13:20 GMT"},
    "modified-asctime": {"if-modified-since": "Tue Nov 14 22:13:20 2023"}, "modified-epoch": {"if-modified-since": "0"},
    "modified-future": {"if-modified-since": "Fri, 01 Jan 2100 00:00:00 GMT"},
    "match-same": {"if-match": "{etag}"}, "match-weak": {"if-match": "W/{etag}"}, "match-other": {"if-match": '"other"'},
    "match-any": {"if-match": "*"}, "match-list": {"if-match": '"x", {etag}'},
    "unmodified-same": {"if-unmodified-since": SAME}, "unmodified-before": {"if-unmodified-since": BEFORE},
    "unmodified-after": {"if-unmodified-since": AFTER}, "unmodified-bad": {"if-unmodified-since": "never"},
    "match-beats-date": {"if-match": "{etag}", "if-unmodified-since": BEFORE},
    "match-then-none-match": {"if-match": "{etag}", "if-none-match": "{etag}"},
    "match-fails-before-none-match": {"if-match": '"x"', "if-none-match": "{etag}"},
    "unmodified-then-modified": {"if-unmodified-since": AFTER, "if-modified-since": AFTER},
    "none-match-with-range": {"if-none-match": "{etag}", "range": "bytes=0-9"},
    "none-match-other-with-range": {"if-none-match": '"x"', "range": "bytes=0-9"},
    "match-with-range": {"if-match": "{etag}", "range": "bytes=0-9"},
    "modified-with-range": {"if-modified-since": BEFORE, "range": "bytes=0-9"},
}

RANGES = {
    "first": "bytes=0-9", "one": "bytes=0-0", "from": "bytes=500-", "last": "bytes=-10", "all": "bytes=0-", "all-exact": "bytes=0-899",
    "last-byte": "bytes=899-899", "beyond-end": "bytes=890-5000", "suffix-longer": "bytes=-5000", "suffix-none": "bytes=-0",
    "behind": "bytes=900-", "far-behind": "bytes=5000-6000", "behind-huge": "bytes=99999999999999999999-",
    "end-huge": "bytes=0-99999999999999999999", "suffix-huge": "bytes=-99999999999999999999", "reversed": "bytes=9-0",
    "empty": "bytes=", "dash": "bytes=-", "no-dash": "bytes=5", "no-unit": "0-9", "other-unit": "lines=0-9", "letters": "bytes=a-b",
    "negative": "bytes=--5", "three": "bytes=0-1-2", "upper-unit": "Bytes=0-9", "space": "bytes= 0-9", "space-within": "bytes=0 - 9",
    "space-before-equals": "bytes =0-9", "tab": "bytes=\t0-9", "float": "bytes=0.5-9", "hex": "bytes=0x0-9", "plus": "bytes=+0-9",
    "semicolon": "bytes=0-9;", "two": "bytes=0-9,500-509", "two-spaced": "bytes=0-9 , 500-509", "two-reversed": "bytes=500-509,0-9",
    "two-one-behind": "bytes=0-9,5000-", "two-both-behind": "bytes=5000-,6000-", "two-one-bad": "bytes=0-9,x",
    "two-overlap": "bytes=0-99,50-149", "two-adjacent": "bytes=0-9,10-19", "two-same": "bytes=0-9,0-9", "empty-element": "bytes=0-9,,500-509",
    "comma-first": "bytes=,0-9", "suffix-and-first": "bytes=-10,0-9", "overlapping-many": "bytes=" + ",".join(["0-"] * 20),
    "many": "bytes=" + ",".join(f"{20 * number}-{20 * number}" for number in range(30)),
    "all-twice": "bytes=0-,0-",
}

IF_RANGES = {
    "same": "{etag}", "weak": "W/{etag}", "other": '"other"', "date-same": SAME, "date-before": BEFORE, "date-after": AFTER,
    "date-bad": "yesterday", "any": "*", "empty": "", "unquoted": "other",
}

CODINGS = {
    "gzip": "gzip", "gzip-upper": "GZIP", "x-gzip": "x-gzip", "list": "deflate, gzip", "browser": "gzip, deflate, br, zstd", "none": "",
    "identity": "identity", "other": "deflate", "any": "*", "any-zero": "*;q=0", "zero": "gzip;q=0", "zero-long": "gzip;q=0.000",
    "half": "gzip;q=0.5", "spaced": "gzip ; q=0.5", "upper-q": "gzip;Q=0.5", "two-fields-worth": "identity;q=0.5, gzip;q=1.0",
    "identity-better": "identity;q=1, gzip;q=0.5", "identity-refused": "identity;q=0", "q-two": "gzip;q=2", "q-letters": "gzip;q=abc",
    "q-negative": "gzip;q=-1", "q-empty": "gzip;q=", "q-long": "gzip;q=0.0001", "q-long-zero": "gzip;q=0.0000000", "q-comma": "gzip;q=0,5",
    "prefix": "gzipped", "suffix": "xgzip", "semicolon": "gzip;", "comma": ",gzip,", "many": "deflate," * 500 + "gzip",
    "zero-then-one": "gzip;q=0, gzip;q=1", "parameter": "gzip;level=1",
}


def cases() -> Iterator[tuple[str, Case]]:
    """All requests by their names."""
    for name, target in TARGETS.items():
        for method in ("GET", "HEAD"):
            yield f"target/{name}/{method}", Case(target, method)
    for name, target in ODD_PATHS.items():
        yield f"path/{name}", Case(target)
    for method in METHODS:
        for name in ("text", "none", "folder"):
            yield f"method/{name}/{method}", Case(TARGETS[name], method)
    for name, fields in CONDITIONS.items():
        for method in ("GET", "HEAD"):
            yield f"condition/{name}/{method}", Case("/a.txt", method, tuple(fields.items()))
    for name, value in RANGES.items():
        yield f"range/{name}", Case("/a.txt", fields=(("range", value),))
    for name in ("first", "behind", "two"):
        yield f"range/{name}/HEAD", Case("/a.txt", "HEAD", (("range", RANGES[name]),))
        yield f"range/{name}/nothing", Case("/nothing.txt", fields=(("range", RANGES[name]),))
        yield f"range/{name}/none", Case("/none.txt", fields=(("range", RANGES[name]),))
    for name, value in IF_RANGES.items():
        yield f"if-range/{name}", Case("/a.txt", fields=(("range", "bytes=0-9"), ("if-range", value)))
    for name, value in CODINGS.items():
        yield f"coding/{name}", Case("/app.js", fields=(("accept-encoding", value),))
    for name, fields in {
        "range": {"range": "bytes=0-9"}, "head": {}, "none-match": {"if-none-match": "{etag}"}, "if-range": {"range": "bytes=0-9", "if-range": "{etag}"},
        "date": {"if-modified-since": SAME},
    }.items():
        method = "HEAD" if name == "head" else "GET"
        yield f"coding/gzip-and-{name}", Case("/app.js", method, (("accept-encoding", "gzip"), *fields.items()))
    yield "coding/none-match-of-original", Case("/app.js", fields=(("accept-encoding", "gzip"), ("if-none-match", "{etag of original}")))
    yield "coding/without-sibling", Case("/a.txt", fields=(("accept-encoding", "gzip"),))
    yield "coding/original-alone", Case("/app.js")
