"""Datasette: its pages, and SQL by its JSON API."""

from __future__ import annotations

from site_table import Site
from visit import Visit

HIGHEST = "select name, height from places where height > :above order by height desc limit 3"


def drive(visit: Visit) -> None:
    with visit.client() as client:
        with visit.step("SQL by JSON"):
            answer = client.get("/places.json", params={"sql": HIGHEST, "above": 10, "_shape": "array"})
            assert [row["height"] for row in answer.json()] == [4990, 4980, 4970], answer.text
        with visit.step("CSV of a table, streamed"):
            answer = client.get("/places/places.csv", params={"_stream": "on"})
            assert len(answer.text.splitlines()) == 501, answer.text[:200]
        with visit.step("a wrong query is told"):
            assert client.get("/places.json", params={"sql": "select nothing from nowhere"}).status_code == 400
    visit.page_step("page of a table", "/places/places", shows="500 rows")


SITE = Site("Datasette", ("datasette", "uvicorn"), "app:app", "asgi", drive, ready="/-/versions.json")
