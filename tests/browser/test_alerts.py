"""From nothing to a message that leads to the failed task, in a browser."""

import re

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import MakeSite, Tabs
from tests.receiver import receiver
from tests.scripted import eventually

pytestmark = pytest.mark.browser

FINANCE = "Financial_Data_Pipeline"


async def no_wider_than_the_window(page: Page) -> None:
    wide, inner = await page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    widest = await page.evaluate(
        "[...document.querySelectorAll('main *')].filter((one) => one.getBoundingClientRect().right > innerWidth)"
        ".map((one) => one.outerHTML.slice(0, 200))"
    )
    assert wide <= inner, f"{page.url} is {wide} wide in a window of {inner}: {widest[-1:]}"


async def test_an_administrator_sets_alerts_up_and_is_told_of_the_next_failure(make_site: MakeSite, tabs: Tabs) -> None:
    site = make_site(SANDBOX_SPEED=40, ALERT_TIMEOUT_SECONDS=5)
    tabs.expected += ["status of 422"]
    async with receiver() as heard:
        page = await tabs.open(site, "/")
        await page.get_by_role("link", name="Alerts").click()
        await expect(page.get_by_role("heading", name="No rule yet")).to_be_visible()
        await page.get_by_role("link", name="To the channels").click()
        await page.get_by_role("link", name="Signed webhook").click()
        await page.get_by_label("Name").fill("our receiver")
        await page.get_by_label("Address").fill("not an address")
        await page.get_by_role("button", name="Save").click()
        await expect(page.locator(".field.wrong")).to_contain_text("http:// or https://")
        await page.get_by_label("Address").fill(heard.url)
        await page.get_by_role("button", name="Save").click()
        secret = await page.locator("#secret").inner_text()
        assert secret.startswith("whsec_")

        heard.status = 500
        await page.get_by_role("button", name="Send a test message").click()
        await expect(page.locator("#answer")).to_contain_text("was not delivered")
        await expect(page.locator("#answer")).to_contain_text("500")
        heard.status = 200
        await page.get_by_role("button", name="Send a test message").click()
        await expect(page.locator("#answer")).to_contain_text("was delivered")
        assert secret not in await page.content()
        assert "path-that-is-secret" not in await page.content()

        await page.get_by_role("link", name="New rule").click()
        await page.get_by_label("Name").fill("night watch")
        await page.get_by_label("Of these flows").fill("Financial_*")
        await page.get_by_label("our receiver").check()
        await page.get_by_role("button", name="Save").click()
        await expect(page.locator(".messages")).to_contain_text("Saved the rule night watch")

        before = len(heard.heard)
        path = site.launch(FINANCE, "told of")

        async def told() -> bool:
            return len(heard.heard) > before

        await eventually(told, 60)
        assert heard.heard[-1].body["event"] == "run-failed"

        await page.get_by_role("link", name="Deliveries").click()
        row = page.get_by_role("row").filter(has_text="told of")

        async def noted() -> bool:  # the receiver knows of it before the log does
            await page.reload()
            return "Delivered" in await row.inner_text()

        await eventually(noted, 30)
        assert path in heard.heard[-1].body["url"]
        await page.goto(heard.heard[-1].body["url"])
        task = heard.heard[-1].body["task"]["name"]
        await expect(page.locator("#drawer")).to_contain_text(re.compile(re.escape(task)))


@pytest.mark.parametrize("width", [1280, 400])
async def test_no_page_is_wider_than_the_window(make_site: MakeSite, tabs: Tabs, width: int) -> None:
    site = make_site(SANDBOX_SPEED=40)
    site.post("/alerts/channels/new/webhook/", name="c" * 100, url="http://127.0.0.1:9/" + "x" * 300)
    site.post("/alerts/channels/new/apprise/", name="chat", url="slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/")
    site.post(
        "/alerts/rules/new/",
        name="r" * 100,
        enabled="on",
        kinds=["run-failed", "task-failed", "new-failure"],
        flows="Financial_*\n" + "f" * 300,
        channels=["1"],
        debounce_minutes="0",
    )
    page = await tabs.open(site, "/alerts/", viewport={"width": width, "height": 800})
    site.launch(FINANCE, "a name as long as names may be " + "n" * 200)

    async def there() -> bool:
        await page.goto("/alerts/log/")
        return await page.get_by_text("No answer").count() > 0

    await eventually(there, 60)
    for address in ("log/", "", "rules/1/", "rules/new/", "channels/", "channels/1/", "channels/new/apprise/"):
        await page.goto(f"/alerts/{address}")
        await expect(page.get_by_role("heading", level=1)).to_be_visible()
        await no_wider_than_the_window(page)
