"""The run page under the hands of a reader: the drawer, the keyboard, filters, names of every kind."""

import asyncio
import json

import pytest
from playwright.async_api import expect

from tests.browser.conftest import MakeSite, Tabs
from tests.browser.looking import ends, like_a_fresh_page, live, rows
from tests.browser.sites import Site
from tests.browser.stories import FLOW, Story, definition
from tests.scripted import scripted_upstream
from tests.seed import frames

pytestmark = pytest.mark.browser


def secrets_of_the_seed() -> set[str]:
    """What stands under a name that tells of a secret, anywhere in the recorded streams."""
    found: set[str] = set()

    def look(value: object) -> None:
        if isinstance(value, dict):
            for name, item in value.items():
                if isinstance(item, str) and any(word in name.lower() for word in ("key", "token", "authorization")):
                    found.add(item)
                look(item)
        elif isinstance(value, list):
            for item in value:
                look(item)

    for name in ("customer_support", "financial_data"):
        for frame in frames(name):
            try:
                look(json.loads(frame))
            except ValueError:
                continue
    return found


async def test_the_drawer_shows_a_task_with_its_secrets_masked(site: Site, tabs: Tabs) -> None:
    page = await tabs.open(site, site.launch("Customer_Support_Pipeline"))
    await ends(page, "succeeded")
    secrets = secrets_of_the_seed()
    assert "sk-prod-sentiment-key" in secrets
    for name in ("sentiment_analyzer", "update_salesforce", "send_notifications"):
        await page.locator("#rows .t-name", has_text=name).click()
        await expect(page.locator("#drawer h2")).to_have_text(name)
        for event in await page.locator("#drawer .event").all():
            await event.locator("summary").first.click()
            await expect(event.locator(".e-about")).to_be_visible()  # what it brings pushes the next one down
        content = await page.content()
        assert [secret for secret in secrets if secret in content] == []
        if name == "sentiment_analyzer":
            await expect(page.locator("#drawer .masked").first).to_be_visible()
    assert page.url.endswith("?task=send_notifications")
    await expect(page.locator("#drawer")).to_contain_text("PD-12345")


async def test_the_drawer_stays_open_while_its_task_goes_on(make_site: MakeSite, tabs: Tabs) -> None:
    async with scripted_upstream() as upstream:
        site = make_site(UPSTREAM_API_URL=upstream.api_url, UPSTREAM_SOCKET_URL=upstream.socket_url)
        story = Story(upstream, "watched")
        site.save_workflow("default", definition(), FLOW)
        page = await tabs.open(site, await asyncio.to_thread(site.launch, FLOW, "watched"))
        story.begin()
        story.tell("task_started", "fetch", input={"config": {}})
        await expect(page.locator('#rows > li[data-state="running"]')).to_have_count(1)
        await page.locator("#rows .t-name", has_text="fetch").click()
        await expect(page.locator("#drawer .pill")).to_have_text("running")
        story.tell("task_completed", "fetch", execution_time=1.0, output={"rows": 9007199254740993})
        await expect(page.locator("#drawer .pill")).to_have_text("succeeded")
        await expect(page.locator("#drawer")).to_contain_text("9007199254740993")
        story.end()
        await ends(page, "succeeded")
        await expect(page.locator("#drawer h2")).to_have_text("fetch")
        await like_a_fresh_page(tabs, site, page)


async def test_the_keyboard_closes_the_drawer_and_finds_tasks(site: Site, tabs: Tabs) -> None:
    path = site.launch("Customer_Support_Pipeline")
    page = await tabs.open(site, path + "?task=update_salesforce")
    await expect(page.locator("#drawer")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(page.locator("#drawer")).to_be_hidden()
    assert "task=" not in page.url
    await page.keyboard.press("/")
    await expect(page.locator("#find-task")).to_be_focused()
    await page.keyboard.type("sales")
    await expect(page.locator("#rows > li:visible")).to_have_count(1)
    await ends(page, "succeeded")
    assert await page.locator("#find-task").input_value() == "sales"
    await expect(page.locator("#find-task")).to_be_focused()
    await expect(page.locator("#rows > li:visible")).to_have_count(1)


async def test_a_filter_by_state_stands_in_the_address(site: Site, tabs: Tabs) -> None:
    page = await tabs.open(site, site.launch("Financial_Data_Pipeline"))
    await ends(page, "failed")
    states = list((await rows(page)).values())
    await page.locator('#state-chips [data-state="failed"]').click()
    await expect(page.locator("#rows > li:visible")).to_have_count(states.count("failed"))
    assert "state=failed" in page.url
    await page.reload()
    await live(page)
    await expect(page.locator("#rows > li:visible")).to_have_count(states.count("failed"))
    await expect(page.locator('#state-chips [data-state="failed"]')).to_have_attribute("aria-pressed", "true")


async def test_a_filter_that_fits_nothing_is_taken_back_with_the_mouse(site: Site, tabs: Tabs) -> None:
    page = await tabs.open(site, site.launch("Customer_Support_Pipeline"))
    await ends(page, "succeeded")
    tasks = len(await rows(page))
    await page.locator("#find-task").fill("no such task")
    await page.locator("#clear-filter").click()
    await expect(page.locator("#rows > li:visible")).to_have_count(tasks)
    assert "find=" not in page.url


@pytest.mark.parametrize("name", ["a b/c", "100% #1?x=y", "<b>&amp;", "日本 'run'"])
async def test_a_run_of_any_name_works_from_end_to_end(site: Site, tabs: Tabs, name: str) -> None:
    page = await tabs.open(site, "/launch/?flow=Customer_Support_Pipeline")
    await page.get_by_label("Run name").fill(name)
    await page.get_by_role("button", name="Launch", exact=True).click()
    await page.wait_for_url("**/runs/*/")
    await ends(page, "succeeded")
    assert await page.title() == f"Succeeded · Customer_Support_Pipeline / {name} · Stepline"
    await expect(page.locator("#run-head h1")).to_have_text(f"Customer_Support_Pipeline/{name}")
    await like_a_fresh_page(tabs, site, page)
