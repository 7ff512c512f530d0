"""httpbin: what a request was, as a Flask app behind WSGI sees it."""

from __future__ import annotations

from site_table import Site
from visit import Visit

#: Over HTTP/2 there are none.
GUNICORN_ONLY = "httpbin refuses chunks behind any server whose SERVER_SOFTWARE does not begin with gunicorn"


def drive(visit: Visit) -> None:
    with visit.client() as client:
        with visit.step("what a GET was"):
            told = client.get("/get", params={"a": "1"}, headers={"x-one": "two"}).json()
            assert told["args"] == {"a": "1"} and told["headers"]["X-One"] == "two", told
            assert told["url"] == f"{visit.url}/get?a=1", told["url"]
        with visit.step("what a form was"):
            told = client.post("/post", data={"name": "Ann"}, files={"file": ("a.txt", b"text")}).json()
            assert told["form"] == {"name": "Ann"} and told["files"] == {"file": "text"}, told
        with visit.step("an upload of 2 MB"):
            assert len(client.put("/put", content=b"x" * 2_000_000).json()["data"]) == 2_000_000
        with visit.step("an upload of unknown length", differs="" if visit.is_tls else GUNICORN_ONLY):
            pieces = (b"piece %d;" % number for number in range(100))
            assert client.post("/post", content=pieces).json()["data"].endswith("piece 99;")
        with visit.step("each status"):
            assert [client.get(f"/status/{code}").status_code for code in (200, 204, 304, 404, 418, 500)] == [
                200, 204, 304, 404, 418, 500,
            ]  # fmt: skip
        with visit.step("redirects and cookies"):
            client.get("/cookies/set", params={"k": "v"}, follow_redirects=True)
            assert client.get("/cookies").json() == {"cookies": {"k": "v"}}
            assert client.get("/redirect/3", follow_redirects=True).url.path == "/get"
        with visit.step("compressed responses"):
            assert client.get("/gzip").json()["gzipped"] and client.get("/brotli").headers["content-encoding"] == "br"
        with visit.step("streamed responses"):
            assert len(client.get("/stream/20").text.splitlines()) == 20
            assert len(client.get("/stream-bytes/100000", params={"seed": 1, "chunk_size": 1000}).content) == 100_000
            assert client.get("/drip", params={"duration": 1, "numbytes": 5}).content == b"*" * 5
        with visit.step("a part by Range"):
            part = client.get("/range/1024", headers={"range": "bytes=10-19"})
            assert (part.status_code, part.text) == (206, "klmnopqrst"), part
        with visit.step("authentication"):
            assert client.get("/basic-auth/ann/secret").status_code == 401
            assert client.get("/basic-auth/ann/secret", auth=("ann", "secret")).json()["authenticated"]


SITE = Site("httpbin", ("httpbin", "flask", "werkzeug", "gunicorn"), "httpbin:app", "wsgi", drive, ready="/get")
