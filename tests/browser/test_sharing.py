"""A link from the run page to somebody who is not known here: the page that it shows, live, until it is revoked."""

import asyncio
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import MakeSite, Tabs, Telling
from tests.browser.looking import ends, like_a_fresh_page, live, rows
from tests.browser.sites import Site

pytestmark = pytest.mark.browser
NOT_GOOD = "This link shows nothing"
WIDTH = "image => image.decode().then(() => image.naturalWidth)"


async def stranger(tabs: Tabs, site: Site, **options: object) -> Page:
    """A page of a browser that has never been here."""
    page = await tabs.open(site, "/sign-in/", **options)
    await page.context.clear_cookies()
    return page


@contextmanager
def other_site(page: dict[str, str]) -> Iterator[str]:
    """A site of somebody else, which shows `page["html"]`; its origin."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = page["html"].encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *about: object) -> None:
            """Nobody wants to know."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


async def made(page: Page, name: str) -> str:
    """Make a link on the page of links; the address of what it shows."""
    await page.get_by_label("What for").fill(name)
    await page.get_by_role("button", name="Make the").click()
    await expect(page.locator(".shares")).to_be_visible()
    return (await page.locator("#share-badge").inner_text()).removesuffix("badge.svg")


async def test_a_stranger_with_a_link_follows_the_run_until_it_is_revoked(telling: Telling, tabs: Tabs) -> None:
    site, story = telling.site, telling.story
    operator = await tabs.open(site, telling.path)
    await operator.get_by_role("link", name="Share…").click()
    link = await made(operator, "for the release")

    page = await stranger(tabs, site)
    await page.goto(link)
    await live(page)
    assert await rows(page) == {"fetch": "succeeded", "clean": "pending", "report": "pending"}
    assert await page.locator("a[href*='/runs/'], form[method=post]").count() == 0
    story.work("clean", {"rows": 12345})
    await expect(page.locator('#rows > li[data-name="clean"]')).to_have_attribute("data-state", "succeeded")
    await page.locator('#rows > li[data-name="clean"] .t-name').click()
    await expect(page.locator("#drawer")).to_contain_text("12345")
    await page.keyboard.press("Escape")
    await page.locator("#log summary").last.click()
    await expect(page.locator("#log > li").last).to_contain_text("12345")
    await page.locator("#log summary").last.click()
    await page.locator("#toolbar [data-view=graph]").click()
    await expect(page.locator("#graph a.node.s-succeeded")).to_have_count(2)
    await page.locator("#toolbar [data-view='']").click()
    await page.get_by_role("button", name="Time travel").click()
    await page.locator("#travel-place").fill("2")
    await expect(page.locator("#past")).to_contain_text("This is the past")
    await page.keyboard.press("t")
    await expect(page.locator("#past")).to_be_empty()
    assert "/s/" in page.url
    await live(page)

    await operator.goto(operator.url)  # to reload would be to send the form again
    await expect(operator.locator("table.tokens tbody tr")).to_contain_text("for the release")
    assert link.split("/s/")[1] not in await operator.content()
    tabs.expected.append("status of 404")
    await operator.get_by_role("button", name="Revoke").click()
    await expect(page.locator("h1")).to_have_text(NOT_GOOD)
    await expect(operator.locator("main")).to_contain_text("Nobody without a sign-in can see this run")
    answer = await page.goto(link)
    assert answer
    assert answer.status == 404


async def test_the_page_of_a_link_ends_as_a_fresh_one_shows_it(telling: Telling, tabs: Tabs) -> None:
    operator = await tabs.open(telling.site, telling.path + "links/")
    page = await stranger(tabs, telling.site, viewport={"width": 400, "height": 800})
    await page.goto(await made(operator, "to the end"))
    await live(page)
    telling.story.work("clean")
    telling.story.fail("report", "Broken")
    await ends(page, "failed")
    await expect(page.locator("#failure")).to_contain_text("it did not work")
    await like_a_fresh_page(tabs, telling.site, page)
    assert await page.evaluate("document.documentElement.scrollWidth") <= 400


async def test_a_page_of_a_site_that_is_named_shows_the_run_within_it_and_no_other_does(
    make_site: MakeSite, tabs: Tabs
) -> None:
    hosted = {"html": ""}
    with other_site(hosted) as wiki, other_site(hosted) as elsewhere:
        site = make_site(EMBED_ORIGINS=wiki, SANDBOX_SPEED=2)
        operator = await tabs.open(site, await asyncio.to_thread(site.launch, "Customer_Support_Pipeline") + "links/")
        link = await made(operator, "the wiki")
        hosted["html"] = (
            '<!doctype html><link rel="icon" href="data:,">'
            f'<iframe src="{link}embed/" title="run"></iframe><img src="{link}badge.svg" alt="state">'
        )
        page = await stranger(tabs, site)
        badge, frame = page.locator("img"), page.frame_locator("iframe")
        await page.goto(wiki)
        await expect(frame.locator("#card")).to_have_attribute("data-status", "succeeded")
        await expect(frame.locator("#card")).to_contain_text("Step 3 of 3")
        await expect(frame.locator("#browser-link")).to_have_text("Ended")
        assert await badge.evaluate(WIDTH) > 100

        tabs.expected.append("frame-ancestors")
        await page.goto(elsewhere)
        assert await badge.evaluate(WIDTH) > 100
        await expect(frame.locator("body")).not_to_contain_text("Customer_Support_Pipeline")

        await page.goto(wiki)
        await expect(frame.locator("#browser-link")).to_have_text("Ended")
        tabs.expected.append("status of 404")
        await operator.goto(operator.url)  # to reload would be to send the form again
        await operator.get_by_role("button", name="Revoke").click()
        await expect(frame.locator("h1")).to_have_text(NOT_GOOD)


async def test_a_flow_has_a_badge_of_its_latest_run(site: Site, tabs: Tabs) -> None:
    number = site.workflow("Customer_Support_Pipeline")["id"]
    operator = await tabs.open(site, f"/workflows/{number}/")
    await operator.get_by_role("link", name="Badge…").click()
    await expect(operator.locator("main")).to_contain_text("This flow has no badge yet")
    link = await made(operator, "readme")
    run = await tabs.open(site, await asyncio.to_thread(site.launch, "Customer_Support_Pipeline"))
    await ends(run, "succeeded")
    page = await stranger(tabs, site)
    tabs.expected.append("favicon.ico")  # a picture names none, so the browser asks for the usual one
    await page.goto(f"{link}badge.svg")
    title = await page.evaluate("document.documentElement.getAttribute('aria-label')")
    assert re.fullmatch(r"Customer_Support_Pipeline: Succeeded", title)
