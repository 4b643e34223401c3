"""A doorbell that nobody answers keeps nobody waiting."""

import asyncio
from typing import Any

import pytest

from runs import publish


class Layer:
    """Fails, or says nothing."""

    def __init__(self, error: Exception | None) -> None:
        self.error = error
        self.tried = 0

    async def send(self, *args: Any) -> None:
        self.tried += 1
        if self.error:
            raise self.error
        await asyncio.Event().wait()

    group_send = send


@pytest.mark.parametrize("error", [ConnectionError("gone"), None], ids=["fails", "hangs"])
async def test_a_layer_that_fails_or_hangs_is_told_of_and_passed_over(
    error: Exception | None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    layer = Layer(error)
    monkeypatch.setattr(publish, "layer", lambda: layer)
    monkeypatch.setattr(publish, "PATIENCE_SECONDS", 0.05)
    await publish.ring({1, 2})
    await publish.poke_workers()
    assert layer.tried == 2
    name = type(error or TimeoutError()).__name__
    assert [record.message.split(":")[:2] for record in caplog.records] == [
        ["doorbell not rung", f" {name}"],
        ["worker not poked", f" {name}"],
    ]
