"""Log lines are masked as they are written, in both formats, whoever wrote them."""

import asyncio
import json
import logging
import secrets
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import RequestFactory

from dashboard import logs
from runs import about
from tests.core.test_redact import BY_VALUE, core

CANARY = "hunter2-Canary7742"


@pytest.fixture(autouse=True)
def fresh(settings: Any) -> Iterator[None]:
    settings.UPSTREAM_API_KEY = "configured-Canary-9931"
    logs._masker.cache_clear()
    yield
    logs._masker.cache_clear()


def record(message: str, *arguments: Any) -> logging.LogRecord:
    try:
        raise ValueError(f"bad row: password={CANARY}")
    except ValueError as error:
        return logging.LogRecord(
            "runs", logging.ERROR, __file__, 1, message, arguments, (ValueError, error, error.__traceback__)
        )


@pytest.mark.parametrize("formatter", [logs.ConsoleFormatter("%(name)s %(message)s"), logs.JsonFormatter()])
@pytest.mark.parametrize("kind", [kind for kind in BY_VALUE if kind != "known"])  # known to maskers of frames
def test_no_secret_is_logged(formatter: logging.Formatter, kind: str) -> None:
    line = formatter.format(record("away: %s with token=%s", BY_VALUE[kind], CANARY))
    assert CANARY not in line
    assert core(kind) not in line
    assert json.dumps(core(kind))[1:-1] not in line
    assert "away: " in line
    assert "Traceback" in line


@pytest.mark.parametrize("formatter", [logs.ConsoleFormatter("%(name)s %(message)s"), logs.JsonFormatter()])
def test_the_keys_of_the_environment_are_not_logged(formatter: logging.Formatter, settings: Any) -> None:
    line = formatter.format(record("%s %s %s", settings.UPSTREAM_API_KEY, settings.SECRET_KEY, settings.FERNET_KEYS[0]))
    for secret in (settings.UPSTREAM_API_KEY, settings.SECRET_KEY, settings.FERNET_KEYS[0]):
        assert secret not in line


@pytest.mark.parametrize("formatter", [logs.ConsoleFormatter("%(name)s %(message)s"), logs.JsonFormatter()])
def test_the_text_of_a_link_is_not_logged(formatter: logging.Formatter) -> None:
    text = secrets.token_urlsafe(32)
    for address in (f"/s/{text}/", f"/s/{text}/events/1/", f"/live/s/{text}/embed/"):
        told = record("Internal Server Error: %s", address)
        told.request = RequestFactory().get(address)
        line = formatter.format(told)
        assert text not in line
        assert "Internal Server Error: " in line


def test_a_line_for_machines_is_one_object() -> None:
    entry = json.loads(logs.JsonFormatter().format(record("run %s: away", 7)))
    assert entry["message"] == "run 7: away"
    assert (entry["level"], entry["logger"]) == ("error", "runs")
    assert set(entry) == {"time", "level", "logger", "message", "traceback"}


def line(message: str = "x", **extra: Any) -> dict[str, Any]:
    made = logging.getLogger("runs").makeRecord("runs", logging.INFO, __file__, 1, message, (), None, extra=extra)
    found: dict[str, Any] = json.loads(logs.JsonFormatter().format(made))
    return found


async def test_a_line_says_what_it_is_about_where_the_work_that_writes_it_has_said_so() -> None:
    async def follow(number: int) -> dict[str, Any]:
        about.say(run=number, flow=f"flow token={CANARY}")
        await asyncio.sleep(0)
        return line()

    async def work() -> list[dict[str, Any]]:
        about.say(worker="host:1:abc")
        return await asyncio.gather(follow(1), follow(2), asyncio.to_thread(line))

    first, second, other = await asyncio.create_task(work())
    assert [(one["worker"], one.get("run")) for one in (first, second, other)] == [
        ("host:1:abc", 1),
        ("host:1:abc", 2),
        ("host:1:abc", None),
    ]
    assert first["flow"].startswith("flow token=")
    assert CANARY not in first["flow"]
    assert line(run=7)["run"] == 7
    assert "run" not in line(), "what one task says holds for itself alone"


def test_what_ends_the_process_is_a_line_too(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    try:
        logs.all_in_lines()
        error = ValueError("no more")
        sys.excepthook(ValueError, error, None)
    finally:
        logging.captureWarnings(False)
    (record,) = caplog.records
    entry = json.loads(logs.JsonFormatter().format(record))
    assert (entry["level"], entry["message"]) == ("critical", "ended by ValueError: no more")
    assert "ValueError: no more" in entry["traceback"]
