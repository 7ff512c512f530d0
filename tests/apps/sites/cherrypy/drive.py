"""CherryPy: a page, JSON, a form with a file, a stream, and a session that both workers know."""

from __future__ import annotations

from site_table import Site
from visit import Visit


def drive(visit: Visit) -> None:
    with visit.client() as client:
        with visit.step("a page"):
            assert client.get("/", params={"name": "Ann"}).text == "Hello, Ann"
        with visit.step("JSON"):
            answer = client.post("/add", json={"a": 2, "b": 3}).json()
            assert answer == {"sum": 5, "scheme": "https" if visit.is_tls else "http"}, answer
        with visit.step("a form with a file"):
            sent = client.post("/upload", files={"file": ("a.bin", bytes(300_000))})
            assert sent.json() == {"name": "a.bin", "size": 300_000}, sent.text
        with visit.step("a streamed response"):
            assert client.get("/rows").text.splitlines() == [str(number) for number in range(1000)]
        with visit.step("a session"):
            client.cookies.clear()
            assert [client.get("/count").text for _ in range(8)] == [str(number) for number in range(1, 9)]
        with visit.step("an error page"):
            assert client.get("/missing").status_code == 404


SITE = Site("CherryPy", ("CherryPy", "gunicorn"), "app:app", "wsgi", drive)
