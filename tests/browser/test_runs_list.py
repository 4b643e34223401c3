"""The list and what leads on from it: filters in the address, new runs behind a button, views, a flow's chart."""

import gzip
import re
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Locator, Page, expect

from tests.browser.conftest import Tabs
from tests.browser.sites import Site

pytestmark = pytest.mark.browser

FLOW = "Customer_Support_Pipeline"
WEIGHT = 80 * 1024  # bytes of scripts and styles, compressed, of a page with a chart


def row(page: Page, name: str) -> Locator:
    return page.locator("#runs-rows > tr").filter(has_text=name)


async def all_have_ended(site: Site, tabs: Tabs, *names: str) -> None:
    page = await tabs.open(site, "/")
    for name in names:
        await expect(row(page, name).locator(".pill")).to_have_text("Succeeded", timeout=40_000)
    await page.close()


async def test_filters_survive_the_way_to_a_run_and_on_to_the_next(site: Site, tabs: Tabs) -> None:
    paths = [site.launch(FLOW, f"survives {name}") for name in ("one", "two")]
    between = site.launch(FLOW, "something else")
    page = await tabs.open(site, "/")
    await page.get_by_placeholder("Search names").fill("surv one")
    await expect(page.locator("#runs-rows > tr")).to_have_count(1)
    assert urlsplit(page.url).query == "q=surv+one"
    await page.get_by_placeholder("Search names").fill("survives")
    await expect(page.locator("#runs-rows > tr")).to_have_count(2)
    await row(page, "survives two").get_by_role("link", name="survives two").click()
    await page.wait_for_url(f"**{paths[1]}")
    await page.keyboard.press("[")
    await page.wait_for_url(f"**{paths[0]}")
    await page.keyboard.press("]")
    await page.wait_for_url(f"**{paths[1]}")
    await page.keyboard.press("]")  # `between` is not in this list
    await expect(page.get_by_text("There is no newer run in the list with these filters.")).to_be_visible()
    assert urlsplit(page.url).path == paths[1] != between
    await page.locator("#back").click()
    await expect(page.locator("#runs-rows > tr")).to_have_count(2)
    await expect(page.get_by_placeholder("Search names")).to_have_value("survives")


async def test_only_new_runs_that_fit_the_filters_are_offered(site: Site, tabs: Tabs) -> None:
    site.launch(FLOW, "wanted first")
    page = await tabs.open(site, "/?q=wanted")
    await expect(page.locator("#runs-rows > tr")).to_have_count(1)
    site.launch(FLOW, "of no interest")
    site.launch(FLOW, "wanted, too")
    button = page.locator("#new-runs")
    await expect(button).to_have_text("1 new run")
    await expect(page.locator("#runs-rows > tr")).to_have_count(1)
    await button.click()
    await expect(page.locator("#runs-rows > tr")).to_have_count(2)
    await expect(button).to_be_hidden()
    await expect(row(page, "wanted first").locator(".pill")).to_have_text("Succeeded", timeout=40_000)


async def test_filters_that_hide_all_say_so_and_can_be_cleared(site: Site, tabs: Tabs) -> None:
    site.launch(FLOW, "is there")
    page = await tabs.open(site, "/?q=is+there&state=lost")
    await expect(page.get_by_role("heading", name="No run fits these filters")).to_be_visible()
    await page.locator(".empty").get_by_role("link", name="Clear filters").click()
    await expect(row(page, "is there")).to_be_visible()
    assert urlsplit(page.url).query == ""


async def test_a_view_is_kept_used_and_removed(site: Site, tabs: Tabs) -> None:
    page = await tabs.open(site, "/")
    menu = page.locator("#views")
    await menu.locator("summary").click()
    await expect(menu.get_by_role("button", name="Keep")).to_be_hidden()
    await page.locator("label.pick").filter(has_text="Failed").click()
    await page.wait_for_url("**/?state=failed")
    await menu.locator("summary").click()
    await menu.get_by_placeholder("Name for these filters").fill("What failed")
    await menu.get_by_role("button", name="Keep").click()
    await expect(page.get_by_text("The view “What failed” is kept.")).to_be_visible()
    await page.goto("/")
    await menu.locator("summary").click()
    await menu.get_by_role("link", name="What failed").click()
    await page.wait_for_url("**/?state=failed")
    await menu.locator("summary").click()
    await menu.get_by_role("button", name="Remove the view What failed").click()
    await expect(page.get_by_text("The view “What failed” is removed.")).to_be_visible()
    assert urlsplit(page.url).query == "state=failed"


@pytest.mark.parametrize("options", [{}, {"color_scheme": "dark"}, {"viewport": {"width": 400, "height": 800}}])
async def test_a_flows_runs_are_drawn_above_its_list(site: Site, tabs: Tabs, options: dict[str, object]) -> None:
    names = [f"drawn {number} {len(options)}{sorted(options)}" for number in range(2)]
    for name in names:
        site.launch(FLOW, name)
    await all_have_ended(site, tabs, *names)
    loaded: dict[str, int] = {}
    page = await tabs.open(site, "/", **options)
    assert not await page.evaluate("() => !!window.uPlot"), "it comes only where it is needed"
    await page.goto(f"/?flow={FLOW}")
    head = page.get_by_role("region", name=re.compile(f"^{FLOW}"))
    await expect(head.get_by_text("Duration p50")).to_be_visible()
    await expect(head.locator("canvas")).to_have_count(1)
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    drawn = await page.evaluate(
        "() => { const c = document.querySelector('#flow-chart canvas');"
        "return new Set(c.getContext('2d').getImageData(0, 0, c.width, c.height).data).size }"
    )
    assert drawn > 10, "the chart is empty"
    for address in await page.evaluate(
        "() => [...document.querySelectorAll('script[src], link[rel=stylesheet]')].map((e) => e.src || e.href)"
    ):
        loaded[address] = len(gzip.compress(site.client.get(urlsplit(address).path).content, 9))
    assert any("uplot" in address for address in loaded)
    assert sum(loaded.values()) <= WEIGHT, loaded


async def test_a_chart_that_goes_with_the_filter_comes_back_with_it(site: Site, tabs: Tabs) -> None:
    names = [f"comes back {number}" for number in range(2)]
    for name in names:
        site.launch(FLOW, name)
    await all_have_ended(site, tabs, *names)
    page = await tabs.open(site, "/")
    field = page.get_by_placeholder("Any flow")
    for _ in range(2):
        await field.fill(FLOW)
        await field.press("Enter")
        await expect(page.locator("#flow-chart canvas")).to_have_count(1)
        await page.get_by_role("link", name="Clear filters").first.click()
        await expect(page.locator("#flow-chart")).to_have_count(0)
