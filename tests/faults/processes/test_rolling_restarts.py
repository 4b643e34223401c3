"""An update as an operator does it: every process is told to end and started anew, one after the other."""

import asyncio
from types import SimpleNamespace

import httpx
import pytest

from tests.browser.conftest import Tabs
from tests.browser.looking import ends, like_a_fresh_page, live
from tests.faults.ledger import FULL, Ledger
from tests.faults.processes.readers import signed_in
from tests.process.fixtures import MakeHome
from tests.process.load import Load
from tests.process.programs import start
from tests.scripted import ScriptedUpstream, eventually

pytestmark = [
    pytest.mark.postgres,
    pytest.mark.browser,
    pytest.mark.skipif(not FULL, reason="ten browser pages under load: minutes, in make test-faults"),
]


# How often an event was received: a page that has the event is not sent it again when the count goes up.
RECEIPTS = '#log .e-flag[title^="received"]'


@pytest.mark.timeout(900)
async def test_rolling_restarts_under_load_lose_nothing_and_the_pages_follow(
    deploy: MakeHome, upstream: ScriptedUpstream, tabs: Tabs, ledger: Ledger
) -> None:
    ledger.where, rounds, pages = "PostgreSQL + Redis", 2, 10
    home = deploy()
    load = Load(upstream, rate=200, runs=60, events=180)
    sites, workers = await start(home, webs=2, workers=2)
    apis = [api for _, api in sites]
    cookies = await signed_in(home, apis[0].port)
    doors = [
        SimpleNamespace(url=url, client=httpx.Client(base_url=url, cookies=cookies, trust_env=False))
        for url in (f"http://127.0.0.1:{api.port}" for api in apis)
    ]
    tabs.expected += ["WebSocket connection", "ERR_CONNECTION_REFUSED", "htmx:ws:error"]
    codes: list[int] = []
    async with load.going(*apis):
        await eventually(lambda: asyncio.sleep(0, load.sent > 2 * load.runs), 60)
        runs = [run["id"] for run in await apis[0].runs()][:pages]
        watching = [await tabs.open(doors[place % 2], f"/runs/{run_id}/") for place, run_id in enumerate(runs)]
        for page in watching:
            await live(page)
        for number in range(rounds):
            for place in range(2):
                workers[place].terminate()
                codes.append(await workers[place].ended(60))
                workers[place] = home.start("worker", log=f"worker-{place}-{number}.log")
                await workers[place].until_it_says("starts")
                program, api = sites[place]
                program.terminate()
                codes.append(await program.ended(60))
                sites[place] = await home.serve("--no-worker", port=api.port, log=f"web-{place}-{number}.log")
    found = await load.count(home, apis[0], 200)
    for place, page in enumerate(watching):
        await ends(page, "succeeded", 60)
        await like_a_fresh_page(tabs, doors[place % 2], page, but=RECEIPTS)
    assert codes == [0] * 4 * rounds, "one did not end in order"
    assert found.unlaunched == 0
    ledger.enter("rolling restarts", times=4 * rounds, injected=len(codes), lost=found.lost, doubled=found.doubled)
