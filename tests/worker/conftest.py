"""A worker of this process, and a scripted upstream for it to follow."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio

from runs import actions, store
from runs.models import Run, Upstream
from runs.upstream import stream
from runs.worker import backstop, launching, supervisor
from runs.worker.db import on_thread
from tests.scripted import ScriptedUpstream, eventually, scripted_upstream


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    """The same waits as in earnest, only shorter."""
    monkeypatch.setattr(stream, "BACKOFF_FIRST", 0.02)
    monkeypatch.setattr(stream, "BACKOFF_MOST", 0.1)
    monkeypatch.setattr(supervisor, "SWEEP_SECONDS", 0.05)
    monkeypatch.setattr(supervisor, "PAUSE_AFTER_ERROR", 0.2)
    monkeypatch.setattr(backstop, "POLL_SECONDS", (0.05, 0.1))
    monkeypatch.setattr(launching, "RETRY_SECONDS", (0.1,))
    settings.LINGER_SECONDS = 0.15


@pytest_asyncio.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with scripted_upstream() as started:
        yield started


@pytest_asyncio.fixture
async def upstream_row(upstream: ScriptedUpstream, transactional_db: None) -> Upstream:
    return await on_thread(
        Upstream.objects.create, name="scripted", api_url=upstream.api_url, socket_url=upstream.socket_url
    )


@pytest_asyncio.fixture
async def worker(transactional_db: None) -> AsyncIterator[supervisor.Supervisor]:
    working = supervisor.Supervisor("test worker")
    task = asyncio.create_task(working.run())
    yield working
    working.stop()
    await task


type Ended = Callable[[Run], Awaitable[Run]]


@pytest.fixture
def ended() -> Ended:
    """Wait until nobody needs to follow the run any more, and give its row."""

    async def wait(run: Run) -> Run:
        async def over() -> bool:
            return await on_thread(Run.objects.filter(pk=run.pk, stream__active=False).exists)

        await eventually(over)
        assert await on_thread(store.rebuild, run.pk) == []
        return await on_thread(Run.objects.get, pk=run.pk)

    return wait


async def launch(upstream: Upstream, definition: dict[str, Any], run_name: str, **more: Any) -> Run:
    return await on_thread(actions.launch, upstream=upstream, definition=definition, run_name=run_name, **more)


async def attach(upstream: Upstream, flow_name: str, run_name: str) -> Run:
    return await on_thread(actions.attach, upstream=upstream, flow_name=flow_name, run_name=run_name)
