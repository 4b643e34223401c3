"""A receiver of traces, and waits that are the same as in earnest, only shorter."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from telemetry import outbox, sending
from tests.receiver import Receiver
from tests.receiver import receiver as started


@pytest_asyncio.fixture
async def receiver(settings: Any) -> AsyncIterator[Receiver]:
    async with started() as made:
        made.words = ""
        settings.OTEL_EXPORTER_OTLP_ENDPOINT = f"http://127.0.0.1:{made.port}"
        yield made


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "TURN_SECONDS", 0.05)
    monkeypatch.setattr(sending, "PAUSE_AFTER_ERROR", 0.1)
    monkeypatch.setattr(outbox, "PAUSES", (0.05,))
