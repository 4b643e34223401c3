"""The timeline's zoom and folds, the graph, and the run's input and output, under the hands of a reader."""

import asyncio
import re

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import MakeSite, Tabs
from tests.browser.looking import ends, like_a_fresh_page, live
from tests.browser.sites import Site
from tests.browser.stories import FLOW, Story, definition
from tests.factories import make_definition
from tests.scripted import scripted_upstream

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

NARROW, WIDE = {"width": 400, "height": 800}, {"width": 1440, "height": 900}
OVERFLOW = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"


async def part(page: Page) -> tuple[float, float]:
    """From which second to which the bars show."""
    box = await page.locator("#rows .bar").first.get_attribute("viewBox")
    first, _, width, _ = map(float, (box or "").split())
    return first, first + width


DRAWN_ANEW = """() => {
  const old = document.getElementById("timeline");
  const fresh = old.cloneNode(true);
  fresh.querySelector("#axis").replaceChildren();
  fresh.querySelector("#lines").removeAttribute("style");
  old.replaceWith(fresh);
}"""
LINES = """() => {
  const lines = document.getElementById("lines");
  const place = lines.getBoundingClientRect();
  const axis = document.getElementById("axis").getBoundingClientRect();
  return [Math.round(place.left - axis.left), Math.round(place.width - axis.width), lines.style.backgroundSize];
}"""


async def test_axis_and_grid_are_there_again_when_the_timeline_is_drawn_anew(site: Site, tabs: Tabs) -> None:
    page = await tabs.open(site, site.launch("Customer_Support_Pipeline"))
    await ends(page, "succeeded")
    await expect(page.locator("#axis text").first).to_be_visible()
    before = await page.evaluate(LINES)
    assert before[:2] == [0, 0]
    await page.evaluate(DRAWN_ANEW)
    await expect(page.locator("#axis text").first).to_be_visible()
    assert await page.evaluate(LINES) == before
    await page.set_viewport_size({"width": 700, "height": 800})
    await page.wait_for_timeout(500)
    after = await page.evaluate(LINES)
    assert after[:2] == [0, 0]
    assert after[2] != before[2]


async def test_zoom_stands_in_the_address_and_comes_back_with_it(site: Site, tabs: Tabs) -> None:
    page = await tabs.open(site, site.launch("Customer_Support_Pipeline"))
    await ends(page, "succeeded")
    whole = await part(page)
    axis = page.locator("#axis")
    box = await axis.bounding_box()
    assert box is not None
    await page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + 10)
    await page.mouse.down()
    await page.mouse.move(box["x"] + box["width"] * 0.75, box["y"] + 10, steps=4)
    await page.mouse.up()
    zoomed = await part(page)
    assert zoomed[0] == pytest.approx(whole[1] * 0.25, rel=0.05)
    assert zoomed[1] == pytest.approx(whole[1] * 0.75, rel=0.05)
    assert "from=" in page.url
    await page.reload()
    await live(page)
    assert await part(page) == pytest.approx(zoomed, abs=0.01)
    await page.keyboard.press("+")
    closer = await part(page)
    assert closer[1] - closer[0] == pytest.approx((zoomed[1] - zoomed[0]) / 2, rel=0.01)
    await page.keyboard.press("0")
    assert await part(page) == pytest.approx(whole, abs=0.01)
    assert "from=" not in page.url


async def test_a_fold_stays_open_while_its_tasks_go_on_and_after_a_reload(make_site: MakeSite, tabs: Tabs) -> None:
    async with scripted_upstream() as upstream:
        site = make_site(UPSTREAM_API_URL=upstream.api_url, UPSTREAM_SOCKET_URL=upstream.socket_url)
        story = Story(upstream, "folds")
        site.save_workflow("default", definition(), FLOW)
        page = await tabs.open(site, await asyncio.to_thread(site.launch, FLOW, "folds"))
        story.begin()
        for n in range(8):
            story.tell("task_started", "part", task_id=f"part-{n}")
        fold = page.locator("#rows > .fold")
        await expect(fold).to_contain_text("x8")
        await expect(page.locator("#rows > .child")).to_have_count(0)
        await fold.locator("button").focus()
        await page.keyboard.press("Enter")
        await expect(page.locator("#rows > .child")).to_have_count(8)
        story.tell("task_failed", "part", task_id="part-5", error={"type": "Timeout", "message": "late"})
        await expect(page.locator("#rows > .child").first).to_have_attribute("data-state", "failed")
        await expect(fold.locator("button")).to_be_focused()
        await expect(fold.locator("button")).to_have_attribute("aria-expanded", "true")
        await page.reload()
        await expect(page.locator("#rows > .child")).to_have_count(8)
        await page.locator("#fold").click()
        await expect(fold).to_have_count(0)
        assert "fold=0" in page.url
        for n in (0, 1, 2, 3, 4, 6, 7):
            story.tell("task_completed", "part", task_id=f"part-{n}", execution_time=1.0, output={})
        story.end()
        await ends(page, "succeeded")
        await like_a_fresh_page(tabs, site, page)


async def test_the_graph_goes_on_live_and_its_nodes_open_the_drawer_from_the_keyboard(
    make_site: MakeSite, tabs: Tabs
) -> None:
    async with scripted_upstream() as upstream:
        site = make_site(UPSTREAM_API_URL=upstream.api_url, UPSTREAM_SOCKET_URL=upstream.socket_url)
        story = Story(upstream, "drawn")
        site.save_workflow("default", definition(), FLOW)
        page = await tabs.open(site, await asyncio.to_thread(site.launch, FLOW, "drawn"))
        await page.get_by_role("link", name="Graph").click()
        await expect(page.locator("#graph a.node")).to_have_count(3)
        await expect(page.locator("#timeline")).to_be_hidden()
        fetch = page.locator('#graph [data-key="fetch"]')
        await fetch.focus()
        story.begin()
        story.tell("task_started", "fetch", input={"config": {}})
        await expect(fetch).to_have_attribute("data-state", "running")
        await expect(fetch).to_be_focused()
        await page.keyboard.press("Enter")
        await expect(page.locator("#drawer h2")).to_have_text("fetch")
        assert "task=fetch" in page.url
        await page.reload()
        await live(page)
        story.tell("task_completed", "fetch", execution_time=1.0, output={"rows": 212})
        await expect(fetch).to_have_attribute("data-state", "succeeded")
        await expect(page.locator("#drawer .pill")).to_have_text("succeeded")
        story.end()
        await ends(page, "succeeded")
        await expect(page.locator("#io-output-there")).to_contain_text("done")
        await page.get_by_role("link", name="Timeline").click()
        await expect(page.locator("#timeline")).to_be_visible()
        assert "view=" not in page.url


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [NARROW, WIDE], ids=["narrow", "wide"])
async def test_nothing_runs_out_of_the_page(site: Site, tabs: Tabs, scheme: str, size: dict[str, int]) -> None:
    path = site.launch("Refund_Triage")
    workflows = site.client.get("/workflows/").text
    found = re.search(r'href="(/workflows/\d+/)"[^>]*>\s*Refund_Triage', workflows)
    assert found
    for address in (path, f"{path}?view=graph", found[1]):
        page = await tabs.open(site, address, viewport=size, color_scheme=scheme)
        await page.locator("#rows > li, .graph .node").first.wait_for(state="attached")
        assert await page.evaluate(OVERFLOW) <= 0
        await page.close()


async def test_a_large_graph_is_drawn_whole(site: Site, tabs: Tabs) -> None:
    names = [f"step_{n}" for n in range(120)]
    made = make_definition(*names, flow_name="Long")
    made["tasks"][0]["function"] = "call_lyzr_agent"
    site.save_workflow("sandbox", made, "Long")
    found = re.search(r'href="(/workflows/\d+/)"[^>]*>\s*Long', site.client.get("/workflows/").text)
    assert found
    page = await tabs.open(site, found[1])
    await expect(page.locator(".graph .node")).to_have_count(120)
    assert await page.evaluate(OVERFLOW) <= 0
