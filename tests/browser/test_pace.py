"""Time left, percent and overrunning tasks: told by past runs, ticking between messages, still when a link is down."""

import asyncio
import json
import random
import re
import time

import pytest
from playwright.async_api import Page, expect

from runs.core.progress import left_words
from tests.browser.conftest import MakeSite, Tabs
from tests.browser.looking import ends, like_a_fresh_page
from tests.browser.sites import Site
from tests.browser.stories import FLOW, Story, definition
from tests.core.test_progress import WORDS
from tests.scripted import ScriptedUpstream, scripted_upstream
from tests.servers import wait_until

pytestmark = pytest.mark.browser
TASKS = ("fetch", "clean", "report")


class Timed(Story):
    """Tells events with times of its own: seconds from now."""

    def at(self, seconds: float, event_type: str, task: str = "") -> None:
        names = {"task_name": task, "task_id": f"id-{task}"} if task else {}
        event = {"event_type": event_type, "timestamp": time.time() + seconds, **names, "input": {}, "output": {}}
        self.say(json.dumps({**event, "flow_name": self.flow_name, "run_name": self.run_name}))


def past(site: Site, upstream: ScriptedUpstream, seconds: float, runs: int = 3) -> None:
    """So many runs have ended in which each task took so long."""
    for number in range(runs):
        story = Timed(upstream, f"past {number}")
        path = site.launch(FLOW, story.run_name)
        story.at(-1000, "flow_started")
        for place, task in enumerate(TASKS):
            story.at(-1000 + place * seconds, "task_started", task)
            story.at(-1000 + (place + 1) * seconds, "task_completed", task)
        story.at(-1000 + 3 * seconds, "flow_completed")
        wait_until(lambda path=path: site.run(path)["connection"] == "closed", "it has ended")  # type: ignore[misc]


async def watched(
    make_site: MakeSite, tabs: Tabs, upstream: ScriptedUpstream, seconds: float
) -> tuple[Page, Site, Timed]:
    """The page of a run that has just been launched, after three in which each task took so many seconds."""
    site = make_site(
        UPSTREAM_API_URL=upstream.api_url, UPSTREAM_SOCKET_URL=upstream.socket_url, LINGER_SECONDS=0.1
    )  # fmt: skip
    await asyncio.to_thread(site.save_workflow, "default", definition(), FLOW)
    await asyncio.to_thread(past, site, upstream, seconds)
    story = Timed(upstream, "now")
    return await tabs.open(site, await asyncio.to_thread(site.launch, FLOW, "now")), site, story


async def test_the_header_tells_the_time_left_and_goes_on_by_itself(make_site: MakeSite, tabs: Tabs) -> None:
    async with scripted_upstream() as upstream:
        page, site, story = await watched(make_site, tabs, upstream, 60)
        listed = await tabs.open(site, "/")
        story.at(0, "flow_started")
        story.at(0, "task_started", "fetch")
        steps = page.locator("#run-head .steps dd")
        await expect(steps).to_contain_text("Step 1 of 3 · ")
        await expect(steps).to_contain_text(re.compile(r"· about (3 m|2 m 50 s) left"))
        await expect(listed.locator("#runs-rows > tr").first).to_contain_text(
            re.compile(r"1 of 3.*about .* left", re.S)
        )
        # No event comes; the page's own clock alone moves this.
        place = await page.locator("#sync input[name=rev]").input_value()
        await expect(steps).to_contain_text("· 3 % ·")
        assert await page.locator("#sync input[name=rev]").input_value() == place

        await upstream.stop()
        await expect(page.locator("body")).to_have_attribute("data-still", "")
        await expect(page.locator("#run-head .pace")).to_have_attribute("data-frozen", "")
        before = await steps.inner_text()
        ticks = "() => new Promise((done) => setTimeout(done, 2500))"  # five of its ticks
        await page.evaluate(ticks)
        assert await steps.inner_text() == before, "nobody knows what goes on there"


async def test_each_task_that_ends_brings_the_share_and_the_time_left_forward(make_site: MakeSite, tabs: Tabs) -> None:
    async with scripted_upstream() as upstream:
        page, site, story = await watched(make_site, tabs, upstream, 200)
        story.at(0, "flow_started")
        story.at(0, "task_started", "fetch")
        await expect(page.locator("#run-head .left")).to_have_text("about 10 m left")
        story.at(1, "task_completed", "fetch")
        await expect(page.locator("#run-head .steps dd")).to_contain_text("Step 1 of 3 · 33 % · about 6 m 40 s left")
        story.at(2, "task_started", "clean")
        story.at(3, "task_completed", "clean")
        await expect(page.locator("#run-head .steps dd")).to_contain_text("Step 2 of 3 · 66 % · about 3 m 20 s left")
        story.at(4, "flow_completed")
        await ends(page, "succeeded")
        await expect(page.locator("#run-head .pace")).to_have_count(0)
        await like_a_fresh_page(tabs, site, page)


async def test_a_task_that_takes_longer_than_usual_is_marked_by_itself(make_site: MakeSite, tabs: Tabs) -> None:
    async with scripted_upstream() as upstream:
        page, _, story = await watched(make_site, tabs, upstream, 1)
        story.at(0, "flow_started")
        story.at(0, "task_started", "fetch")
        mark = page.locator("#rows > li").filter(has_text="fetch").locator(".t-pace")
        await expect(mark).to_be_visible()
        await expect(mark).to_have_text(re.compile("^overrunning"))
        await expect(page.locator("#run-head .left")).to_have_text("overrunning")
        story.at(0, "task_completed", "fetch")
        await expect(mark).to_have_count(0)
        story.at(-40, "task_started", "clean")
        hint = page.locator("#rows > li").filter(has_text="clean").locator(".t-pace.quiet")
        await expect(hint).to_have_text(re.compile(r"^no word for 4\d s; usually done in 1 s$"))
        said = await hint.inner_text()
        await expect(hint).not_to_have_text(said)


async def test_the_page_words_the_time_left_as_the_server_does(make_site: MakeSite, site: Site, tabs: Tabs) -> None:
    page = await tabs.open(site, "/")
    draw = random.Random(7)
    pairs = [(low, high) for low, high, _ in WORDS]
    for _ in range(2000):
        low = round(draw.choice([10, 100, 1_000, 10_000, 300_000]) * draw.random(), 1)
        pairs.append((low, round(low * (1 + draw.choice([0, 0.2, 1.5]) * draw.random()), 1)))
    said = await page.evaluate("pairs => pairs.map(([low, high]) => window.stepline.left(low, high))", pairs)
    assert [(pair, one) for pair, one in zip(pairs, said, strict=True) if left_words(*pair) != one] == []
