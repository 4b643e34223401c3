"""Workflows in the browser: the editor with its picture, versions, importing, a form by a schema, a link to it."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import Tabs
from tests.browser.sites import Site
from tests.browser.stories import definition
from tests.studio import Studio, item, studio

pytestmark = pytest.mark.browser


@pytest.fixture
def there() -> Iterator[Studio]:
    with studio() as made:
        yield made


def text_of(changed: Any) -> str:
    return json.dumps(changed, indent=2)


def node(page: Page, name: str) -> Any:
    return page.locator("#preview-graph .node", has_text=name)


async def test_the_picture_follows_the_text_and_stays_while_it_is_broken(site: Site, tabs: Tabs) -> None:
    site.save_workflow("sandbox", definition(), "Pictured")
    page = await tabs.open(site, f"/workflows/{site.workflow('Pictured')['id']}/edit/")
    area = page.locator("#id_definition")
    await expect(node(page, "report")).to_have_count(1)

    changed = definition()
    changed["tasks"].append({"name": "archive", "function": "a2a", "params": {"a": {"depends": "report"}}})
    await area.fill(text_of(changed))
    await expect(node(page, "archive")).to_have_count(1)
    await expect(page.locator("#preview-state")).to_contain_text("4 tasks in 4 steps")

    await area.fill(text_of(changed)[:-1])
    await expect(page.locator("#mistakes")).to_contain_text("The picture shows the last text that could be read")
    await expect(node(page, "archive")).to_have_count(1)

    changed["tasks"][3]["params"] = {"a": {"depends": "nobody"}}
    await area.fill(text_of(changed))
    mistakes = page.locator("#mistakes")
    await expect(mistakes).to_contain_text("archive: task 'archive' depends on 'nobody', which is not in the workflow")
    await mistakes.get_by_role("link").click()
    assert await page.evaluate("getSelection().toString()") == '          "depends": "nobody"'

    changed["tasks"][3]["params"] = {}
    await area.fill(text_of(changed))
    await expect(mistakes).to_have_count(0)
    await node(page, "clean").click()
    chosen = await area.evaluate("area => area.value.slice(area.selectionStart).slice(0, 40)")
    assert '"name": "clean"' in chosen


async def test_versions_are_listed_compared_and_restored(site: Site, tabs: Tabs) -> None:
    site.save_workflow("sandbox", definition(), "Versioned")
    page = await tabs.open(site, f"/workflows/{site.workflow('Versioned')['id']}/")
    for query in ("y", "z"):
        await page.get_by_role("link", name="Edit").click()
        area = page.locator("#id_definition")
        text = await area.input_value()
        await area.fill(re.sub(r'"query": "."', f'"query": "{query}"', text))
        await page.get_by_role("button", name="Save").click()
        await expect(page.locator("table.versions tbody tr").first).to_contain_text("default_inputs")
    await expect(page.locator("table.versions tbody tr")).to_have_count(3)

    await page.get_by_role("link", name="Version 1", exact=True).click()
    await expect(page.get_by_text("oldest version that is kept")).to_be_visible()
    await page.get_by_label("Compare with").select_option("3")
    await page.get_by_role("button", name="Compare").click()
    change = page.locator(".change")
    await expect(change.locator("code")).to_have_text("default_inputs.query")
    await expect(change.locator("del")).to_have_text('"z"')
    await expect(change.locator("ins")).to_have_text('"x"')

    await page.get_by_role("button", name="Restore version 1").click()
    await expect(page.get_by_text("Restored version 1 of Versioned as version 4.")).to_be_visible()
    assert site.workflow("Versioned")["definition"]["default_inputs"] == {"query": "x"}

    path = site.launch("Versioned")
    assert site.run(path)["workflow_version"] == 4
    await page.goto(path)
    await page.get_by_role("link", name="version 4").click()
    await expect(page.get_by_role("heading", name="Version 4")).to_be_visible()


async def test_saved_workflows_are_imported_and_brought_up_to_date(site: Site, tabs: Tabs, there: Studio) -> None:
    there.has(item(definition(), "Theirs"), item({"nodes": []}, "Broken"))
    addresses = {"api_url": site.url, "socket_url": site.url.replace("http", "ws"), "studio_url": there.url}
    assert site.post("/upstreams/new/", name="studio", api_key="key-of-the-studio", **addresses).status_code == 302
    page = await tabs.open(site, "/workflows/")
    await page.get_by_role("link", name="Import from the studio").click()
    await page.get_by_label("Upstream").select_option(label="studio")
    await page.get_by_role("button", name="Look there").click()
    rows = page.locator("table.offers tbody tr")
    await expect(rows.filter(has_text="Theirs")).to_contain_text("New")
    await expect(rows.filter(has_text="Broken")).to_contain_text("tasks are missing")
    await expect(rows.filter(has_text="Broken").get_by_role("checkbox")).to_have_count(0)
    await page.get_by_label("Import Theirs").check()
    await page.get_by_role("button", name="Import what is ticked").click()
    await expect(page.get_by_role("status").first).to_have_text("Imported Theirs.")
    await expect(rows.filter(has_text="Theirs")).to_contain_text("The same")

    newer = definition()
    newer["tasks"].pop()
    there.has(item(newer, "Theirs"))
    await page.reload()
    await page.get_by_text("Removed “report”").click()
    await expect(rows.locator(".change")).to_contain_text("report")
    await page.get_by_label("Import Theirs").check()
    await page.get_by_role("button", name="Import what is ticked").click()
    await expect(page.get_by_role("status").first).to_have_text("Updated Theirs (version 2).")

    there.says({"message": "no such key"}, 401)
    await page.reload()
    told = "The studio of studio gave no workflows: it refused the API key (401: no such key)."
    await expect(page.get_by_role("alert")).to_contain_text(told)
    assert there.asked[0] == ("/v3/workflows/", "key-of-the-studio")


SCHEMA = {
    "required": ["city", "level"],
    "properties": {
        "city": {"type": "string", "minLength": 2},
        "level": {"enum": ["low", "high"]},
        "count": {"type": "integer", "maximum": 9},
        "dry": {"type": "boolean"},
    },
}


async def test_a_form_by_a_schema_stays_in_step_with_its_json_and_has_a_link(site: Site, tabs: Tabs) -> None:
    site.save_workflow("sandbox", definition() | {"input_schema": SCHEMA}, "Schemed")
    tabs.expected += ["status of 422"]
    page = await tabs.open(site, "/launch/?flow=Schemed", permissions=["clipboard-read", "clipboard-write"])

    async def as_json() -> Any:
        await page.get_by_label("JSON", exact=True).check()
        return json.loads(await page.locator("textarea[name=inputs]").input_value())

    await page.locator('[name="input.city"]').fill("O")
    await page.locator('[name="input.level"]').select_option("high")
    await page.locator('[name="input.dry"]').select_option("false")
    assert await as_json() == {"query": "x", "city": "O", "level": "high", "dry": False}

    everything = {"query": "y", "city": "Oslo", "level": "low", "count": 12}
    await page.locator("textarea[name=inputs]").fill(json.dumps(everything))
    await page.get_by_label("Form", exact=True).check()
    await expect(page.locator('[name="input.level"]')).to_have_value("low")
    await expect(page.locator('[name="input.dry"]')).to_have_value("")
    await page.get_by_role("button", name="Launch", exact=True).click()
    await expect(page.locator(".field.wrong")).to_have_count(1)
    await expect(page.locator(".field.wrong")).to_contain_text("This must be at most 9.")

    await page.locator('[name="input.count"]').fill("3")
    await page.get_by_role("button", name="Copy a link to this form").click()
    await expect(page.locator("#toasts")).to_contain_text("Copied")
    other = await tabs.open(site, await page.evaluate("navigator.clipboard.readText()"))
    await expect(other.locator('[name="input.level"]')).to_have_value("low")
    await expect(other.locator('[name="input.count"]')).to_have_value("3")
    await other.get_by_role("button", name="Launch", exact=True).click()
    await other.wait_for_url(re.compile(r"/runs/\d+/$"))
    found = site.client.get(other.url.replace(site.url, "") + "retry/").text
    assert 'value="Oslo"' in found
