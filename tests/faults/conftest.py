"""The ledger of the fault tests, and their table at the end of a run."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from tests.faults import ledger as ledgers
from tests.faults.ledger import Ledger, Row

HERE = Path(__file__).parent
LEDGER = pytest.StashKey[Ledger]()
ROWS = pytest.StashKey[dict[str, Row]]()  # by the test that entered it


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.faults)
            if HERE / "processes" in item.path.parents:
                item.add_marker(pytest.mark.process)


@pytest.fixture
def ledger(request: pytest.FixtureRequest) -> Ledger:
    """Where a fault test enters what it injected and what it found, once."""
    entered = Ledger({"sqlite": "SQLite", "postgresql": "PostgreSQL"}[connection.vendor])
    request.node.stash[LEDGER] = entered
    return entered


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    outcome: Any = yield
    report = outcome.get_result()
    entered = item.stash.get(LEDGER, None)
    if HERE not in item.path.parents or not (report.failed or (entered and entered.row)):
        return
    row = (entered and entered.row) or Row(item.nodeid.partition("::")[2], entered.where if entered else "", 0, 0, 0, 0)
    row.failed = max(row.failed, int(report.failed))
    item.config.stash.setdefault(ROWS, {})[item.nodeid] = row


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    rows = list(config.stash.get(ROWS, {}).values())
    ledgers.keep(rows)
    if rows:
        terminalreporter.section("faults")
        for line in ledgers.table(rows):
            terminalreporter.write_line(line)
