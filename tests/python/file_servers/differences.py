"""Where hcrs sends files otherwise than nginx, h2o or Caddy, each with its reason.

A difference that is not here fails a test, and so does one that has vanished."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase


@dataclass(frozen=True)
class Difference:
    """A difference in these cases, from these servers, in these facets of the answer."""

    #: Why hcrs does what it does.
    why: str
    #: Patterns of case names; a case that one with ``!`` before it matches is left out.
    cases: str
    servers: str
    facets: str
    #: Whether it shows in some of the cases alone.
    some: bool = False

    def is_about(self, case: str, server: str) -> bool:
        """Whether it is about a case and a server."""
        patterns = self.cases.split()
        return (
            server in self.servers.split()
            and any(fnmatchcase(case, pattern) for pattern in patterns if pattern[0] != "!")
            and not any(fnmatchcase(case, pattern[1:]) for pattern in patterns if pattern[0] == "!")
        )

    def is_of(self, facet: str) -> bool:
        """Whether it is about a facet."""
        return facet in self.facets.split(", ")


ALL = "nginx h2o caddy"

#: Ranges that are no ranges by RFC 9110 §14.1.1.
MALFORMED = " ".join(
    f"range/{name}"
    for name in ("reversed", "dash", "no-dash", "letters", "negative", "three", "float", "hex", "semicolon", "two-one-bad")
)

RANGES = (
    Difference(
        "a malformed range, or one of an unknown unit, is ignored (RFC 9110 §14.2); 416 is for ranges that are well-formed",
        MALFORMED, ALL, "status",
    ),
    Difference("the same", "range/plus", "nginx h2o", "status"),
    Difference("the same; Go's parser reads +0 as a number", "range/plus", "caddy", "status"),
    Difference("the same", "range/no-unit range/other-unit", "h2o caddy", "status"),
    Difference("the same", "range/empty", "h2o", "status"),
    Difference("units are compared without case (RFC 9110 §14.1)", "range/upper-unit", "h2o caddy", "status"),
    Difference(
        "white space and empty elements are allowed in a list (RFC 9110 §5.6.1), and taken elsewhere",
        "range/space range/space-within range/space-before-equals range/tab", "h2o", "status",
    ),
    Difference("the same", "range/space-before-equals range/tab range/comma-first range/empty-element", "nginx", "status"),
    Difference("the same", "range/space-before-equals", "caddy", "status"),
    Difference("numbers of any length are numbers", "range/end-huge range/suffix-huge", "nginx caddy", "status"),
    Difference("the same, so the length is named", "range/behind-huge", "caddy", "content-range"),
    Difference("a suffix without bytes is not satisfiable (RFC 9110 §14.1.2)", "range/suffix-none", "caddy", "status"),
    Difference("no range of an empty file is satisfiable", "range/first/nothing range/two/nothing", "nginx", "status"),
    Difference("Range is defined for GET alone (RFC 9110 §14.2)", "range/first/HEAD range/two/HEAD", ALL, "status"),
    Difference("the same", "range/behind/HEAD", ALL, "status"),
    Difference("the same", "condition/*-with-range/HEAD !condition/none-match-with-range/HEAD", ALL, "status"),
    Difference(
        "ranges that overlap or almost touch are joined (RFC 9110 §15.3.7.2): no request gets more than the file has",
        "range/two-overlap range/two-adjacent range/two-same", ALL, "type",
    ),
    Difference("the same", "range/all-twice", "h2o", "type"),
    Difference("the same", "range/all-twice", "nginx caddy", "status"),
    Difference("more than 16 ranges are ignored (RFC 9110 §14.2)", "range/many", ALL, "status"),
    Difference("the same", "range/overlapping-many", "h2o", "status"),
    Difference("206 says as well as 200 that ranges are taken", "range/* if-range/* condition/*", "nginx h2o", "accept-ranges", some=True),
)

IF_RANGE = (
    Difference(
        "if-range is compared strongly; without a match the whole file is sent (RFC 9110 §13.1.5)",
        "if-range/* !if-range/same !if-range/date-same", "h2o", "status",
    ),
    Difference("an empty if-range matches nothing", "if-range/empty", "caddy", "status"),
)

CONDITIONS = (
    Difference(
        "if-modified-since is a date that the client has it from, and later ones do as well (RFC 9110 §13.1.3); nginx "
        "compares for equality by default",
        "condition/modified-after/* condition/modified-future/* condition/unmodified-then-modified/*", "nginx", "status",
    ),
    Difference(
        "if-none-match alone counts if both are there (RFC 9110 §13.1.3)",
        "condition/none-match-same-beats-date/*", "nginx", "status",
    ),
    Difference(
        "if-unmodified-since is ignored beside if-match, and if it is no date (RFC 9110 §13.1.4)",
        "condition/match-beats-date/* condition/unmodified-bad/*", "nginx", "status",
    ),
    Difference(
        "if-none-match is a list of tags, weak ones and * (RFC 9110 §13.1.2)",
        "condition/none-match-weak/* condition/none-match-list/* condition/none-match-list-weak/* condition/none-match-any/* "
        "condition/none-match-many/* condition/none-match-comma/*",
        "h2o", "status",
    ),
    Difference(
        "dates have three forms (RFC 9110 §5.6.7)",
        "condition/modified-rfc850/* condition/modified-asctime/*", "h2o", "status",
    ),
    Difference(
        "if-match and if-unmodified-since are obeyed (RFC 9110 §13.1.1, §13.1.4)",
        "condition/match-weak/* condition/match-other/* condition/unmodified-before/* condition/match-fails-before-none-match/*",
        "h2o", "status",
    ),
    Difference(
        "304 has the fields that 200 would have to update what a cache holds (RFC 9110 §15.4.5)",
        "condition/* coding/gzip-and-none-match coding/gzip-and-date", "h2o caddy", "last-modified", some=True,
    ),
)

CODINGS = (
    Difference("x-gzip is gzip (RFC 9110 §8.4.1.3)", "coding/x-gzip", ALL, "coding"),
    Difference("* stands for each coding that is not named (RFC 9110 §12.5.3)", "coding/any", ALL, "coding"),
    Difference("the highest quality wins (RFC 9110 §12.5.3)", "coding/identity-better", "nginx caddy", "coding"),
    Difference(
        "a coding may have a quality, in any case and spacing",
        "coding/half coding/spaced coding/upper-q coding/two-fields-worth", "h2o", "coding",
    ),
    Difference("an element that the grammar does not have is ignored", "coding/semicolon", "nginx caddy", "coding"),
    Difference("the same", "coding/parameter", "caddy", "coding"),
    Difference(
        "a coding whose quality is malformed is not asked for: the original does no harm",
        "coding/q-two coding/q-letters coding/q-negative coding/q-empty coding/q-long", "caddy", "coding",
    ),
    Difference("the first of several qualities counts", "coding/zero-then-one", "caddy", "coding"),
    Difference(
        "ranges are those of the file that is sent, in its coding (RFC 9110 §14.2)",
        "coding/gzip-and-range coding/gzip-and-if-range", "nginx", "status",
    ),
    Difference("HEAD has the length that GET has (RFC 9110 §8.6)", "coding/gzip-and-head", "caddy", "length of HEAD"),
    Difference(
        "vary is on each representation, so that a cache does not keep the original for all clients",
        "coding/* target/script/*", "caddy", "vary", some=True,
    ),
    Difference("vary is on files that have siblings alone", "*", "h2o", "vary", some=True),
)

PATHS = (
    Difference("octets that are not ASCII have to be encoded (RFC 3986 §2.1)", "target/umlaut-raw/*", ALL, "status"),
    Difference("a slash that is encoded may be a part of a name, and names no file", "path/slash-encoded", ALL, "status"),
    Difference("links lead out of the folder only with follow_links", "path/link-out", "h2o caddy", "status"),
    Difference("what may not be sent is as if it were not there", "path/link-out target/empty-folder/*", "nginx", "status"),
    Difference("a folder without index file and listing is not there", "target/empty-folder-without-slash/*", "nginx h2o", "status"),
    Difference("names that begin with a dot are hidden unless hidden is set", "path/hidden path/hidden-encoded", "h2o", "status"),
    Difference("a file is no folder", "path/dot-behind", "caddy", "status"),
    Difference(
        "dot segments at the root are removed, and lead nowhere (RFC 3986 §5.2.4)",
        "path/dots path/dots-out path/dots-out-encoded path/slash-encoded-out", "nginx", "status",
    ),
    Difference("malformed percent-encoding is taken as it is", "path/percent-raw path/bad-hex path/cut-hex", "nginx caddy", "status"),
    Difference("no file has such a name", "path/nul path/nul-within", "nginx caddy", "status"),
    Difference("the same; h2o cuts it off there", "path/nul", "h2o", "status"),
    Difference("the same", "path/long", "h2o caddy", "status"),
    Difference("a path is compared and answered in its normal form", "path/folder-dots path/folder-dot", "caddy", "status"),
    Difference("any host is served unless server_names is set", "path/absolute", "h2o", "status"),
    Difference(
        "301 is what browsers and tools expect of folders",
        "target/folder-without-slash/* target/folder-query/*", "caddy", "status",
    ),
)

METHODS = (
    Difference("405 names what is allowed (RFC 9110 §15.5.6)", "method/*", "nginx", "allow", some=True),
    Difference("files are sent to GET and HEAD alone", "method/text/* method/folder/*", "caddy", "status"),
    Difference("the method decides before the file is looked for", "method/none/*", "h2o caddy", "status"),
    Difference("the same", "method/none/POST", "nginx", "status"),
    Difference("methods are compared with case, and any is a method (RFC 9110 §9.1)", "method/*/get", "nginx", "status"),
)

TYPES = (
    Difference("browsers are not to guess a type (nosniff)", "*", ALL, "nosniff", some=True),
    Difference("text has charset=utf-8, as the files of web projects have", "*", "nginx h2o", "charset", some=True),
    Difference("text/javascript is the type of scripts (RFC 9239)", "target/script/* coding/*", "nginx h2o", "type", some=True),
    Difference("RFC 6713 has the type", "target/script-gz/*", "nginx h2o", "type"),
    Difference("a file of an unknown type has application/octet-stream", "target/large/* target/noextension/*", "caddy", "type"),
)

DIFFERENCES: tuple[Difference, ...] = RANGES + IF_RANGE + CONDITIONS + CODINGS + PATHS + METHODS + TYPES
