"""A site and a browser for each test. A page fails its test when console, script or CSP complain, or a dialog opens."""

import asyncio
import re
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Dialog, Page, async_playwright, expect

from tests.browser.sites import ROOT, Door, Site, prepare
from tests.browser.stories import FLOW, Story, definition
from tests.scripted import scripted_upstream

expect.set_options(timeout=20_000)  # the machine may be busy; nothing is judged by its speed
pytest.register_assert_rewrite("tests.browser.looking")

# Chrome tells of the policy twice: the event names the directive, the console only says that something was refused.
WATCH_POLICY = """
  document.addEventListener("securitypolicyviolation", (event) => {
    console.error(`CSP: ${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`);
  });
"""


@pytest.fixture(scope="session")
def chromium() -> str:
    found = subprocess.run([ROOT / "bin/find-browser"], capture_output=True, text=True, timeout=60, check=False)
    if found.returncode:
        pytest.skip(found.stderr.strip())
    return found.stdout.strip()


@pytest.fixture(scope="session")
def prepared(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared") / "data"
    prepare(folder)
    return folder


type MakeSite = Callable[..., Site]


@pytest.fixture(scope="session")
def started_sites(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeSite]:
    sites: dict[int, Site] = {}

    def at_speed(speed: int) -> Site:
        if speed not in sites:
            site = sites[speed] = Site(prepared, tmp_path_factory.mktemp("site") / "data", SANDBOX_SPEED=speed)
            site.start()
        return sites[speed]

    yield at_speed
    for site in sites.values():
        site.stop()


@pytest.fixture
def site(started_sites: MakeSite) -> Site:
    """One site for all tests that do not stop it; its sandbox goes four times as fast as life."""
    return started_sites(4)


@pytest.fixture
def make_site(prepared: Path, tmp_path: Path) -> Iterator[MakeSite]:
    """`make_site(SANDBOX_SPEED=1)`: a site of the test's own, started, which it may stop and start."""
    sites: list[Site] = []

    def make(**environment: Any) -> Site:
        site = Site(prepared, tmp_path / f"data-{len(sites)}", **environment)
        sites.append(site)
        site.start()
        return site

    yield make
    for site in sites:
        print(site.log()[-3000:])  # noqa: T201  # shown when the test has failed
        site.stop()


@asynccontextmanager
async def started_browser(chromium: str) -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        yield browser
        await browser.close()


@pytest_asyncio.fixture
async def browser(chromium: str) -> AsyncIterator[Browser]:
    async with started_browser(chromium) as browser:
        yield browser


class Tabs:
    """Signed-in pages of one browser, and what they complained of."""

    def __init__(self, browser: Browser) -> None:
        self.complaints: list[str] = []
        # Patterns of complaints that are part of what the test does. Leaving a page that is just connecting always is.
        self.expected = ["closed before the connection is established"]
        self._browser = browser
        self._contexts: list[BrowserContext] = []

    async def open(self, site: Door, path: str = "/", **options: Any) -> Page:
        """A page in a context of its own: another reader with the same account."""
        context = await self._browser.new_context(base_url=site.url, **options)
        context.set_default_timeout(20_000)
        self._contexts.append(context)
        cookies = site.client.cookies.jar
        await context.add_cookies([{"name": c.name, "value": c.value or "", "url": site.url} for c in cookies])
        await context.add_init_script(WATCH_POLICY)
        page = await context.new_page()
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.complaints.append(f"script: {error}"))
        page.on("dialog", self._asked)
        await page.goto(path)
        return page

    async def _asked(self, dialog: Dialog) -> None:
        self.complaints.append(f"dialog: {dialog.message}")
        await dialog.dismiss()

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type}: {message.text} {message.location.get('url', '')}")

    def unexpected(self) -> list[str]:
        return [one for one in self.complaints if not any(re.search(pattern, one) for pattern in self.expected)]

    async def close(self) -> None:
        for context in self._contexts:
            await context.close()


@pytest_asyncio.fixture
async def tabs(browser: Browser) -> AsyncIterator[Tabs]:
    tabs = Tabs(browser)
    yield tabs
    await tabs.close()
    assert tabs.unexpected() == []


@dataclass
class Telling:
    """A run that is told as the test goes on."""

    site: Site
    story: Story
    path: str


@pytest_asyncio.fixture
async def telling(make_site: MakeSite) -> AsyncIterator[Telling]:
    """A run that has just begun, `fetch` done: three events."""
    async with scripted_upstream() as upstream:
        site = make_site(UPSTREAM_API_URL=upstream.api_url, UPSTREAM_SOCKET_URL=upstream.socket_url)
        story = Story(upstream, "told")
        site.save_workflow("default", definition(), FLOW)
        path = await asyncio.to_thread(site.launch, FLOW, "told")
        story.begin()
        story.work("fetch")
        yield Telling(site, story, path)
