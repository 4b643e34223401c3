"""What befalls a run is said on its page and in the list as it happens, and on the administrators' pages."""

import asyncio

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import MakeSite, Tabs
from tests.browser.looking import ends, like_a_fresh_page, live
from tests.browser.sites import Site
from tests.browser.stories import FLOW, Story, definition
from tests.scripted import ScriptedUpstream, scripted_upstream

pytestmark = pytest.mark.browser


async def launched(site: Site, tabs: Tabs, story: Story, **watching: str) -> Page:
    """The page of a run of this story, whose first task runs."""
    await asyncio.to_thread(site.save_workflow, "default", definition(), FLOW, **watching)
    page = await tabs.open(site, await asyncio.to_thread(site.launch, FLOW, story.run_name))
    story.begin()
    story.tell("task_started", "fetch", input={"config": {}})
    await expect(page.locator('#rows > li[data-state="running"]')).to_have_count(1)
    return page


def upstream_site(make_site: MakeSite, upstream: ScriptedUpstream, **environment: object) -> Site:
    return make_site(UPSTREAM_API_URL=upstream.api_url, UPSTREAM_SOCKET_URL=upstream.socket_url, **environment)


async def ticks(page: Page, selector: str) -> None:
    """The time that stands there goes on by itself."""
    before = await page.locator(selector).inner_text()
    await expect(page.locator(selector)).not_to_have_text(before)


async def test_overdue_disconnected_and_silent_come_and_go_as_they_happen(make_site: MakeSite, tabs: Tabs) -> None:
    async with scripted_upstream() as upstream:
        site = upstream_site(make_site, upstream, SILENT_AFTER_SECONDS=1)
        story = Story(upstream, "troubled")
        page = await launched(site, tabs, story, deadline_seconds="6 s")
        listed = await tabs.open(site, "/")
        banners, marks = page.locator("#banners"), listed.locator("#runs-rows > tr").filter(has_text="troubled")
        await expect(marks.locator(".pill")).to_have_text("Running")

        await expect(banners).to_contain_text("Overdue since")
        await expect(marks.locator(".flag")).to_contain_text(["Overdue"])
        await ticks(page, "#banners .for")

        ports = [int(url.rsplit(":", 1)[1]) for url in (upstream.socket_url, upstream.api_url)]
        await upstream.stop()
        await expect(banners).to_contain_text("Disconnected since")
        await expect(banners).to_contain_text("tries again by itself")
        await expect(marks.locator(".flag").first).to_contain_text("Disconnected")

        await upstream.start(*ports)
        await expect(banners).not_to_contain_text("Disconnected", timeout=60_000)
        await expect(banners).to_contain_text("1 gap")
        await expect(banners).to_contain_text("Silent since", timeout=75_000)  # at the earliest after 30 s
        await expect(marks).to_contain_text("Silent")

        story.tell("task_completed", "fetch", execution_time=1.0, output={})
        await expect(banners).not_to_contain_text("Silent")
        story.end()
        await ends(page, "succeeded")
        await expect(banners).to_contain_text("after")
        await expect(marks.locator(".pill")).to_have_text("Succeeded")
        await like_a_fresh_page(tabs, site, page)


async def test_a_failed_run_leads_to_its_retry_which_counts_down(make_site: MakeSite, tabs: Tabs) -> None:
    async with scripted_upstream() as upstream:
        site = upstream_site(make_site, upstream)
        story = Story(upstream, "unlucky")
        watching = {"retry_limit": "2", "retry_pause": "10 m", "retry_on": "TimeoutError"}
        page = await launched(site, tabs, story, **watching)
        listed = await tabs.open(site, "/")
        story.fail("clean", "TimeoutError")
        await ends(page, "failed")
        await expect(page.locator("#banners")).to_contain_text("(1 of 2), which starts in 9 m")
        await ticks(page, "#banners [data-until]")
        await listed.get_by_role("button", name="1 new run").click()
        await expect(listed.locator("#runs-rows > tr").first).to_contain_text("starts in 9 m")

        await page.get_by_role("link", name="run 2").click()
        await live(page)
        await expect(page.locator("#banners")).to_contain_text("Retry 1 of 2 of run 1, which failed. It waits")
        await page.get_by_role("button", name="Stop watching").click()
        await ends(page, "stopped")
        await expect(page.locator("#banners")).to_contain_text("Nothing was launched")
        await expect(page.locator("#banners [data-until]")).to_have_count(0)
        assert len(upstream.launches) == 1


async def test_the_page_of_streams_keeps_itself_up_to_date(make_site: MakeSite, tabs: Tabs) -> None:
    async with scripted_upstream() as upstream:
        site = upstream_site(make_site, upstream)
        page = await tabs.open(site, "/streams/")
        await expect(page.locator("#streams")).to_contain_text("No run is to be followed")
        await expect(page.locator(".workers .good")).to_have_text("At work")
        story = Story(upstream, "followed")
        await launched(site, tabs, story)
        row = page.locator(".streams tbody tr").filter(has_text="followed")
        await expect(row.locator(".c-connection")).to_contain_text("Live")
        await expect(row.locator(".c-lease")).to_contain_text("until")
        await expect(page.locator(".workers .c-follows")).to_contain_text("1")
        await ticks(page, ".streams .c-frame [data-since]")
        await page.get_by_role("link", name="Followed 1").click()
        await expect(row).to_be_visible()
        story.end()
        await expect(page.locator("#streams")).to_contain_text("None of this kind")
        assert page.url.endswith("?show=followed")


async def test_the_quarantine_of_all_runs_opens_a_preview_when_it_is_asked_for(make_site: MakeSite, tabs: Tabs) -> None:
    async with scripted_upstream() as upstream:
        site = upstream_site(make_site, upstream)
        story = Story(upstream, "garbled")
        run = await launched(site, tabs, story)
        story.say('{"event_type": <img src=x onerror=alert(1)>')
        story.say('{"timestamp": 1}')
        await expect(run.locator("#banners")).to_contain_text("2 frames could be no event")
        page = await tabs.open(site, "/quarantine/")
        frames = page.locator(".frames > li")
        await expect(frames).to_have_count(2)
        frame = frames.filter(has_text="invalid-json")
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        await frame.locator("summary").click()
        await expect(frame.locator(".preview")).to_have_text('{"event_type": <img src=x onerror=alert(1)>')
        await frame.locator("summary").click()
        await frame.locator("summary").click()
        await expect(frame.locator(".preview")).to_be_visible()
        assert len(asked) == 1, "read once"
        await page.get_by_label("Reason").select_option("no-event-type")
        await page.get_by_role("button", name="Apply").click()
        await expect(frames).to_have_count(1)
        await frames.get_by_role("link", name="All that was rejected of this run").click()
        await expect(page.locator(".frames > li")).to_have_count(2)
