"""sqladmin: a row is made, listed, changed, exported and deleted, in the browser where one would."""

from __future__ import annotations

from site_table import Site
from visit import Visit


def drive(visit: Visit) -> None:
    with visit.client() as client:
        with visit.step("creates by a form"):
            assert client.post("/admin/person/create", data={"name": "Ann"}).status_code == 302
        with visit.step("lists"):
            assert "Ann" in client.get("/admin/person/list").text
        with visit.step("changes"):
            assert client.post("/admin/person/edit/1", data={"name": "Berta"}).status_code == 302
            assert "Berta" in client.get("/admin/person/details/1").text
        with visit.step("exports, streamed"):
            assert "1,Berta" in client.get("/admin/person/export/csv").text
        with visit.step("creates in the browser") as step, visit.page("/admin/person/create") as page:
            page.type("input[name=name]", "Carl")
            page.click("input[name=save], button[name=save]")
            page.until_text("Carl")
            step.note = page.assert_sound()
        with visit.step("deletes"):
            assert client.delete("/admin/person/delete", params={"pks": "1"}).status_code == 200
            assert "Berta" not in client.get("/admin/person/list").text


SITE = Site(
    "sqladmin",
    ("sqladmin", "sqlalchemy", "starlette", "uvicorn"),
    "app:app",
    "asgi",
    drive,
    ready="/admin/",
    page_may_report={"favicon.ico": "the app has none"},
)
