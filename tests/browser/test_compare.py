"""The way from the list and from a run to the comparison, and what a reader does there."""

import json
import re
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import Tabs
from tests.browser.sites import Site
from tests.servers import wait_until

pytestmark = pytest.mark.browser

FLOW = "Customer_Support_Pipeline"


def ended(site: Site, name: str, **inputs: str) -> int:
    """The id of a run that has succeeded."""
    answer = site.post(
        f"/launch/?flow={FLOW}",
        run_name=name,
        mode="json",
        inputs=json.dumps(inputs),
    )
    path = answer.headers["Location"]
    wait_until(lambda: site.run(path)["status"] == "succeeded", f"{name} succeeds", 60)
    return int(path.split("/")[2])


def asked(page: Page) -> dict[str, list[str]]:
    return parse_qs(urlsplit(page.url).query)


async def test_two_rows_are_ticked_and_compared_with_the_keyboard_alone(site: Site, tabs: Tabs) -> None:
    first, second = ended(site, "ticked one", priority="low"), ended(site, "ticked two", priority="high")
    page = await tabs.open(site, "/?q=ticked", viewport={"width": 400, "height": 800})
    bar = page.locator("#compare")
    await expect(bar).to_be_hidden()
    for name in ("ticked two", "ticked one"):
        await page.get_by_label(f"Compare {name}").focus()
        await page.keyboard.press("Space")
    await expect(bar).to_be_visible()
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/compare/?**")
    assert asked(page) == {"a": [str(first)], "b": [str(second)]}
    await expect(page.locator(".launched")).to_contain_text(re.compile(r"priority\s+\"low\"\s+→\s*now\s+\"high\""))
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")


async def test_ticks_stay_while_the_rows_move_and_can_be_cleared(site: Site, tabs: Tabs) -> None:
    site.launch(FLOW, "moves on")
    page = await tabs.open(site, "/?q=moves+on")
    box = page.get_by_label("Compare moves on")
    await box.check()
    await expect(page.locator("#runs-rows .pill")).to_have_text("Succeeded", timeout=40_000)
    await expect(box).to_be_checked()
    await page.get_by_role("button", name="Clear", exact=True).click()
    await expect(box).not_to_be_checked()
    await expect(page.locator("#compare")).to_be_hidden()


async def test_a_run_is_compared_with_the_last_good_one_and_a_task_opens_in_its_place(site: Site, tabs: Tabs) -> None:
    before, run = ended(site, "good before", priority="low"), ended(site, "looked into", priority="high")
    page = await tabs.open(site, f"/runs/{run}/")
    await page.get_by_role("link", name="Compare", exact=True).click()
    await page.wait_for_url("**/compare/?**")
    assert asked(page) == {"a": [str(before)], "b": [str(run)]}
    table = page.get_by_role("table", name="The tasks of both runs")
    task = table.get_by_role("link", name="sentiment_analyzer")
    await task.click()
    opened = table.locator("tr.opened")
    await expect(opened).to_contain_text("Input")
    await expect(task).to_have_attribute("aria-expanded", "true")
    assert asked(page)["task"] == ["sentiment_analyzer"]
    said = await opened.inner_text()
    await page.reload()  # the address alone says the same
    await expect(opened).to_have_count(1)
    assert (await opened.inner_text()).split() == said.split()
    await task.focus()
    await page.keyboard.press("Enter")
    await expect(opened).to_have_count(0)
    assert "task" not in asked(page)
    await task.click()
    await expect(opened).to_contain_text("Input")
    await page.get_by_role("link", name="In plan order").click()
    await page.get_by_role("link", name="Only differences").click()
    await page.get_by_role("link", name="Swap A and B").click()
    await page.wait_for_url(f"**a={run}**")
    assert asked(page) == {"a": [str(run)], "b": [str(before)], "order": ["plan"], "only": ["differences"],
                           "task": ["sentiment_analyzer"]}  # fmt: skip


async def test_another_run_is_chosen_by_its_number_or_from_the_last_ones(site: Site, tabs: Tabs) -> None:
    runs = [ended(site, f"chosen {n}", priority=str(n)) for n in range(3)]
    page = await tabs.open(site, f"/compare/?a={runs[0]}&b={runs[1]}")
    await page.get_by_text("Another… in place of B").click()
    await page.get_by_role("link", name="chosen 2").click()
    await page.wait_for_url(f"**b={runs[2]}**")
    await page.get_by_text("Another… in place of A").click()
    await page.get_by_placeholder("Number or address").first.fill(f"{site.url}/runs/{runs[1]}/")
    await page.keyboard.press("Enter")
    await page.wait_for_url(f"**a={runs[1]}**")
    assert asked(page) == {"a": [str(runs[1])], "b": [str(runs[2])]}
    tabs.expected += ["status of 404"]
    await page.get_by_text("Another… in place of A").click()
    await page.get_by_placeholder("Number or address").first.fill("987654")
    await page.keyboard.press("Enter")
    await expect(page.locator(".field.wrong")).to_contain_text("There is no run 987654.")


async def test_a_run_that_goes_on_is_shown_as_of_now_and_can_be_loaded_again(site: Site, tabs: Tabs) -> None:
    before = ended(site, "done already")
    run = int(site.launch(FLOW, "goes on").split("/")[2])
    page = await tabs.open(site, f"/compare/?a={before}&b={run}&order=plan")
    reload = page.get_by_role("link", name="Compare them as they are now")
    await expect(reload).to_be_visible()
    wait_until(lambda: site.run(f"/runs/{run}/")["status"] == "succeeded", "it succeeds", 60)
    await reload.click()
    await expect(reload).to_have_count(0)
    assert asked(page) == {"a": [str(before)], "b": [str(run)], "order": ["plan"]}
