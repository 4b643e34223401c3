"""A reader goes back to any event of a run, plays it, and comes back to what is now."""

import asyncio

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import Tabs, Telling
from tests.browser.looking import ends, like_a_fresh_page, live, rows
from tests.browser.sites import Site
from tests.browser.stories import FLOW

pytestmark = pytest.mark.browser


@pytest.fixture
def telling(telling: Telling) -> Telling:
    """And `clean` is running: four events."""
    telling.story.tell("task_started", "clean", input={"config": {}})
    return telling


async def at(page: Page, seq: int) -> None:
    """The page stands right after this event."""
    await expect(page.locator("#sync [name=shows]")).to_have_value(str(seq))
    await expect(page.locator("#travel-place")).to_have_value(str(seq))
    await page.wait_for_url(f"**at={seq}*")


async def told(page: Page, last: int) -> None:
    """The page is as it is now, and has this many events."""
    await expect(page.locator("#sync [name=shows]")).to_have_value("")
    await expect(page.locator("#sync [name=since]")).to_have_value(str(last))


async def test_a_run_is_seen_as_it_stood_after_each_event(telling: Telling, tabs: Tabs) -> None:
    page = await tabs.open(telling.site, telling.path)
    await live(page)
    await told(page, 4)
    await expect(page.locator("#travel")).to_be_hidden()
    await page.locator("#travel-open").click()
    await page.locator("#travel-back").click()
    await at(page, 3)
    assert await rows(page) == {"fetch": "succeeded", "clean": "pending", "report": "pending"}
    await expect(page.locator("#past")).to_contain_text("This is the past: the run as it stood after event 3 of 4")
    await expect(page.locator("#past")).to_contain_text("now it is running")
    await expect(page.locator("#log > li")).to_have_count(3)
    await expect(page.locator("#travel-where")).to_contain_text("completed fetch")
    await expect(page.locator("#follow")).to_be_hidden()
    await expect(page.locator("#stop-watching")).to_be_hidden()
    await page.locator("#travel-back").click()
    await at(page, 2)
    await expect(page.locator('#rows > [data-name="fetch"]')).to_have_attribute("data-state", "running")
    assert await page.title() == f"After event 2: Running · {FLOW} / told · Stepline"
    await page.locator("#travel-place").fill("0")
    await at(page, 0)
    assert set((await rows(page)).values()) == {"pending"}
    await expect(page.locator("#travel-back")).to_be_disabled()
    await expect(page.locator("#no-events")).to_be_visible()
    await page.locator("#past [data-travel]").click()
    await told(page, 4)
    assert "at=" not in page.url
    assert (await rows(page))["clean"] == "running"
    telling.story.tell("task_completed", "clean", execution_time=1.0, output={"ok": True})
    telling.story.work("report")
    telling.story.end()
    await ends(page, "succeeded")
    await like_a_fresh_page(tabs, telling.site, page)


async def test_what_comes_meanwhile_moves_nothing_and_is_there_afterwards(telling: Telling, tabs: Tabs) -> None:
    page, other = await tabs.open(telling.site, telling.path + "?at=2"), await tabs.open(telling.site, telling.path)
    await live(page)
    await at(page, 2)
    before = await page.locator("#rows").inner_html()
    error = {"type": "E", "message": "it did not work", "code": "E1"}
    telling.story.tell("task_failed", "clean", execution_time=1.0, error=error)
    telling.story.tell("flow_error", execution_time=2.0, error=error)
    await ends(other, "failed")
    await expect(page.locator("#past")).to_contain_text("event 2 of 6")
    await expect(page.locator("#past")).to_contain_text("now it is failed")
    await expect(page.locator("#travel-place")).to_have_attribute("max", "6")
    await expect(page.locator("#failure .failure")).to_have_count(0)
    assert await page.locator("#rows").inner_html() == before
    await page.locator("#travel-place").fill("5")
    await at(page, 5)
    await expect(page.locator("#failure .failure")).to_have_count(0)
    await expect(page.locator('#state-chips [data-state="failed"]')).to_contain_text("1")
    await page.locator("#travel-on").click()
    await at(page, 6)
    await expect(page.locator("#failure")).to_contain_text("clean failed")
    await expect(page.locator("#travel-on")).to_be_disabled()
    await page.keyboard.press("t")
    await told(page, 6)
    await expect(page.locator("#travel")).to_be_hidden()
    await like_a_fresh_page(tabs, telling.site, page)


async def test_filters_graph_and_drawer_are_of_that_past(site: Site, tabs: Tabs) -> None:
    page = await tabs.open(site, site.launch("Customer_Support_Pipeline"))
    await ends(page, "succeeded")
    await live(page)
    await page.locator("#rows .t-name", has_text="sentiment_analyzer").click()
    await expect(page.locator("#drawer .pill")).to_have_text("succeeded")
    await page.keyboard.press("t")
    await page.locator("#travel-place").fill("2")
    await at(page, 2)
    await expect(page.locator("#drawer .pill")).to_have_text("running")
    await expect(page.locator("#drawer")).to_contain_text("As of event 2.")
    await page.locator('#state-chips [data-state="pending"]').click()
    await expect(page.locator('#rows > [data-name="sentiment_analyzer"]')).to_have_count(0)
    await expect(page.locator("#rows > li").first).to_have_attribute("data-state", "pending")
    await page.locator('#state-chips [data-state="pending"]').click()
    await expect(page.locator('#rows > [data-name="sentiment_analyzer"]')).to_have_count(1)
    await page.locator(".switch [data-view=graph]").click()
    await expect(page.locator('#graph [data-key="sentiment_analyzer"]')).to_have_attribute("data-state", "running")
    await at(page, 2)
    reloaded = await tabs.open(site, page.url)
    await live(reloaded)
    await at(reloaded, 2)
    await expect(reloaded.locator("#travel")).to_be_visible()
    await expect(reloaded.locator('#graph [data-key="sentiment_analyzer"]')).to_have_attribute("data-state", "running")
    await expect(reloaded.locator("#drawer .pill")).to_have_text("running")
    for one in (page, reloaded):
        await one.locator("#travel [data-travel]").click()
        await expect(one.locator("#drawer .pill")).to_have_text("succeeded")
    await like_a_fresh_page(tabs, site, page)


@pytest.mark.parametrize("speed", ["", "60"])
@pytest.mark.parametrize("motion", ["no-preference", "reduce"])
async def test_a_run_is_played_to_its_end(site: Site, tabs: Tabs, speed: str, motion: str) -> None:
    path = site.launch("Customer_Support_Pipeline")
    page = await tabs.open(site, path, reduced_motion=motion)
    await ends(page, "succeeded")
    last = int(await page.locator("#sync [name=since]").input_value())
    await page.keyboard.press("t")
    await page.locator("#travel-speed").select_option(speed)
    await page.locator("#travel-place").fill("1")
    await at(page, 1)
    await page.locator("#travel-play").click()
    await expect(page.locator("#travel-play")).to_have_text("Pause")
    await expect(page.locator("#travel-play")).to_have_text("Play", timeout=60_000)
    await at(page, last)
    await expect(page.locator("#run-head")).to_have_attribute("data-status", "succeeded")


async def test_a_hand_on_the_slider_stops_what_is_played(site: Site, tabs: Tabs) -> None:
    page = await tabs.open(site, site.launch("Customer_Support_Pipeline"))
    await ends(page, "succeeded")
    await page.keyboard.press("t")
    await page.locator("#travel-speed").select_option("1")
    await page.locator("#travel-place").focus()
    await page.keyboard.press("p")
    await at(page, 0)
    await expect(page.locator("#travel-play")).to_have_attribute("aria-pressed", "true")
    await page.locator("#travel-place").fill("3")
    await expect(page.locator("#travel-play")).to_have_attribute("aria-pressed", "false")
    await at(page, 3)
    await page.keyboard.press("ArrowLeft")
    await at(page, 2)
    assert (await page.locator("#travel-place").get_attribute("aria-valuetext") or "").startswith("Event 2 of ")


async def test_a_fast_hand_is_not_turned_away(site: Site, tabs: Tabs) -> None:
    page = await tabs.open(site, site.launch("Customer_Support_Pipeline"))
    await ends(page, "succeeded")
    await page.keyboard.press("t")
    await page.evaluate("""async () => {
      const place = document.getElementById("travel-place");
      for (let n = 0; n < 400; n += 1) {
        place.value = n % 8;
        place.dispatchEvent(new Event("input", { bubbles: true }));
        await new Promise(requestAnimationFrame);
      }
    }""")
    await at(page, 7)
    await live(page)


async def test_an_address_that_names_no_event_shows_what_is_now(site: Site, tabs: Tabs) -> None:
    path = site.launch("Customer_Support_Pipeline")
    page = await tabs.open(site, path)
    await ends(page, "succeeded")
    for wrong in ("x", "-3", "100000"):
        await page.goto(f"{path}?at={wrong}")
        await expect(page.locator(".messages")).to_contain_text("You see the run as it is now.")
        await live(page)
        assert "at=" not in page.url
        await expect(page.locator("#travel")).to_be_hidden()
        await expect(page.locator("#run-head")).to_have_attribute("data-status", "succeeded")


async def test_a_page_in_the_past_comes_back_after_a_restart(telling: Telling, tabs: Tabs) -> None:
    tabs.expected += [r"WebSocket connection to", r"htmx:ws:error", r"ERR_CONNECTION_REFUSED"]
    page = await tabs.open(telling.site, telling.path + "?at=2")
    await live(page)
    await asyncio.to_thread(telling.site.stop)
    await expect(page.locator("#browser-link")).to_have_attribute("data-state", "reconnecting")
    await page.locator("#travel-place").fill("3")
    await asyncio.to_thread(telling.site.start)
    await live(page)
    await at(page, 3)
    assert (await rows(page))["fetch"] == "succeeded"
