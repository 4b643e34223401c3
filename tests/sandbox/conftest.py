"""Every test here runs a thousand times faster than scripted, and leaves nothing going on."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from sandbox import engine


@pytest.fixture(autouse=True)
def fast(settings: Any) -> None:
    settings.SANDBOX_SPEED = 1000.0
    settings.SANDBOX_REPLAY = "none"
    settings.SANDBOX_ALLOW_API_CALLS = False
    settings.ALLOWED_HOSTS = ["testserver", "127.0.0.1"]


@pytest_asyncio.fixture(autouse=True)
async def stopped_after_the_test() -> AsyncIterator[None]:
    yield
    await engine.shutdown()
