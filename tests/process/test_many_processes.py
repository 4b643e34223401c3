"""PostgreSQL, Redis, a site and two workers as they are meant to end. How they die is in tests/faults/processes/."""

import pytest

from tests.process.fixtures import MakeHome
from tests.process.load import Load
from tests.process.programs import start
from tests.scripted import ScriptedUpstream, eventually
from tests.servers import followed

pytestmark = pytest.mark.postgres


async def test_a_worker_that_is_told_to_end_hands_over_to_the_others(
    deploy: MakeHome, upstream: ScriptedUpstream
) -> None:
    home = deploy()
    load = Load(upstream, rate=60, runs=10, events=62)
    ((_, api),), workers = await start(home, webs=1, workers=2)
    by_pid = {worker.process.pid: worker for worker in workers}
    async with load.going(api):

        async def at_work() -> list[int]:
            return [pid for pid, runs in followed(home.database).items() if load.sent > 30 and len(runs) >= 3]

        first = by_pid[(await eventually(at_work, pause=0.1))[0]]
        first.terminate()
        assert await first.ended(25) == 0
    assert "Traceback" not in first.said()
    found = await load.count(home, api)
    assert (found.lost, found.doubled, found.unlaunched) == (0, 0, 0)
    assert any(run["gaps"] for run in found.runs), "it had followed nothing"
