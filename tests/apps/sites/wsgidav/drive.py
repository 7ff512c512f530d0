"""WsgiDAV: a file and a folder, from PUT to DELETE."""

from __future__ import annotations

import re

from site_table import Site
from visit import Visit

DATA = bytes(range(256)) * 4_000
LOCK = """<?xml version="1.0"?><d:lockinfo xmlns:d="DAV:"><d:lockscope><d:exclusive/></d:lockscope>
<d:locktype><d:write/></d:locktype><d:owner>Ann</d:owner></d:lockinfo>"""


def drive(visit: Visit) -> None:
    with visit.client() as client:
        with visit.step("OPTIONS"):
            assert "1" in client.options("/").headers["dav"]
        with visit.step("MKCOL and PUT"):
            assert client.request("MKCOL", "/notes").status_code == 201
            assert client.put("/notes/a.bin", content=DATA).status_code == 201
        with visit.step("PUT of unknown length"):
            pieces = (DATA[at : at + 10_000] for at in range(0, len(DATA), 10_000))
            assert client.put("/notes/b.bin", content=pieces).status_code == 201
            assert client.get("/notes/b.bin").content == DATA
        with visit.step("PROPFIND"):
            found = client.request("PROPFIND", "/notes", headers={"depth": "1"})
            assert found.status_code == 207, found
            assert sorted(re.findall(r"href>(/notes/\w\.bin)<", found.text)) == ["/notes/a.bin", "/notes/b.bin"], found.text
            assert f"{len(DATA)}</" in found.text
        with visit.step("GET, HEAD and a part"):
            assert client.get("/notes/a.bin").content == DATA
            assert client.head("/notes/a.bin").headers["content-length"] == str(len(DATA))
            assert client.get("/notes/a.bin", headers={"range": "bytes=250-259"}).content == DATA[250:260]
        with visit.step("COPY and MOVE"):
            to = {"destination": f"{visit.url}/notes/c.bin"}
            assert client.request("COPY", "/notes/a.bin", headers=to).status_code == 201
            to = {"destination": f"{visit.url}/notes/d.bin"}
            assert client.request("MOVE", "/notes/c.bin", headers=to).status_code == 201
            assert client.get("/notes/d.bin").content == DATA and client.get("/notes/c.bin").status_code == 404
        with visit.step("LOCK"):
            locked = client.request("LOCK", "/notes/a.bin", content=LOCK, headers={"timeout": "Second-60"})
            assert locked.status_code == 200 and "opaquelocktoken" in locked.headers["lock-token"], locked.text
            unlocked = client.request("UNLOCK", "/notes/a.bin", headers={"lock-token": locked.headers["lock-token"]})
            assert unlocked.status_code in (204, 409), unlocked  # 409 by a worker that has not given the lock
        with visit.step("DELETE"):
            assert client.delete("/notes/b.bin").status_code == 204
            assert client.get("/notes/b.bin").status_code == 404
    visit.page_step("page of a folder", "/notes/", shows="d.bin")


SITE = Site("WsgiDAV", ("WsgiDAV", "gunicorn"), "app:app", "wsgi", drive)
