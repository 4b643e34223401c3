"""A client of the upstream as its users write them, in a real browser, pointed at us: nothing but the host is changed.

It pings, closes on flow_completed, connects again after every close, and counts its tries anew whenever one opens. It
must see each event once and in order, and its coming back must end.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from playwright.async_api import Page

from tests.browser.conftest import MakeSite, Tabs
from tests.browser.sites import Site
from tests.browser.stories import FLOW, Story, definition
from tests.scripted import ScriptedUpstream, eventually, scripted_upstream

pytestmark = pytest.mark.browser

# The client's own noise: a try in vain, and a ping into a socket that the server is about to close.
NOISE = ["WebSocket connection", "already in CLOSING"]

SAMPLE_CLIENT = """([address, pingEvery]) => {
  const seen = { frames: [], opens: 0, closes: 0, tries: 0, pongs: 0, gaveUp: false };
  window.seen = seen;
  let failures = 0, pinging, socket;
  function connect() {
    seen.tries += 1;
    socket = new WebSocket(address);
    socket.onopen = () => {
      seen.opens += 1;
      failures = 0;
      pinging = setInterval(() => socket.send(JSON.stringify({ type: "ping" })), pingEvery);
    };
    socket.onmessage = (message) => {
      const said = JSON.parse(message.data);
      if (said.type === "pong") { seen.pongs += 1; return; }
      seen.frames.push(said);
      if (said.event_type === "flow_completed") socket.close();
    };
    socket.onclose = () => {
      seen.closes += 1;
      clearInterval(pinging);
      if (failures < 3) { failures += 1; setTimeout(connect, 2000 * failures); } else seen.gaveUp = true;
    };
  }
  window.drop = () => socket.close();
  connect();
}"""


async def watch(page: Page, site: Site, path: str, query: str = "") -> None:
    address = f"ws://127.0.0.1:{site.port}/ws/{path}{query}"
    await page.evaluate(SAMPLE_CLIENT, [address, 30_000 if "often" not in path else 200])


async def seen(page: Page) -> dict[str, Any]:
    found: dict[str, Any] = await page.evaluate("window.seen")
    return found


async def until(page: Page, ready: Callable[[dict[str, Any]], bool], seconds: float = 60.0) -> dict[str, Any]:
    async def look() -> dict[str, Any] | None:
        found = await seen(page)
        return found if ready(found) else None

    found = await eventually(look, seconds)
    assert found is not None
    return found


def types(found: dict[str, Any]) -> list[str]:
    return [frame["event_type"] for frame in found["frames"]]


async def gives_up(page: Page, *, opens: int = 1) -> dict[str, Any]:
    """What it has seen when it has stopped for good: each event once, in order, and three tries in vain."""
    found = await until(page, lambda now: now["gaveUp"])
    assert [frame["_seq"] for frame in found["frames"]] == list(range(1, len(found["frames"]) + 1))
    assert (found["opens"], found["tries"]) == (opens, opens + 3)
    await asyncio.sleep(7)  # longer than its longest pause
    assert await seen(page) == found
    return found


def scripted_site(make_site: MakeSite, upstream: ScriptedUpstream) -> Site:
    site = make_site(UPSTREAM_API_URL=upstream.api_url, UPSTREAM_SOCKET_URL=upstream.socket_url)
    site.save_workflow("default", definition(), FLOW)
    return site


TOLD = ["flow_started", *["task_started", "task_completed"] * 3, "flow_completed"]


async def test_a_live_run(make_site: MakeSite, tabs: Tabs) -> None:
    tabs.expected += NOISE
    async with scripted_upstream() as upstream:
        site = await asyncio.to_thread(scripted_site, make_site, upstream)
        story = Story(upstream, "often told")
        page = await tabs.open(site, "/")
        await asyncio.to_thread(site.launch, FLOW, "often told")
        await watch(page, site, f"{FLOW}/often told")
        story.begin()
        await until(page, lambda now: len(now["frames"]) == 1)
        await until(page, lambda now: now["pongs"] > 2)
        for task in ("fetch", "clean", "report"):
            story.work(task)
        story.end()
        found = await gives_up(page)
        assert types(found) == TOLD


async def test_a_run_that_has_ended_long_since(site: Site, tabs: Tabs) -> None:
    tabs.expected += NOISE
    for flow in ("Customer_Support_Pipeline", "Financial_Data_Pipeline"):
        path = await asyncio.to_thread(site.launch, flow, f"past {flow}")

        async def over(path: str = path) -> bool:
            run = await asyncio.to_thread(site.run, path)
            return bool(run["connection"] == "closed")

        await eventually(over, 60)
        page = await tabs.open(site, "/")
        await watch(page, site, f"{flow}/past%20{flow}")
        found = await gives_up(page)
        # On flow_error it stays, and the server closes.
        assert types(found)[-1] == ("flow_completed" if "Customer" in flow else "flow_error")
        assert "sk-prod" not in json.dumps(found)


async def test_a_run_whose_upstream_drops_and_sends_all_again(make_site: MakeSite, tabs: Tabs) -> None:
    tabs.expected += NOISE
    async with scripted_upstream() as upstream:
        site = await asyncio.to_thread(scripted_site, make_site, upstream)
        names = {"flow_name": FLOW, "run_name": "dropped"}
        told = [
            json.dumps({"event_type": kind, "timestamp": 1.76e9 + n, "task_name": f"t{(n - 1) // 2}", **names})
            for n, kind in enumerate(TOLD)
        ]

        async def visit(socket: Any, number: int) -> None:
            while not upstream.launches:
                await asyncio.sleep(0.02)
            for frame in told[: (3, 5, len(told))[min(number, 2)]]:
                await socket.send(frame)
            if number < 2:
                await socket.close(1011)
            else:
                await socket.wait_closed()

        upstream.visit = visit
        page = await tabs.open(site, "/")
        await asyncio.to_thread(site.launch, FLOW, "dropped")
        await watch(page, site, f"{FLOW}/dropped")
        found = await gives_up(page)
        assert types(found) == TOLD
        assert len(upstream.paths) >= 3


async def test_a_run_that_is_not_there_yet_and_one_that_never_is(make_site: MakeSite, tabs: Tabs) -> None:
    tabs.expected += NOISE
    async with scripted_upstream() as upstream:
        site = await asyncio.to_thread(scripted_site, make_site, upstream)
        story = Story(upstream, "soon")
        early, vain = await tabs.open(site, "/"), await tabs.open(site, "/workflows/")
        await watch(early, site, f"{FLOW}/soon")
        await watch(vain, site, f"{FLOW}/never")
        await until(early, lambda now: now["opens"] == 1)
        await asyncio.to_thread(site.launch, FLOW, "soon")
        story.begin()
        story.end()
        assert types(await gives_up(early)) == ["flow_started", "flow_completed"]
        found = await until(vain, lambda now: now["gaveUp"], 100)
        assert (found["frames"], found["opens"], found["tries"]) == ([], 1, 4)


@asynccontextmanager
async def another_site() -> AsyncIterator[str]:
    """A real one on this machine: browsers keep pages that come from further off away from loopback."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = b"<!doctype html><link rel=icon href=data:,><title>An app</title>"
        head = f"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


async def test_a_page_of_another_site_with_a_token(site: Site, tabs: Tabs) -> None:
    tabs.expected += NOISE
    token = await asyncio.to_thread(site.make_token)
    await asyncio.to_thread(site.launch, "Customer_Support_Pipeline", "seen elsewhere")
    path = "Customer_Support_Pipeline/seen%20elsewhere"
    async with another_site() as address:
        page = await tabs.open(site, address)
        await watch(page, site, path)  # the person is signed in here, and this is none of our pages
        assert (await until(page, lambda now: now["gaveUp"]))["opens"] == 0
        assert all("Unexpected response code: 403" in one for one in tabs.complaints), tabs.complaints
        await watch(page, site, path, f"?token={token}")
        assert types(await gives_up(page))[-1] == "flow_completed"
        assert "Unexpected response code: 429" in tabs.complaints[-1]
