"""Wagtail: the site's page, and its administration from the login on, in the browser."""

from __future__ import annotations

from site_table import Site
from visit import Visit


def drive(visit: Visit) -> None:
    visit.page_step("the site's page", shows="Welcome to your new Wagtail site!")
    with visit.page("/admin/") as page:
        with visit.step("logs in") as step:
            page.type("input[name=username]", "ann")
            page.type("input[name=password]", "open sesame")
            page.click("form button[type=submit]")
            page.until("location.pathname === '/admin/' && document.querySelector('.w-summary, [data-side-panel], main')")
            step.note = page.assert_sound()
        with visit.step("makes and publishes a page") as step:
            page.load(f"{visit.url}/admin/pages/add/home/homepage/3/")
            page.type("#id_title", "Another page")
            page.evaluate("document.querySelector('#id_slug').value = 'another-page'")
            page.click("button[name=action-publish]")
            page.until("location.pathname.startsWith('/admin/pages/3')")
            page.until_text("Another page")
            step.note = page.assert_sound()
    with visit.step("shows the new page"), visit.client() as client:
        shown = client.get("/another-page/")
        assert shown.status_code == 200 and "Another page" in shown.text, shown


SITE = Site(
    "Wagtail",
    ("wagtail", "django", "gunicorn"),
    "app:app",
    "wsgi",
    drive,
    page_may_report={"favicon.ico": "the site has none"},
)
