"""The list that changes under the eye, and forms that say at the field what is wrong with it."""

import json
import re

import pytest
from playwright.async_api import expect

from tests.browser.conftest import Tabs
from tests.browser.sites import Site
from tests.factories import make_definition

pytestmark = pytest.mark.browser


async def test_a_row_of_the_list_moves_by_itself_and_new_runs_wait_behind_a_button(site: Site, tabs: Tabs) -> None:
    site.launch("Customer_Support_Pipeline", "watched from the list")
    page = await tabs.open(site, "/")
    row = page.locator("#runs-rows > tr").filter(has_text="watched from the list")
    await expect(row.locator(".pill")).to_have_text("Running")
    site.launch("Customer_Support_Pipeline", "came later")
    button = page.locator("#new-runs")
    await expect(button).to_have_text("1 new run")
    await expect(page.locator("#runs-rows")).not_to_contain_text("came later")
    await expect(row.locator(".pill")).to_have_text("Succeeded", timeout=30_000)
    await button.click()
    await expect(page.locator("#runs-rows > tr").first).to_contain_text("came later")
    await expect(button).to_be_hidden()
    newest = page.locator("#runs-rows > tr").first
    await expect(newest.locator(".pill")).to_have_text("Succeeded", timeout=30_000)


async def test_a_run_name_that_is_taken_is_said_with_the_run_that_has_it(site: Site, tabs: Tabs) -> None:
    path = site.launch("Customer_Support_Pipeline", "only once")
    page = await tabs.open(site, "/launch/?flow=Customer_Support_Pipeline")
    tabs.expected += ["status of 409"]
    await page.get_by_label("Run name").fill("only once")
    await page.get_by_role("button", name="Launch", exact=True).click()
    alert = page.get_by_role("alert").first
    await expect(alert).to_contain_text("has a run of this name already")
    assert await alert.get_by_role("link", name="only once").get_attribute("href") == path
    await alert.get_by_role("button").click()
    await page.get_by_role("button", name="Launch", exact=True).click()
    await page.wait_for_url(re.compile(r"/runs/\d+/$"))


async def test_inputs_that_are_no_json_are_refused_at_their_field(site: Site, tabs: Tabs) -> None:
    page = await tabs.open(site, "/launch/?flow=Customer_Support_Pipeline")
    tabs.expected += ["status of 422"]
    await page.get_by_label("JSON", exact=True).check()
    field = page.locator("textarea[name=inputs]")
    await field.fill('{"priority": }')
    await page.get_by_role("button", name="Launch", exact=True).click()
    await expect(page.locator(".field.wrong textarea[name=inputs]")).to_be_visible()
    await expect(page.locator(".field.wrong .errorlist")).not_to_be_empty()
    await expect(field).to_have_value('{"priority": }')


async def test_a_circle_of_tasks_is_refused_with_their_names(site: Site, tabs: Tabs) -> None:
    circle = make_definition("ring_one", "ring_two")
    circle["tasks"][0]["params"]["body"] = {"depends": "ring_two"}
    page = await tabs.open(site, "/workflows/new/")
    tabs.expected += ["status of 422"]
    await page.locator("textarea[name=definition]").fill(json.dumps(circle, indent=2))
    await page.get_by_role("button", name="Save").click()
    mistakes = page.locator("#mistakes")
    await expect(mistakes).to_contain_text("ring_one")
    await expect(mistakes).to_contain_text("ring_two")
    assert "ring_two" in await page.locator("textarea[name=definition]").input_value()
