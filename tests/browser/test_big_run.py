"""A run of ten thousand tasks in a browser: few rows stand in the page, all can be reached, and it stays live."""

import asyncio
import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from tests.browser.conftest import MakeSite, Tabs
from tests.browser.looking import ends, like_a_fresh_page, live
from tests.browser.sites import Site
from tests.browser.stories import FLOW, Story
from tests.scripted import scripted_upstream

pytestmark = [pytest.mark.browser, pytest.mark.timeout(400)]

TASKS, DONE = 10_000, 9_000
MOST_ROWS = 500  # in the page, of tasks and events together
FAILED = 7_000
ROWS = "() => document.querySelectorAll('#rows > li, #log > li').length"


def name(number: int) -> str:
    return f"t{number:05d}"


class Big:
    """A site with a run of which 9,000 of 10,000 tasks are done, and one has failed; the rest is to be told."""

    def __init__(self, site: Site, story: Story, path: str) -> None:
        self.site, self.story, self.path = site, story, path

    def finish(self, first: int, last: int) -> None:
        for n in range(first, last):
            self.story.tell("task_completed", name(n), execution_time=0.5, output={})


@pytest_asyncio.fixture
async def big(make_site: MakeSite) -> AsyncIterator[Big]:
    async with scripted_upstream() as upstream:
        site = make_site(UPSTREAM_API_URL=upstream.api_url, UPSTREAM_SOCKET_URL=upstream.socket_url)
        story = Story(upstream, "big")
        story.begin()
        for n in range(TASKS):
            story.tell("task_started", name(n), input={"n": n})
        made = Big(site, story, "")
        made.finish(0, FAILED)
        story.tell("task_failed", name(FAILED), execution_time=0.5, error={"type": "Timeout", "message": "late"})
        made.finish(FAILED + 1, DONE)
        page = site.client.get("/attach/").text
        found = re.search(r'<option value="(\d+)"[^>]*>default<', page)
        assert found
        answer = site.post("/attach/", upstream=found[1], flow_name=FLOW, run_name="big")
        made.path = answer.headers["Location"]
        while site.run(made.path)["last_seq"] < TASKS + DONE:
            await asyncio.sleep(0.2)
        yield made


async def scroll(page: Page, line: int) -> None:
    await page.locator("#rows-box").evaluate("(box, top) => { box.scrollTop = top; }", line * 28)
    await expect(page.locator(f'#rows > [data-name="{name(line + 3)}"]')).to_be_in_viewport()


async def test_all_of_it_is_reached_while_few_rows_stand_in_the_page(big: Big, tabs: Tabs) -> None:
    page = await tabs.open(big.site, big.path)
    await live(page)
    for line in (5_000, 9_900, 40, 2_500):
        await scroll(page, line)
        assert await page.evaluate(ROWS) <= MOST_ROWS
    await page.wait_for_url("**row=2500*")
    await page.reload()
    await live(page)
    await expect(page.locator(f'#rows > [data-name="{name(2_503)}"]')).to_be_in_viewport()

    await page.keyboard.press("n")
    await expect(page.locator(f'#rows > [data-name="{name(FAILED)}"] .t-name')).to_be_focused()
    await expect(page.locator(f'#rows > [data-name="{name(FAILED)}"]')).to_be_in_viewport()
    await page.locator("#errors-only").click()
    await expect(page.locator("#rows > li")).to_have_count(1)
    await page.locator("#errors-only").click()
    await page.locator("#find-task").fill("t0912")
    await expect(page.locator("#rows > li")).to_have_count(10)

    big.finish(DONE, 9_125)
    await expect(page.locator('#rows > li[data-state="succeeded"]')).to_have_count(5)
    await expect(page.locator("#rows > li")).to_have_count(10)
    await page.reload()
    await expect(page.locator("#rows > li")).to_have_count(10)
    await expect(page.locator("#find-task")).to_have_value("t0912")


NOTHING_NEW = """(box, top) => {
  box.scrollTop = top;
  document.getElementById("live").dispatchEvent(new CustomEvent("htmx:ws:after:message:incoming"));
  return box.scrollTop;
}"""


async def test_a_message_in_the_same_frame_does_not_undo_the_readers_scrolling(big: Big, tabs: Tabs) -> None:
    page = await tabs.open(big.site, big.path)
    await live(page)
    await scroll(page, 5_000)
    for top in (5_100 * 28, 4_000 * 28):
        assert await page.locator("#rows-box").evaluate(NOTHING_NEW, top) == top
    await expect(page.locator(f'#rows > [data-name="{name(4_003)}"]')).to_be_in_viewport()


async def test_the_log_is_read_back_to_its_first_event_and_follows_again(big: Big, tabs: Tabs) -> None:
    page = await tabs.open(big.site, big.path)
    await live(page)
    for seq in (9_000, 1):
        await page.locator("#log-box").evaluate("(box, top) => { box.scrollTop = top; }", (seq - 1) * 26)
        await expect(page.locator(f"#e-{seq + 2}")).to_be_visible()
        assert await page.evaluate(ROWS) <= MOST_ROWS
    big.finish(DONE, DONE + 30)
    await expect(page.locator("#unread")).to_have_text("30 new")
    await page.locator("#unread").click()
    await expect(page.locator(f"#e-{TASKS + DONE + 31}")).to_be_visible()
    big.finish(DONE + 30, DONE + 40)
    await expect(page.locator(f"#e-{TASKS + DONE + 41}")).to_be_visible()
    assert await page.evaluate(ROWS) <= MOST_ROWS


async def test_rows_in_sight_go_on_and_a_reader_who_has_scrolled_up_is_not_moved(big: Big, tabs: Tabs) -> None:
    page = await tabs.open(big.site, big.path)
    await live(page)
    follow, unread = page.locator("#follow"), page.locator("#rows-unread")
    await expect(page.locator(f'#rows > [data-name="{name(TASKS - 1)}"]')).to_be_in_viewport()  # where something began
    await expect(follow).to_have_text("Live")
    await scroll(page, 9_100)
    await expect(follow).to_have_text("Paused")
    row = page.locator(f'#rows > [data-name="{name(9_105)}"]')
    await expect(row).to_have_attribute("data-state", "running")
    await row.locator(".t-name").focus()
    top = await page.locator("#rows-box").evaluate("box => box.scrollTop")

    big.finish(DONE, 9_500)
    await expect(row).to_have_attribute("data-state", "succeeded")
    for n in range(TASKS, TASKS + 7):
        big.story.tell("task_started", name(n), input={})
    await expect(unread).to_have_text("7 new")
    assert await page.locator("#rows-box").evaluate("box => box.scrollTop") == top
    await expect(row.locator(".t-name")).to_be_focused()
    await unread.click()
    await expect(page.locator(f'#rows > [data-name="{name(TASKS + 6)}"]')).to_be_in_viewport()
    await expect(unread).to_be_hidden()

    big.finish(9_500, TASKS + 7)
    big.story.end()
    await ends(page, "succeeded")
    assert await page.evaluate(ROWS) <= MOST_ROWS
    await page.keyboard.press("0")
    await scroll(page, 40)
    await page.wait_for_url("**row=40*")
    await like_a_fresh_page(tabs, big.site, page, but="#log > li")
