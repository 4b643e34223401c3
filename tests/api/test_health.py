"""Whether the site is up, and whether it can do its work."""

import json
import shutil
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from channels.layers import InMemoryChannelLayer
from django.db import DatabaseError
from django.test import AsyncClient, Client

from api import health
from runs.models import Worker


@pytest.fixture
def beating(transactional_db: None) -> Worker:
    return Worker.objects.create(name="w", started_at=time.time(), beat_at=time.time())


async def ready() -> tuple[int, dict[str, dict[str, Any]]]:
    answer = await AsyncClient().get("/readyz")
    report = json.loads(answer.content)
    assert report["ready"] == (answer.status_code == 200)
    return answer.status_code, report["checks"]


def test_the_process_answers_without_a_database() -> None:
    answer = Client().get("/healthz")
    assert (answer.status_code, answer.content) == (200, b"ok\n")


async def test_a_site_with_a_beating_worker_is_ready(beating: Worker) -> None:
    status, checks = await ready()
    assert status == 200, checks
    assert sorted(checks) == ["database", "disk", "layer", "worker"]
    assert all(check["ok"] and check["detail"] for check in checks.values())


@pytest.fixture
def silent(transactional_db: None) -> Worker:
    return Worker.objects.create(name="w", started_at=0, beat_at=time.time() - 60)


async def test_a_site_whose_worker_is_silent_is_not_ready(silent: Worker) -> None:
    status, checks = await ready()
    assert status == 503
    assert not checks["worker"]["ok"]


async def test_a_site_without_a_worker_is_not_ready(transactional_db: None) -> None:
    status, checks = await ready()
    assert status == 503
    assert [name for name, check in checks.items() if not check["ok"]] == ["worker"]
    assert "no worker" in checks["worker"]["detail"]


def refuse(error: Exception) -> Callable[..., Any]:
    def fail(*args: Any, **kwargs: Any) -> Any:
        raise error

    return fail


async def test_a_database_that_fails_is_told_without_its_secrets(
    beating: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = SimpleNamespace(cursor=refuse(DatabaseError("postgres://user:pw@host")), vendor="sqlite")
    monkeypatch.setattr(health, "connection", broken)
    status, checks = await ready()
    assert status == 503
    assert not checks["database"]["ok"]
    assert "pw" not in json.dumps(checks)


@pytest.mark.usefixtures("in_memory_layer")
async def test_a_layer_that_carries_nothing_is_told_in_time(beating: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    async def lose(self: Any, channel: str, message: Any) -> None:
        return None

    monkeypatch.setattr(InMemoryChannelLayer, "send", lose)
    monkeypatch.setattr(health, "PATIENCE", 0.2)
    status, checks = await ready()
    assert status == 503
    assert checks["layer"] == {"ok": False, "detail": "no answer within 0.2 seconds"}


@pytest.mark.usefixtures("in_memory_layer")
async def test_a_layer_that_cannot_be_reached_is_told(beating: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(InMemoryChannelLayer, "send", refuse(ConnectionRefusedError("redis://:pw@host")))
    status, checks = await ready()
    assert status == 503
    assert "channel layer" in checks["layer"]["detail"]
    assert "pw" not in json.dumps(checks)


@pytest.mark.parametrize(("vendor", "ok"), [("sqlite", False), ("postgresql", True)])
async def test_a_full_disk_is_told_where_the_database_is_on_it(
    monkeypatch: pytest.MonkeyPatch, vendor: str, ok: bool
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=health.LEAST_SPACE - 1))
    monkeypatch.setattr(health, "connection", SimpleNamespace(vendor=vendor))
    result = await health.outcome(health.disk)
    assert result["ok"] == ok
    assert ok or "63 MiB" in str(result["detail"])
