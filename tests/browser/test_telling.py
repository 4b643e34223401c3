"""A desktop notification comes to who asked for it, of that run, once; and a browser that refuses is said to.

The Notification of the browser is stood in for by one that writes down what it is told.
"""

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import Tabs, Telling
from tests.browser.looking import ends, live
from tests.browser.stories import FLOW

pytestmark = pytest.mark.browser

BROWSER = """
  window.told = [];
  window.Notification = class extends EventTarget {
    static permission = "%s";
    static async requestPermission() {
      return (Notification.permission = "%s");
    }
    constructor(title, options) {
      super();
      window.told.push({ title, ...options });
      window.last = this;
    }
    close() { this.closed = true; }
  };
"""


async def opened(tabs: Tabs, telling: Telling, script: str) -> Page:
    page = await tabs.open(telling.site)
    await page.context.add_init_script(script)
    await page.goto(telling.path)
    await live(page)
    await expect(page.locator('#rows > [data-name="fetch"]')).to_have_attribute("data-state", "succeeded")
    return page


async def test_who_asked_is_told_how_the_run_ended(telling: Telling, tabs: Tabs) -> None:
    page = await opened(tabs, telling, BROWSER % ("default", "granted"))
    other = await opened(tabs, telling, BROWSER % ("granted", "granted"))
    button = page.locator("#tell-me")
    await expect(button).to_have_attribute("aria-pressed", "false")
    await button.click()
    await expect(button).to_have_attribute("aria-pressed", "true")
    await page.context.add_init_script("Notification.permission = 'granted'")
    await page.reload()
    await live(page)
    await expect(button).to_have_attribute("aria-pressed", "true")

    error = {"type": "E", "message": "it did not work", "code": "E1"}
    telling.story.tell("task_started", "clean", input={})
    telling.story.tell("task_failed", "clean", execution_time=1.0, error=error)
    await expect(page.locator('#rows > [data-name="clean"]')).to_have_attribute("data-state", "failed")
    run = telling.path.split("/")[2]
    first = {
        "title": f"A task failed: {FLOW} / told",
        "body": "The run goes on.",
        "tag": f"tell-{run}",
        "renotify": True,
    }
    assert await page.evaluate("told") == [first]
    telling.story.tell("flow_error", execution_time=75.0, error=error)
    for one in (page, other):
        await ends(one, "failed")
        await expect(one.locator("#tell-me")).to_be_hidden()
    took = await page.locator("#run-head").get_attribute("data-took")
    assert took
    assert await page.evaluate("told") == [
        first,
        {"title": f"Failed: {FLOW} / told", "body": f"It took {took}.", "tag": f"tell-{run}", "renotify": True},
    ]
    assert await other.evaluate("told") == []
    await page.evaluate("window.focus = () => { window.focused = true; }; last.dispatchEvent(new Event('click'))")
    assert await page.evaluate("[window.focused, last.closed]") == [True, True]
    await page.reload()
    await live(page)
    assert await page.evaluate("told") == []


async def test_who_stands_in_the_past_is_told_too(telling: Telling, tabs: Tabs) -> None:
    page = await opened(tabs, telling, BROWSER % ("granted", "granted"))
    await page.locator("#tell-me").click()
    await page.keyboard.press(",")
    await expect(page.locator("#sync [name=shows]")).to_have_value("2")
    telling.story.end()
    await expect(page.locator("#past")).to_contain_text("now it is succeeded")
    await expect(page.locator("#tell-me")).to_be_hidden()
    assert [one["title"] for one in await page.evaluate("told")] == [f"Succeeded: {FLOW} / told"]
    await expect(page.locator("#run-head")).to_have_attribute("data-status", "running")


async def test_who_thinks_better_of_it_is_not_told(telling: Telling, tabs: Tabs) -> None:
    page = await opened(tabs, telling, BROWSER % ("granted", "granted"))
    for on in ("true", "false"):
        await page.locator("#tell-me").click()
        await expect(page.locator("#tell-me")).to_have_attribute("aria-pressed", on)
    telling.story.end()
    await ends(page, "succeeded")
    assert await page.evaluate("told") == []


async def test_a_browser_that_refuses_is_said_to(telling: Telling, tabs: Tabs) -> None:
    page = await opened(tabs, telling, BROWSER % ("default", "denied"))
    await page.locator("#tell-me").click()
    await expect(page.locator("#toasts")).to_contain_text("This browser does not allow this site to notify you.")
    await expect(page.locator("#tell-me")).to_have_attribute("aria-pressed", "false")
    assert "does not allow" in (await page.locator("#tell-me").get_attribute("title") or "")


async def test_a_browser_that_cannot_tell_offers_nothing(telling: Telling, tabs: Tabs) -> None:
    page = await opened(tabs, telling, "delete window.Notification;")
    await expect(page.locator("#tell-me")).to_be_hidden()
