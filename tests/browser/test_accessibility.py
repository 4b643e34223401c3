"""axe-core finds nothing wrong on any page, light or dark, and on the main ones also 400 px wide.

Its rules of WCAG 2.1, levels A and AA, and its best practices: landmarks, headings. None is switched off.
"""

import json
import os
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytest_asyncio
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page, Route

from tests.browser.conftest import Tabs, started_browser
from tests.browser.sites import ROOT, Site
from tests.browser.stories import definition
from tests.servers import wait_until

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

RULES = {
    "resultTypes": ["violations"],
    "runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]},
}
WIDE, NARROW = {"width": 1440, "height": 900}, {"width": 400, "height": 800}
THEMES = ["light", "dark"]
TOUR = os.environ.get("TOUR", "")  # a folder for a picture of every place in both themes and sizes: `make tour`

MAKE = "from tests.browser.every_state import print_made; print_made()"


class Place(NamedTuple):
    """Where to look.

    `path` may hold {name of a row}; `click` is clicked, or the form sent as it stands, and `ready` waited for.
    """

    name: str
    path: str
    ready: str = "main h1"
    click: str = ""
    send: bool = False
    narrow: bool = False


NEW_SITE = [
    Place("runs, none yet", "/", ".first-run", narrow=True),
    Place("streams, none yet", "/streams/", "text=No run is to be followed"),
    Place("quarantine, empty", "/quarantine/", "text=Nothing is in quarantine"),
    Place("alerts, no rule yet", "/alerts/", "text=No rule yet"),
    Place("alert channels, none yet", "/alerts/channels/"),
    Place("deliveries, none yet", "/alerts/log/"),
    Place("tokens, none yet", "/account/tokens/"),
]
SIGNED_OUT = [
    Place("sign-in", "/sign-in/", narrow=True),
    Place("sign-in refused", "/sign-in/", "[role=alert]", send=True),
]
PAGES = [
    Place("runs", "/", "#runs-rows > tr", narrow=True),
    Place("runs, views open", "/?state=failed", ".menu-sheet", click="#views summary"),
    Place("runs, keys", "/", "#keys[open]", click="#show-keys"),
    Place("runs, two times", "/?since=2026-01-01T00:00", ".between-fields"),
    Place("runs of one flow", "/?flow=Customer_Support_Pipeline", "#flow-chart canvas", narrow=True),
    Place("runs that failed so", "/?failure=1", ".one-failure"),
    Place("runs, none fits", "/?q=nothing+like+it", "text=No run fits these filters"),
    Place(
        "run, running", "/runs/{running}/", "#run-head[data-status=running] #browser-link[data-state=live]", narrow=True
    ),
    Place("run, failed", "/runs/{failing}/", "#browser-link[data-state=live]", narrow=True),
    Place("run, succeeded", "/runs/{good}/", "#browser-link[data-state=live]", narrow=True),
    Place("run, lost", "/runs/{lost}/", "#browser-link[data-state=live]"),
    Place("run, rejected", "/runs/{rejected}/", "#browser-link[data-state=live]"),
    Place("run, in trouble", "/runs/{troubled}/", "#browser-link[data-state=live]", narrow=True),
    Place("run, one event open", "/runs/{troubled}/", "#log details[open] .j-key", click="#log summary >> nth=-1"),
    Place("run, errors only", "/runs/{failing}/", "#errors-only[aria-pressed=true]", click="#errors-only"),
    Place("run, graph", "/runs/{routed}/?view=graph", "#graph svg", narrow=True),
    Place("run, graph while it runs", "/runs/{running}/?view=graph", "#graph svg"),
    Place("run, drawer", "/runs/{good}/?task=sentiment_analyzer", "#drawer h2", narrow=True),
    Place("run, drawer of a failed task", "/runs/{failing}/?task=validate_financial_data", "#drawer h2"),
    Place("run, drawer of a task in trouble", "/runs/{troubled}/?task=unknown-inferred", "#drawer h2"),
    Place("run, in the past", "/runs/{failing}/?at=2", "#past .notice", narrow=True),
    Place("run, in the past after its failure", "/runs/{failing}/?at=4&view=graph", "#failure .failure", narrow=True),
    Place("run, drawer in the past", "/runs/{good}/?at=2&task=sentiment_analyzer", "#drawer h2"),
    Place("run, time travel opened", "/runs/{good}/", "#travel:visible", click="#travel-open"),
    Place("run, no such past", "/runs/{good}/?at=x", ".messages .notice"),
    Place("run, keys", "/runs/{good}/", "#keys[open]", click="#show-keys", narrow=True),
    Place("links of a run", "/runs/{failing}/links/", "table.tokens", narrow=True),
    Place("links of a run, none yet", "/runs/{lost}/links/", "text=Nobody without a sign-in"),
    Place("links of a run, one made", "/runs/{failing}/links/", ".shares", send=True, narrow=True),
    Place("badge of a flow", "/workflows/{workflow}/links/", "text=This flow has no badge yet"),
    Place("shared run, running", "/s/{running_link}/", "#browser-link[data-state=live]", narrow=True),
    Place("shared run, failed", "/s/{failing_link}/", "#browser-link[data-state=live]", narrow=True),
    Place("shared run, in trouble", "/s/{troubled_link}/", "#browser-link[data-state=live]", narrow=True),
    Place("shared run, drawer", "/s/{failing_link}/?task=validate_financial_data", "#drawer h2", narrow=True),
    Place("shared run, in the past", "/s/{failing_link}/?at=2&view=graph", "#past .notice", narrow=True),
    Place("shared run, keys", "/s/{failing_link}/", "#keys[open]", click="#show-keys"),
    Place("run in a frame, running", "/s/{running_link}/embed/", "#browser-link[data-state=live]", narrow=True),
    Place("run in a frame, failed", "/s/{failing_link}/embed/", "text=Ended", narrow=True),
    Place("no such link", "/s/none/", narrow=True),
    Place("two runs", "/compare/?a={good}&b={better}", "table.comparison", narrow=True),
    Place(
        "two runs, what differs",
        "/compare/?a={good}&b={failing}&task=validate_financial_data",
        ".opened h3",
        narrow=True,
    ),
    Place("two runs, another", "/compare/?a={good}&b={running}", ".menu-sheet", click=".side summary"),
    Place("two runs to choose", "/compare/"),
    Place("two runs, no such", "/compare/?a=987654&b=x", ".field.wrong"),
    Place("runs, one ticked", "/", ".compare-bar", click=".pick-run input", narrow=True),
    Place("quarantine of a run", "/runs/{troubled}/rejected/"),
    Place("launch", "/launch/", ".choice", narrow=True),
    Place("launch form", "/launch/?flow=Customer_Support_Pipeline", "#launch", narrow=True),
    Place("launch form, JSON", "/launch/?flow=Customer_Support_Pipeline", ".side-json textarea", click="text=JSON"),
    Place("launch form, run again", "/runs/{good}/retry/", "#launch"),
    Place("attach", "/attach/"),
    Place("attach, refused", "/attach/", ".field.wrong", send=True),
    Place("workflows", "/workflows/", "table.flows", narrow=True),
    Place("workflow", "/workflows/{workflow}/", ".graph", narrow=True),
    Place("workflow, definition open", "/workflows/{workflow}/", "#definition", click=".definition summary"),
    Place("workflow editor", "/workflows/{workflow}/edit/", ".graph", narrow=True),
    Place("version", "/workflows/{checked}/versions/2/", ".change", narrow=True),
    Place("version, the oldest", "/workflows/{checked}/versions/1/"),
    Place("version, not kept", "/workflows/{checked}/versions/9/"),
    Place("import", "/workflows/import/", "table.offers", narrow=True),
    Place("import, what changed", "/workflows/import/", ".changed-here[open] .change", click=".changed-here summary"),
    Place("import, nothing chosen", "/workflows/import/", "[role=alert]", send=True),
    Place("import, nothing to be had", "/workflows/import/?upstream={mute}", "[role=alert]", narrow=True),
    Place("launch form, by a schema", "/launch/?workflow={checked}", "select", narrow=True),
    Place("launch form, refused", "/launch/?workflow={checked}", ".field.wrong", send=True),
    Place("workflow, delete", "/workflows/{workflow}/delete/"),
    Place("new workflow", "/workflows/new/"),
    Place("new workflow, refused", "/workflows/new/", "[role=alert]", send=True),
    Place("upstreams", "/upstreams/"),
    Place("upstream", "/upstreams/1/"),
    Place("new upstream", "/upstreams/new/"),
    Place("alert rules", "/alerts/", ".upstreams > li"),
    Place("alert rule", "/alerts/rules/1/"),
    Place("new alert rule, refused", "/alerts/rules/new/", ".field.wrong", send=True),
    Place("alert channels", "/alerts/channels/"),
    Place("alert channel", "/alerts/channels/1/"),
    Place("new alert channel", "/alerts/channels/new/webhook/"),
    Place("deliveries", "/alerts/log/", "table.deliveries"),
    Place("streams", "/streams/", "table.streams", narrow=True),
    Place("quarantine", "/quarantine/", ".frames > li", narrow=True),
    Place("users", "/users/"),
    Place("user", "/users/1/"),
    Place("new user", "/users/new/"),
    Place("sessions", "/account/sessions/"),
    Place("password", "/account/password/"),
    Place("tokens", "/account/tokens/"),
    Place("audit", "/audit/", narrow=True),
    Place("not found", "/no/such/page/", narrow=True),
    Place("bad request", "/runs/{good}/events/?first=x", "text=could not be understood", narrow=True),
]


@pytest.fixture(scope="module")
def site(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A new site, without a run until `ids` is asked for."""
    site = Site(prepared, tmp_path_factory.mktemp("accessible") / "data", SANDBOX_SPEED=20)
    site.start()
    yield site
    site.stop()


@pytest.fixture(scope="module")
def ids(site: Site) -> dict[str, Any]:
    """The ids of runs and of a workflow by a short name, and the texts of links to some of them, of a site on which
    every page has something to show.
    """
    endless = definition()
    endless["tasks"][0]["params"]["sandbox"] = {"seconds": 1, "failures": 1, "retries": 1}
    endless["tasks"][1]["params"]["sandbox"] = {"seconds": 86_400}
    site.save_workflow("sandbox", endless, "Endless", deadline_seconds="1 h")
    site.save_workflow("sandbox", definition(), "Checked")
    schema = {"required": ["level"], "properties": {"level": {"enum": ["low", "high"]}}}
    site.change_workflow("Checked", input_schema=schema)
    site.change_workflow("Flaky_Enrichment", default_inputs={"not as at the studio": 1})
    addresses = {"api_url": site.url, "socket_url": site.url.replace("http", "ws"), "studio_url": "http://127.0.0.1:9"}
    site.post("/upstreams/new/", name="mute", **addresses)
    site.post("/alerts/channels/new/webhook/", name="our receiver", url="http://127.0.0.1:9/")
    site.post(
        "/alerts/rules/new/", name="all", enabled="on", kinds=["run-failed"], channels=["1"], debounce_minutes="0"
    )
    site.post("/users/new/", name="ada", role="viewer")
    site.post("/account/tokens/", name="nightly import", role="viewer", days="30")
    site.post("/views/", query="state=failed", name="What failed")
    launched = {
        "running": ("Endless", "running"),
        "failing": ("Financial_Data_Pipeline", "failed"),
        "routed": ("Refund_Triage", "succeeded"),
        "good": ("Customer_Support_Pipeline", "succeeded"),
        "better": ("Customer_Support_Pipeline", "succeeded"),
    }
    paths = {name: site.launch(flow, name) for name, (flow, _) in launched.items()}
    for name, (_, status) in launched.items():
        wait_until(lambda p=paths[name], s=status: site.run(p)["status"] == s, f"{name} is {status}", 60)
    wait_until(lambda: 'class="list deliveries"' in site.client.get("/alerts/log/").text, "a message is tried")
    workflows = {one["flow_name"]: one["id"] for one in site.client.get("/api/v1/workflows").json()["items"]}
    runs = {name: int(path.split("/")[2]) for name, path in paths.items()}
    runs |= json.loads(site.manage("shell", "--no-imports", "-c", MAKE))
    links = {f"{name}_link": link_to(site, runs[name]) for name in ("running", "failing", "troubled")}
    return {
        "workflow": workflows["Refund_Triage"], "checked": workflows["Checked"], "mute": 2, **runs, **links,
    }  # fmt: skip


def link_to(site: Site, run_id: int) -> str:
    """The text of a link that shows this run."""
    found = re.search(r"/s/([\w-]+)/badge.svg", site.post(f"/runs/{run_id}/links/", name="a page", days="7").text)
    assert found
    return found[1]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tabs(chromium: str) -> AsyncIterator[Tabs]:
    """One browser for all tests here."""
    async with started_browser(chromium) as browser:
        tabs = Tabs(browser)
        tabs.expected += [f"status of {status}" for status in (400, 401, 403, 404, 422, 500)]
        yield tabs
        await tabs.close()
        assert tabs.unexpected() == []


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def page(site: Site, tabs: Tabs) -> Page:
    return await tabs.open(site, "/healthz", viewport=WIDE)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def signed_out(site: Site, tabs: Tabs) -> Page:
    page = await tabs.open(site, "/healthz", viewport=WIDE)
    await page.context.clear_cookies()
    return page


async def look(page: Page, place: Place, path: str, theme: Any) -> None:
    """Fails with each violation of this place: its rule, where it is, the element, and what is wrong with it."""
    # Text that is just fading in has less contrast than it will have.
    await page.emulate_media(color_scheme=theme, reduced_motion="reduce")
    await page.goto(path)
    await judge(page, place, theme)


async def judge(page: Page, place: Place, theme: str) -> None:
    """The same of a page that is open."""
    if place.click:
        await page.locator(place.click).first.click()
    if place.send:
        await page.locator("main form").last.evaluate("form => form.submit()")
    await page.locator(place.ready).first.wait_for()
    found = []
    for size in [WIDE, NARROW] if place.narrow else [WIDE]:
        await unroll(page, size)
        results = await Axe().run(page, options=RULES)
        assert results.response["passes"], "axe-core looked at nothing"
        found += [
            f"{violation['id']} ({violation['help']}): {place.name}, {theme}, {size['width']} px: "
            f"{' '.join(map(str, node['target']))}\n  {node['html'][:300]}\n  {node['failureSummary']}"
            for violation in results.response["violations"]
            for node in violation["nodes"]
        ]
    if TOUR:
        await picture(page, f"{place.name}, {theme}", Path(TOUR))
    await page.set_viewport_size(WIDE)
    assert not found, "\n".join(["violations:", *found])


async def unroll(page: Page, size: Any) -> None:
    """Make the window as high as the page: rows that are out of sight are not drawn (content-visibility)."""
    await page.set_viewport_size(size)
    height = await page.evaluate("document.documentElement.scrollHeight")
    await page.set_viewport_size({**size, "height": max(size["height"], min(height, 8_000))})
    await page.evaluate("() => new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))")


async def picture(page: Page, name: str, folder: Path) -> None:
    """What the place looks like, wide and narrow; what stands still is shown still."""
    folder.mkdir(parents=True, exist_ok=True)
    for size in (WIDE, NARROW):
        await unroll(page, size)
        path = folder / f"{re.sub(r'[^a-z0-9]+', '-', name.lower())}-{size['width']}.png"
        await page.screenshot(path=path, full_page=True, animations="disabled")


def each(places: list[Place]) -> Any:
    return pytest.mark.parametrize("place", places, ids=lambda place: place.name)


@pytest.mark.parametrize("theme", THEMES)
@each(NEW_SITE)
async def test_a_page_of_a_new_site(page: Page, place: Place, theme: str) -> None:
    await look(page, place, place.path, theme)


@pytest.mark.parametrize("theme", THEMES)
@each(SIGNED_OUT)
async def test_a_page_before_signing_in(signed_out: Page, place: Place, theme: str) -> None:
    await look(signed_out, place, place.path, theme)


@pytest.mark.parametrize("theme", THEMES)
@each(PAGES)
async def test_a_page_of_a_site_in_use(ids: dict[str, Any], page: Page, place: Place, theme: str) -> None:
    await look(page, place, place.path.format(**ids), theme)


@pytest.mark.parametrize("theme", THEMES)
async def test_a_page_that_a_role_does_not_reach(ids: dict[str, Any], site: Site, signed_out: Page, theme: str) -> None:
    link = site.manage("signin_link", "ada")
    await signed_out.goto("/sign-in/" + link.split("/sign-in/")[1])
    await look(signed_out, Place("not allowed", "", narrow=True), "/users/", theme)


@pytest.mark.parametrize("theme", THEMES)
async def test_the_page_of_what_broke(page: Page, theme: str) -> None:
    told = re.sub(r"{#.*?#}", "", (ROOT / "templates/500.html").read_text())

    async def broken(route: Route) -> None:
        await route.fulfill(status=500, content_type="text/html; charset=utf-8", body=told)

    await page.route("**/broken/", broken)
    await look(page, Place("broken", "", narrow=True), "/broken/", theme)


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("name", ["failing", "good", "troubled"])
async def test_the_file_of_a_run(
    ids: dict[str, Any], site: Site, tabs: Tabs, tmp_path: Path, name: str, theme: Any
) -> None:
    path = tmp_path / "run.html"
    path.write_text(site.client.get(f"/runs/{ids[name]}/export/").text)
    page = await tabs.open(site, path.as_uri(), viewport=WIDE)
    await page.emulate_media(color_scheme=theme, reduced_motion="reduce")
    await judge(page, Place(f"file, {name}", "", "h1", narrow=True), theme)
    await page.locator("#place").fill("2")
    await judge(page, Place(f"file, {name}, after two events", "", "#events summary", click="#events summary"), theme)
    await page.close()
