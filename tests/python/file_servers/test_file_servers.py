"""The same requests for the same folder to hcrs, nginx, h2o and Caddy: what differs has its reason in
``differences.py``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any

import pytest

from end_to_end.h1_client import Closed, H1Client, Response
from file_servers.cases import Case, cases, write_site
from file_servers.differences import DIFFERENCES, Difference
from file_servers.servers import PEERS, FileServer, Hcrs, MissingProgram

Answer = dict[str, object]

CASES = dict(cases())


class Servers:
    """All servers, with the tags that each gives to files."""

    def __init__(self, servers: list[FileServer]) -> None:
        self._servers = servers
        self._tags: dict[tuple[str, str, str], str] = {}

    def answers(self, case: Case) -> dict[str, Answer]:
        """The answer of each server by its name."""
        return {server.name: self._ask(server, case) for server in self._servers}

    def _ask(self, server: FileServer, case: Case) -> Answer:
        values = dict(case.fields)
        coding = values.get("accept-encoding", "")
        fields = "".join(f"{name}: {value}\r\n" for name, value in case.fields)
        for placeholder, of in (("{etag}", coding), ("{etag of original}", "")):
            if placeholder in fields:
                fields = fields.replace(placeholder, self._tag(server, case, of))
        with H1Client(server.listener) as client:
            client.request(case.method, case.target, fields)
            try:
                response = client.response(to_head=case.method == "HEAD")
            except Closed:
                return {"status": "closed"}
            return facets(response, case)

    def _tag(self, server: FileServer, case: Case, coding: str) -> str:
        key = (server.name, case.target, coding)
        if key not in self._tags:
            with H1Client(server.listener) as client:
                response = client.get(case.target, f"accept-encoding: {coding}\r\n" if coding else "")
                self._tags[key] = response.header("etag") or '"none"'
        return self._tags[key].removeprefix("W/")


def facets(response: Response, case: Case) -> Answer:
    """What is compared. The pages of errors and redirects are the servers' own."""
    answer: Answer = {"status": response.status}
    media, _, parameters = (response.header("content-type") or "").partition(";")
    if response.status in (200, 206):
        answer["type"] = media
        if media == "multipart/byteranges":
            answer["body"] = parts(response)
        else:
            length = "length of HEAD" if case.method == "HEAD" else "length"
            answer |= {"body": response.body, "charset": parameters.strip(), length: response.header("content-length")}
        answer["nosniff"] = response.header("x-content-type-options")
        answer["accept-ranges"] = response.header("accept-ranges")
    if response.status in (200, 206, 304):
        answer["has etag"] = response.header("etag") is not None
        answer["weak etag"] = (response.header("etag") or "").startswith("W/")
        answer["last-modified"] = response.header("last-modified")
        answer["coding"] = response.header("content-encoding")
        answer["vary"] = sorted({part.strip().lower() for value in response.all("vary") for part in value.split(",")})
    answer["content-range"] = response.header("content-range")
    location = response.header("location")
    answer["location"] = location and re.sub(r"^https?://[^/]*", "", location)
    answer["allow"] = response.header("allow")
    return answer


def parts(response: Response) -> list[tuple[str, str, bytes]]:
    """The type, without its charset, the range and the content of each part."""
    head = f"content-type: {response.header('content-type')}\r\n\r\n".encode()
    payload: Any = BytesParser(policy=HTTP).parsebytes(head + response.body).get_payload()
    return [(part.get_content_type(), part["content-range"], part.get_payload(decode=True)) for part in payload]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    folder = tmp_path_factory.mktemp("servers")
    write_site(folder / "site")
    with ExitStack() as stack:
        started: list[FileServer] = []
        kinds: tuple[type[FileServer], ...] = (Hcrs, *PEERS)
        for kind in kinds:
            try:
                server = kind(folder / kind.name, folder / "site")
            except MissingProgram as error:
                pytest.skip(str(error))
            stack.callback(server.close)
            started.append(server)
        yield Servers(started)


#: Facets of which the first that differs explains all others.
LEADING = ("status", "coding", "type", "content-range")

#: The rows of the table that were needed, to be compared once all cases have run.
NEEDED: set[Difference] = set()
COMPARED: set[str] = set()


def differing(theirs: Answer, ours: Answer) -> list[str]:
    """The facets that differ."""
    every = [facet for facet in sorted({*theirs, *ours}) if theirs.get(facet) != ours.get(facet)]
    leading = [facet for facet in LEADING if facet in every]
    return leading[:1] or every


def compare(name: str, peer: str, theirs: Answer, ours: Answer) -> list[str]:
    """The facets that differ without a reason, and the reasons without a difference."""
    rows = [row for row in DIFFERENCES if row.is_about(name, peer)]
    facets = differing(theirs, ours)
    wrong: list[str] = []
    for facet in facets:
        meant = [row for row in rows if row.is_of(facet)]
        NEEDED.update(meant)
        if not meant:
            wrong.append(f"{facet}\n    {peer}: {theirs.get(facet)!r}\n    hcrs: {ours.get(facet)!r}")
    gone = [row for row in rows if not row.some and not any(row.is_of(facet) for facet in facets)]
    return wrong + [f"no difference from {peer} any more: {row.facets}: {row.why}" for row in gone]


@pytest.mark.parametrize("name", CASES)
def test_answers_are_those_of_other_servers(servers: Servers, name: str) -> None:
    answers = servers.answers(CASES[name])
    ours = answers.pop("hcrs")
    assert "SECRET" not in repr(ours), "whatever others do"
    wrong = [line for peer, theirs in answers.items() for line in compare(name, peer, theirs, ours)]
    COMPARED.add(name)
    assert not wrong, f"{name}: {CASES[name]}\n" + "\n".join(wrong)


def test_each_difference_shows_somewhere() -> None:
    if set(CASES) != COMPARED:
        pytest.skip("only some cases were compared")
    unneeded = [f"{row.cases}: {row.facets}: {row.why}" for row in DIFFERENCES if row not in NEEDED]
    assert not unneeded, unneeded
