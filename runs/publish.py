"""The only place that rings. A ring carries no state: who hears it reads the database, and who misses it polls."""

import asyncio
import logging

from channels.layers import BaseChannelLayer, get_channel_layer

RUNS_GROUP = "runs"
WORKER_CHANNEL = "stepline-worker"
# With a layer that does not answer: a request that launches holds a database connection meanwhile.
PATIENCE_SECONDS = 2.0

logger = logging.getLogger(__name__)


def layer() -> BaseChannelLayer:
    """The channel layer; the settings always name one."""
    found = get_channel_layer()
    assert found is not None
    return found


def run_group(run_id: int) -> str:
    return f"run.{run_id}"


async def ring(run_ids: set[int]) -> None:
    """Say that these runs have changed; called after the commit. A layer that fails or hangs costs a poll's delay."""
    try:
        for run_id in run_ids:
            message = {"type": "run.changed", "run": run_id}
            async with asyncio.timeout(PATIENCE_SECONDS):
                await layer().group_send(run_group(run_id), message)
                await layer().group_send(RUNS_GROUP, message)
    except Exception as error:
        logger.warning("doorbell not rung: %s: %s", type(error).__name__, error)


async def poke_workers() -> None:
    """Hint that there is something to claim or to stop; a worker's sweep finds it without the hint, only later."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await layer().send(WORKER_CHANNEL, {"type": "run.queued"})
    except Exception as error:
        logger.warning("worker not poked: %s: %s", type(error).__name__, error)
