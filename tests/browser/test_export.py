"""The file of a run, downloaded from its page and opened from the disk with no network."""

from pathlib import Path

import pytest
from playwright.async_api import Page, Request, expect

from tests.browser.conftest import Tabs
from tests.browser.looking import ends
from tests.browser.sites import Site

pytestmark = pytest.mark.browser
STATES = "() => [...document.querySelectorAll('#tasks > li:not([hidden])')].map((row) => row.dataset.status)"


async def to(page: Page, place: int) -> None:
    """Move the scrubber, as a hand would."""
    await page.locator("#place").fill(str(place))
    await expect(page.locator("#where")).to_contain_text(f"{place} of ")


@pytest.mark.parametrize("width", [1440, 400])
async def test_an_exported_run_opens_from_the_disk_and_can_be_travelled(
    site: Site, tabs: Tabs, tmp_path: Path, width: int
) -> None:
    run = await tabs.open(site, site.launch("Customer_Support_Pipeline", f"exported {width}"))
    await ends(run, "succeeded")
    async with run.expect_download() as coming:
        await run.locator("#export").click()
    path = tmp_path / "run.html"
    await (await coming.value).save_as(path)

    context = await tabs._browser.new_context(offline=True, viewport={"width": width, "height": 900})
    tabs._contexts.append(context)
    page = await context.new_page()
    asked: list[Request] = []
    page.on("request", lambda request: asked.append(request))  # noqa: PLW0108  # it wraps no built-in method
    page.on("console", tabs._heard)
    page.on("pageerror", lambda error: tabs.complaints.append(f"script: {error}"))
    await page.goto(path.as_uri())
    await expect(page.locator("h1")).to_contain_text(f"exported {width}")
    await expect(page.locator("#where")).to_contain_text("succeeded")
    assert set(await page.evaluate(STATES)) == {"succeeded"}
    events = page.locator("#events > li")
    last = int(await page.locator("#place").get_attribute("max") or 0)
    await expect(events).to_have_count(last)

    await to(page, 0)
    assert set(await page.evaluate(STATES)) == {"pending"}
    await expect(events).to_have_count(0)
    await to(page, last // 2)
    assert len(set(await page.evaluate(STATES))) > 1
    await expect(events).to_have_count(last // 2)
    await page.locator("#on").click()
    await expect(events).to_have_count(last // 2 + 1)
    await events.first.locator("summary").click()
    await expect(events.first.locator("pre")).to_contain_text('"event_type"')
    await page.locator("#play").click()
    await expect(page.locator("#where")).to_contain_text(f"{last} of {last}")
    assert set(await page.evaluate(STATES)) == {"succeeded"}

    assert [request.url for request in asked] == [path.as_uri()]
    assert await page.evaluate("document.documentElement.scrollWidth") <= width
