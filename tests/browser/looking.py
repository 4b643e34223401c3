"""What a reader finds on a run page, and that a page which was changed live shows what a fresh one does."""

from typing import Any

from playwright.async_api import Page, expect

from tests.browser.conftest import Tabs
from tests.browser.sites import Door

# Geometry is compared too, but for the drawing's own width: a fresh page and an old one both set it by script. What is
# usual is learned from run to run, and an old page has what was known when it was first drawn.
SHOWN = """() => {
  const text = (selector) => document.querySelector(selector)?.innerText.replace(/\\s+/g, " ").trim() ?? null;
  const plain = (row) => {
    const copy = row.cloneNode(true);
    copy.classList.remove("open");
    for (const mark of copy.querySelectorAll("[data-local]")) mark.removeAttribute("data-local");
    for (const bar of copy.querySelectorAll(".bar")) bar.removeAttribute("viewBox");
    for (const ghost of copy.querySelectorAll(".ghost")) ghost.remove();
    return copy.outerHTML;
  };
  return {
    title: document.title,
    icon: document.getElementById("favicon").href,
    head: text("#run-head"),
    progress: document.querySelector("#progress svg").innerHTML,
    legend: text("#progress .legend"),
    banners: text("#banners"),
    failure: text("#failure"),
    rows: [...document.querySelectorAll("#rows > li")].map(plain),
    log: [...document.querySelectorAll("#log > li")].map(plain),
    chips: text("#state-chips"),
    place: [...document.querySelectorAll("#sync input")].map((input) => `${input.name}=${input.value}`),
    bars: [...new Set([...document.querySelectorAll("#rows .bar")].map((bar) => bar.getAttribute("viewBox")))],
  };
}"""


# Each of these elements goes, and the blank before it.
WITHOUT = """(found) => found.forEach((element) => {
  const before = element.previousSibling;
  if (before?.nodeType === Node.TEXT_NODE && !before.data.trim()) before.remove();
  element.remove();
})"""


async def shown(page: Page) -> dict[str, Any]:
    """Everything that the page says of its run."""
    found: dict[str, Any] = await page.evaluate(SHOWN)
    return found


def different(one: dict[str, Any], other: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Where two pages differ; of lists only the places that do."""
    found = {}
    for name, here in one.items():
        there = other[name]
        if isinstance(here, list) and len(here) == len(there):
            pairs = [pair for pair in zip(here, there, strict=True) if pair[0] != pair[1]]
            if pairs:
                found[name] = ([a for a, _ in pairs], [b for _, b in pairs])
        elif here != there:
            found[name] = (here, there)
    return found


async def rows(page: Page) -> dict[str, str]:
    """The state of each task by its name."""
    found: dict[str, str] = await page.evaluate(
        "() => Object.fromEntries([...document.querySelectorAll('#rows > li')]"
        ".map((row) => [row.dataset.name, "
        "row.dataset.state + (row.classList.contains('inferred') ? ' inferred' : '')]))"
    )
    return found


async def ends(page: Page, status: str, seconds: float = 40) -> None:
    """Wait until the page says so by itself, and that nothing more is expected of the upstream."""
    await expect(page.locator("#run-head")).to_have_attribute("data-status", status, timeout=seconds * 1000)
    await expect(page.locator("#run-head")).to_have_attribute("data-upstream", "closed", timeout=seconds * 1000)


async def live(page: Page) -> None:
    """Wait until the page's own connection stands."""
    await expect(page.locator("#browser-link")).to_have_attribute("data-state", "live", timeout=30_000)


async def like_a_fresh_page(tabs: Tabs, site: Door, page: Page, but: str = "") -> None:
    """The page that has lived through the run is the page that one gets now, `but` for what this selector finds."""
    await live(page)
    fresh = await tabs.open(site, page.url)
    await live(fresh)
    # The last batch may still be on its way to the old page.
    place = (await shown(fresh))["place"]
    await page.wait_for_function(
        "place => JSON.stringify([...document.querySelectorAll('#sync input')]"
        ".map((input) => `${input.name}=${input.value}`)) === JSON.stringify(place)",
        arg=place,
    )
    if but:
        for each in (page, fresh):
            await each.locator(but).evaluate_all(WITHOUT)
    assert different(await shown(page), await shown(fresh)) == {}
    await fresh.close()
