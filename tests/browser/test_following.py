"""Following a run live: what the page shows at the end is what a fresh page shows, whatever happened in between."""

import re

import pytest
from playwright.async_api import expect

from tests.browser.conftest import Tabs
from tests.browser.looking import different, ends, like_a_fresh_page, live, rows, shown
from tests.browser.sites import Site

pytestmark = pytest.mark.browser


async def test_a_run_launched_from_the_form_is_followed_to_its_end(site: Site, tabs: Tabs) -> None:
    page = await tabs.open(site, "/launch/")
    await page.get_by_role("link", name="Customer_Support_Pipeline").click()
    await page.get_by_role("button", name="Launch", exact=True).click()
    await page.wait_for_url("**/runs/*/")
    await live(page)
    await expect(page.locator('#rows > li[data-state="running"]').first).to_be_visible()
    await expect(page).to_have_title(re.compile(r"^Running · Customer_Support_Pipeline / .+ · Stepline$"))
    await ends(page, "succeeded")
    assert await rows(page) == {
        "sentiment_analyzer": "succeeded",
        "update_salesforce": "succeeded",
        "send_notifications": "succeeded inferred",
    }
    assert (await page.title()).startswith("Succeeded · Customer_Support_Pipeline / ")
    assert "favicon-succeeded" in str(await page.locator("#favicon").get_attribute("href"))
    await expect(page.locator("#stop-watching")).to_be_hidden()
    await like_a_fresh_page(tabs, site, page)


async def test_a_run_that_fails_says_where_and_why(site: Site, tabs: Tabs) -> None:
    page = await tabs.open(site, site.launch("Financial_Data_Pipeline"))
    await ends(page, "failed")
    card = page.locator("#failure")
    await expect(card).to_contain_text("DataValidationError")
    await expect(card).to_contain_text("PipelineHaltedError: Data quality threshold not met, stopping pipeline")
    assert "favicon-failed" in str(await page.locator("#favicon").get_attribute("href"))
    await card.get_by_role("link", name="Show the task").click()
    await expect(page.locator("#drawer h2")).to_have_text(str(await card.locator("h2 .mono").text_content()))
    await page.keyboard.press("Escape")
    await like_a_fresh_page(tabs, site, page)


async def test_a_reload_in_the_middle_doubles_nothing(site: Site, tabs: Tabs) -> None:
    page = await tabs.open(site, site.launch("Customer_Support_Pipeline"))
    await expect(page.locator('#rows > li[data-state="succeeded"]').first).to_be_visible()
    await page.reload()
    await ends(page, "succeeded")
    seqs = await page.eval_on_selector_all("#log > li", "lines => lines.map((line) => Number(line.dataset.seq))")
    assert seqs == list(range(1, len(seqs) + 1))
    await like_a_fresh_page(tabs, site, page)


async def test_two_readers_and_a_late_one_see_the_same(site: Site, tabs: Tabs) -> None:
    path = site.launch("Customer_Support_Pipeline")
    first, second = await tabs.open(site, path), await tabs.open(site, path)
    await expect(first.locator('#rows > li[data-state="succeeded"]').first).to_be_visible()
    late = await tabs.open(site, path)
    assert await late.locator("#log > li").first.get_attribute("data-seq") == "1"
    for page in (first, second, late):
        await ends(page, "succeeded")
        await live(page)
    await like_a_fresh_page(tabs, site, first)
    assert different(await shown(first), await shown(second)) == {}
    assert different(await shown(first), await shown(late)) == {}


async def test_three_hundred_tasks_all_settle(site: Site, tabs: Tabs) -> None:
    page = await tabs.open(site, site.launch("Catalogue_Fan_Out"))
    await ends(page, "succeeded", seconds=60)
    await expect(page.locator('#state-chips [data-state="succeeded"]')).to_contain_text("300")
    assert set((await rows(page)).values()) == {"succeeded"}
    await page.locator("#rows-box").evaluate("box => { box.scrollTop = 0; }")
    await expect(page.locator("#rows")).to_have_attribute("data-first", "0")
    await page.wait_for_url(lambda url: "row=" not in url)
    # A page that has followed keeps its last lines; a fresh one shows as many as one page of the log has.
    seqs = await page.eval_on_selector_all("#log > li", "lines => lines.map((line) => Number(line.dataset.seq))")
    assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
    fresh = await tabs.open(site, page.url)
    await live(fresh)
    await live(page)
    old, new = await shown(page), await shown(fresh)
    old["log"] = old["log"][-200:]
    assert different(old, new) == {}
