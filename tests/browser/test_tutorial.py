"""docs/tutorial.md, done: every name that it prints in bold is found on the page, every command is run."""

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from textwrap import dedent

import pytest
from playwright.async_api import Locator, Page, expect

from tests.browser.conftest import MakeSite, Tabs
from tests.browser.sites import ROOT, Site
from tests.scripted import eventually
from tests.servers import end_with_parent, free_port

pytestmark = pytest.mark.browser

TEXT = (ROOT / "docs" / "tutorial.md").read_text()
FLOW, GOOD_FLOW = "Financial_Data_Pipeline", "Customer_Support_Pipeline"
RECEIVER_PORT = 8099


class Guide:
    """The page's names and blocks of code. What it prints and nobody asks for, or the other way round, is a mistake."""

    def __init__(self) -> None:
        self.names = {" ".join(name.split()) for name in re.findall(r"\*\*(.+?)\*\*", TEXT, re.DOTALL)}
        blocks = re.findall(r"(?:^ {4,}.*\n)+", TEXT, re.MULTILINE)
        self.blocks = {dedent(block).strip() for block in blocks if not re.match(r" +(\d\.|and|Above)", block)}
        self.used: set[str] = set()

    def name(self, name: str) -> str:
        assert name in self.names, f"the tutorial says nothing of “{name}”"
        self.used.add(name)
        return name

    def block(self, part: str) -> str:
        (found,) = [block for block in self.blocks if part in block]
        self.used.add(found)
        return found

    def left_out(self) -> set[str]:
        return (self.names | self.blocks) - self.used


@contextmanager
def run_in_shell(command: str, site: Site, port: int) -> Iterator["subprocess.Popen[str]"]:
    """A command of the tutorial, where the ports that it names are taken by this test's own."""
    command = command.replace("http://127.0.0.1:8000", site.url).replace(str(RECEIVER_PORT), str(port))
    command = command.replace(".venv/bin/python", sys.executable)
    process = subprocess.Popen(
        ["/bin/sh", "-c", f"exec {command}" if command.startswith(sys.executable) else command],
        cwd=ROOT,
        env=os.environ | {"DATA_DIR": str(site.folder), "no_proxy": "*"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=end_with_parent,  # noqa: PLW1509  # it only makes one system call
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


async def state_is(page: Page, name: str) -> None:
    await expect(page.locator("#run-head .pill")).to_have_text(name)


async def see(place: Page | Locator, name: str) -> None:
    await expect(place.get_by_text(name).first).to_be_visible()


async def test_the_tutorial_holds(make_site: MakeSite, tabs: Tabs) -> None:
    site, guide, port = make_site(SANDBOX_SPEED=8, LINGER_SECONDS=0.5), Guide(), free_port()
    name, block = guide.name, guide.block

    # 1. Start
    assert "run:" in (ROOT / "Makefile").read_text()
    assert block("make run") == "make run"
    printed = block("Sign in once with")
    for line in printed.splitlines():
        assert re.escape(line.replace("http://127.0.0.1:8000", site.url).rstrip("…")).replace("\\", "") in site.log()
    page = await tabs.open(site, "/")
    await see(page, name("No run yet"))

    # 2. Launch a run and watch it
    bar = page.get_by_role("navigation", name="Pages")
    form = page.locator("form#launch")
    await bar.get_by_role("link", name=name("Launch")).click()
    await page.get_by_role("link", name=name(GOOD_FLOW)).click()
    await form.get_by_role("button", name=name("Launch"), exact=True).click()
    await state_is(page, name("Running"))
    await expect(page.locator("#steps dt")).to_have_text(name("Progress"))
    await state_is(page, name("Succeeded"))
    await expect(page.locator(".row, .task").filter(has_text="send_notifications").first).to_contain_text("inferred")
    await page.get_by_text("sentiment_analyzer").first.click()
    drawer = page.locator("#drawer")
    for heading in ("Output", "Raw events"):
        await see(drawer, name(heading))
    await page.keyboard.press("Escape")
    await expect(drawer).not_to_contain_text("Raw events")

    # 3. See a run fail, and find the failure
    await bar.get_by_role("link", name="Launch").click()
    await page.get_by_role("link", name=name(FLOW)).click()
    await form.get_by_role("button", name="Launch", exact=True).click()
    await state_is(page, name("Failed"))
    failure = page.get_by_role("region", name="Failure")
    for words in (
        "validate_financial_data",
        "DataValidationError",
        name("The first time"),
        name("Since the last good run"),
    ):
        await see(failure, words)
    await failure.get_by_role("link", name=name("Show the task")).click()
    for heading in ("Error", "Partial results"):
        await see(drawer, name(heading))
    await expect(page).to_have_url(re.compile(r"task=validate_financial_data"))

    # 4. Be told of the next one
    with run_in_shell(block("HTTPServer"), site, port) as receiver:
        said: list[str] = []
        assert receiver.stdout is not None
        listening = asyncio.create_task(asyncio.to_thread(said.extend, receiver.stdout))
        await bar.get_by_role("link", name=name("Alerts")).click()
        await page.get_by_role("link", name=name("To the channels")).click()
        await page.get_by_role("link", name=name("Signed webhook")).click()
        await page.get_by_label(name("Name")).fill("tutorial")
        await page.get_by_label(name("Address")).fill(f"http://127.0.0.1:{port}/")
        await page.get_by_role("button", name=name("Save")).click()

        async def delivered() -> bool:  # the program in the second terminal may not have begun to listen yet
            await page.get_by_role("button", name=name("Send a test message")).click()
            await expect(page.locator("#answer")).to_be_visible()
            return await page.get_by_text("The test message was delivered.").count() > 0

        await eventually(delivered, 30)
        await see(page, name("The test message was delivered."))
        await page.get_by_role("link", name=name("New rule")).click()
        await page.get_by_label("Name").fill("failures")
        ticked = page.get_by_label(name("A run failed, or the upstream refused to launch it"))
        await expect(ticked).to_be_checked()
        await page.get_by_role("group", name=name("To")).get_by_label("tutorial").check()
        await page.get_by_label(name("At most one message in so many minutes")).fill("0")
        await page.get_by_role("button", name="Save").click()
        await see(page.locator(".messages"), "Saved the rule failures")
        with run_in_shell(block("--follow"), site, port) as launched:
            shown, _ = await asyncio.to_thread(launched.communicate, timeout=60)
        assert launched.returncode == 1, shown
        assert "DataValidationError" in shown or "PipelineHaltedError" in shown

        async def told() -> list[str]:
            return [line for line in said if "run-failed" in line]

        (message,) = await eventually(told, 30)
        body = json.loads(message)
        assert (body["run"]["flow_name"], body["task"]["name"]) == (FLOW, "validate_financial_data")
        assert body["url"].endswith("?task=validate_financial_data")
    await listening

    # 5. Run it again, and compare
    await bar.get_by_role("link", name=name("Runs")).click()
    await expect(page.locator("tbody tr").filter(has_text=FLOW)).to_have_count(2)
    await page.locator("tbody tr").first.get_by_role("link").last.click()
    await see(failure, name("The 2nd time"))
    await page.get_by_role("link", name=name("Re-run…")).click()
    await form.get_by_role("button", name="Launch", exact=True).click()
    await state_is(page, "Failed")
    await page.get_by_role("link", name=name("Compare"), exact=True).click()
    with_what = page.get_by_role("region", name=name("What they were launched with"))
    await expect(with_what.get_by_text(name("The same."))).to_have_count(2)
    row = page.get_by_role("row").filter(has_text="validate_financial_data")
    await expect(row.get_by_text("failed")).to_have_count(2)

    # 6. Mend it
    await bar.get_by_role("link", name=name("Workflows")).click()
    await page.get_by_role("link", name=FLOW).first.click()
    await page.get_by_role("link", name=name("Edit"), exact=True).click()
    editor = page.locator("#id_definition")
    before, found, after = (await editor.input_value()).partition(block('"seconds"'))
    assert found
    await editor.fill(f"{before}{found}\n{block('failure_chance')}{after}")
    await see(page.locator("#preview-state"), name("1 task"))
    await page.get_by_role("button", name="Save").click()
    await see(page, name("version 2"))
    await page.locator(".page-head").get_by_role("link", name="Launch").click()
    await form.get_by_role("button", name="Launch", exact=True).click()
    await state_is(page, "Succeeded")
    await page.get_by_role("link", name="Compare", exact=True).click()
    await see(with_what, name("Definition"))
    await see(with_what, "failure_chance")

    # 7. The same from a program
    with run_in_shell(block("curl"), site, port) as asked:
        out, err = await asyncio.to_thread(asked.communicate, timeout=60)
    assert asked.returncode == 0, err
    assert [run["status"] for run in json.loads(out)["items"]] == ["succeeded"]
    assert guide.left_out() == set()
