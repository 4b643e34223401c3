"""What goes away comes back by itself: a hidden tab, the page's socket, the whole site. Nothing is lost or doubled."""

import asyncio

import pytest
from playwright.async_api import Route, WebSocketRoute, expect

from tests.browser.conftest import MakeSite, Tabs
from tests.browser.looking import ends, like_a_fresh_page, live, rows
from tests.browser.sites import Site
from tests.browser.stories import FLOW, Story, definition
from tests.scripted import scripted_upstream

pytestmark = pytest.mark.browser

HIDE = """(hidden) => {
  Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
  const state = hidden ? "hidden" : "visible";
  Object.defineProperty(document, "visibilityState", { configurable: true, get: () => state });
  document.dispatchEvent(new Event("visibilitychange"));
}"""


async def test_a_tab_that_was_hidden_has_everything_when_it_is_shown_again(site: Site, tabs: Tabs) -> None:
    page = await tabs.open(site, site.launch("Customer_Support_Pipeline"))
    await live(page)
    await page.evaluate(HIDE, True)
    other = await tabs.open(site, page.url)
    await ends(other, "succeeded")
    await page.evaluate(HIDE, False)
    await ends(page, "succeeded")
    await like_a_fresh_page(tabs, site, page)


async def test_scripts_that_load_slowly_and_in_any_order_still_connect(site: Site, tabs: Tabs) -> None:
    path = site.launch("Customer_Support_Pipeline")
    for slow in ("hx-ws", "run-live", "run-drawer"):
        page = await tabs.open(site, "/workflows/")

        async def later(route: Route) -> None:
            await asyncio.sleep(0.7)
            await route.continue_()

        await page.route(f"**/{slow}*.js", later)
        await page.goto(path)
        await live(page)
        await ends(page, "succeeded")


async def test_a_socket_that_drops_is_opened_again_and_catches_up(site: Site, tabs: Tabs) -> None:
    page = await tabs.open(site, "/")
    sockets: list[WebSocketRoute] = []

    def through(route: WebSocketRoute) -> None:
        route.connect_to_server()
        sockets.append(route)

    await page.route_web_socket("**/live/runs/**", through)
    await page.goto(site.launch("Customer_Support_Pipeline"))
    await expect(page.locator('#rows > li[data-state="running"]').first).to_be_visible()
    await sockets[-1].close(code=1001)
    await expect(page.locator("#browser-link")).to_have_attribute("data-state", "reconnecting")
    await ends(page, "succeeded")
    assert len(sockets) == 2
    await like_a_fresh_page(tabs, site, page)


async def test_the_site_may_start_anew_in_the_middle_of_a_run(make_site: MakeSite, tabs: Tabs) -> None:
    async with scripted_upstream() as upstream:
        site = make_site(UPSTREAM_API_URL=upstream.api_url, UPSTREAM_SOCKET_URL=upstream.socket_url)
        story = Story(upstream, "long one")
        site.save_workflow("default", definition(), FLOW)
        path = await asyncio.to_thread(site.launch, FLOW, "long one")
        page = await tabs.open(site, path)
        story.begin()
        story.work("fetch")
        story.tell("task_started", "clean")
        await expect(page.locator('#rows > li[data-state="running"]')).to_have_count(1)
        tabs.expected += ["WebSocket connection", "ERR_CONNECTION_REFUSED", "htmx:ws:error"]
        await asyncio.to_thread(site.stop)
        await expect(page.locator("#browser-link")).to_have_attribute("data-state", "reconnecting")
        await asyncio.to_thread(site.start)
        await live(page)
        story.tell("task_completed", "clean", execution_time=1.0, output={})
        story.work("report")
        story.end()
        await ends(page, "succeeded")
        assert await rows(page) == {"fetch": "succeeded", "clean": "succeeded", "report": "succeeded"}
        assert len(upstream.launches) == 1
        # While nobody listened the upstream may have spoken, and the page says so.
        await expect(page.locator("#banners")).to_contain_text("1 gap")
        await like_a_fresh_page(tabs, site, page)


async def test_a_late_reader_sees_what_came_before(make_site: MakeSite, tabs: Tabs) -> None:
    async with scripted_upstream() as upstream:
        site = make_site(UPSTREAM_API_URL=upstream.api_url, UPSTREAM_SOCKET_URL=upstream.socket_url)
        story = Story(upstream, "before")
        site.save_workflow("default", definition(), FLOW)
        early = await tabs.open(site, await asyncio.to_thread(site.launch, FLOW, "before"))
        story.begin()
        story.work("fetch")
        await expect(early.locator("#log > li")).to_have_count(3)
        late = await tabs.open(site, early.url)
        assert await late.locator("#log > li").count() == 3
        assert await rows(late) == await rows(early) == {"fetch": "succeeded", "clean": "pending", "report": "pending"}
        story.work("clean")
        story.work("report")
        story.end()
        await ends(late, "succeeded")
        await like_a_fresh_page(tabs, site, late)


@pytest.mark.parametrize(("status", "words"), [(422, "tasks are missing"), (400, "no agent among the tasks")])
async def test_a_refused_launch_tells_why_on_its_page(make_site: MakeSite, tabs: Tabs, status: int, words: str) -> None:
    async with scripted_upstream() as upstream:
        site = make_site(UPSTREAM_API_URL=upstream.api_url, UPSTREAM_SOCKET_URL=upstream.socket_url)
        upstream.launch_answer = (status, {"message": words})
        site.save_workflow("default", definition(), FLOW)
        page = await tabs.open(site, await asyncio.to_thread(site.launch, FLOW))
        await ends(page, "rejected")
        await expect(page.locator("#banners")).to_contain_text(words)
        await expect(page.locator("#banners")).to_contain_text(str(status))
        await like_a_fresh_page(tabs, site, page)
