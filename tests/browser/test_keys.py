"""The sheet of keys names the keys of its page, each does what it says, and none acts while somebody types."""

import asyncio

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import MakeSite, Tabs
from tests.browser.looking import ends, live
from tests.browser.sites import Site
from tests.browser.stories import FLOW, Story, definition
from tests.scripted import scripted_upstream

pytestmark = pytest.mark.browser
RUN = {"?", "[", "]", "+ =", "-", "0", "/", "Esc", "j ↓", "k ↑", "n", "f", "t", ",", ".", "p"}


async def listed(page: Page) -> dict[str, str]:
    """What the sheet says, by key; it is open afterwards."""
    await page.keyboard.press("?")
    await expect(page.locator("#keys")).to_be_visible()
    lines = await page.locator("#keys dl > div").all()
    return {
        " ".join(await line.locator("kbd").all_inner_texts()): await line.locator("dd").inner_text() for line in lines
    }


async def test_each_page_lists_its_own_keys(site: Site, tabs: Tabs) -> None:
    for path, keys in (("/", {"?", "/"}), ("/workflows/", {"?"}), ("/launch/", {"?"})):
        page = await tabs.open(site, path)
        assert (await listed(page)).keys() == keys
        await page.keyboard.press("Escape")
        await expect(page.locator("#keys")).to_be_hidden()
        await page.locator("#show-keys").click()
        await expect(page.locator("#keys")).to_be_visible()
        await page.locator("#keys button").click()
        await expect(page.locator("#keys")).to_be_hidden()
    page = await tabs.open(site, "/")
    await page.keyboard.press("/")
    await expect(page.locator("input[name=q]")).to_be_focused()


async def test_each_key_of_a_run_does_what_it_says(site: Site, tabs: Tabs) -> None:
    paths = [site.launch("Customer_Support_Pipeline", f"keys {n}") for n in range(3)]
    page = await tabs.open(site, paths[1])
    await ends(page, "succeeded")
    await page.reload()
    await live(page)
    assert (await listed(page)).keys() == RUN
    await page.keyboard.press("n")
    await expect(page.locator("#toasts > *")).to_have_count(0)  # the sheet lies over the page
    await page.keyboard.press("Escape")

    names = page.locator("#rows .t-name")
    await page.keyboard.press("j")
    await expect(names.nth(0)).to_be_focused()
    await page.keyboard.press("j")
    await page.keyboard.press("ArrowDown")
    await expect(names.nth(2)).to_be_focused()
    await page.keyboard.press("ArrowUp")
    await expect(names.nth(1)).to_be_focused()
    await page.keyboard.press("k")
    await expect(names.nth(0)).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.locator("#drawer")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(page.locator("#drawer")).to_be_hidden()
    await page.keyboard.press("n")
    await expect(page.locator("#toasts")).to_contain_text("Nothing has failed")

    await page.keyboard.press("+")
    await page.wait_for_url("**from=*")
    await page.keyboard.press("-")
    await page.wait_for_url(lambda url: "from=" not in url)
    await page.keyboard.press("=")
    await page.wait_for_url("**from=*")
    await page.keyboard.press("0")
    await page.wait_for_url(lambda url: "from=" not in url)

    shows = page.locator("#sync [name=shows]")
    last = int(await page.locator("#sync [name=since]").input_value())
    await page.keyboard.press("t")
    await expect(page.locator("#travel")).to_be_visible()
    await page.keyboard.press(",")
    await expect(shows).to_have_value(str(last - 1))
    await page.keyboard.press(".")
    await expect(shows).to_have_value(str(last))
    await page.keyboard.press("p")
    await expect(page.locator("#travel-play")).to_have_text("Pause")
    await page.keyboard.press("p")
    await expect(page.locator("#travel-play")).to_have_text("Play")
    await page.keyboard.press("t")
    await expect(shows).to_have_value("")

    for key, path in (("[", paths[0]), ("]", paths[1])):
        await page.keyboard.press(key)
        await page.wait_for_url(f"**{path}*")
        await live(page)


async def test_f_follows_and_n_finds_the_next_failure_while_a_run_goes_on(make_site: MakeSite, tabs: Tabs) -> None:
    async with scripted_upstream() as upstream:
        site = make_site(UPSTREAM_API_URL=upstream.api_url, UPSTREAM_SOCKET_URL=upstream.socket_url)
        story = Story(upstream, "keys")
        site.save_workflow("default", definition(), FLOW)
        page = await tabs.open(site, await asyncio.to_thread(site.launch, FLOW, "keys"))
        story.begin()
        error = {"type": "E", "message": "it did not work", "code": "E1"}
        story.tell("task_started", "fetch", input={})
        story.tell("task_failed", "fetch", execution_time=1.0, error=error)
        await expect(page.locator('#rows > [data-name="fetch"]')).to_have_attribute("data-state", "failed")
        await page.keyboard.press("f")
        await expect(page.locator("#follow")).to_have_attribute("aria-pressed", "false")
        await page.keyboard.press("f")
        await expect(page.locator("#follow")).to_have_attribute("aria-pressed", "true")
        await page.keyboard.press("n")
        await expect(page.locator('#rows > [data-name="fetch"] .t-name')).to_be_focused()
        await expect(page.locator("#follow")).to_have_attribute("aria-pressed", "false")


async def test_no_key_acts_while_somebody_types(site: Site, tabs: Tabs) -> None:
    page = await tabs.open(site, site.launch("Customer_Support_Pipeline"))
    await ends(page, "succeeded")
    await page.keyboard.press("/")
    await page.keyboard.type("?t,.pfjkn+-0[]/")
    assert await page.locator("#find-task").input_value() == "?t,.pfjkn+-0[]/"
    await expect(page.locator("#keys")).to_be_hidden()
    await expect(page.locator("#travel")).to_be_hidden()
    assert "from=" not in page.url
    assert "at=" not in page.url
    await page.locator("#theme").focus()
    await page.keyboard.press("Control+p")
    await page.keyboard.press("Alt+t")
    await expect(page.locator("#travel")).to_be_hidden()
