"""A receiver of messages on loopback, and waits that are the same as in earnest, only shorter."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from alerts import delivering, outbox
from tests.outgoing.conftest import tls
from tests.receiver import Receiver
from tests.receiver import receiver as started

__all__ = ["tls"]


@pytest_asyncio.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with started() as made:
        yield made


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    monkeypatch.setattr(delivering, "TURN_SECONDS", 0.05)
    monkeypatch.setattr(delivering, "PAUSE_AFTER_ERROR", 0.1)
    monkeypatch.setattr(outbox, "PAUSES", (0.05,) * 5)
    settings.ALLOW_PRIVATE_UPSTREAMS = True
