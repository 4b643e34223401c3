"""Threads that keep a connection each."""

import copy
from typing import Any

import pytest
from django.db import OperationalError, close_old_connections, connection, connections

from runs.threads import database_threads

pytestmark = pytest.mark.skipif(connection.vendor != "postgresql", reason="a pool is there with PostgreSQL only")


def ask(statement: str) -> Any:
    close_old_connections()
    with connection.cursor() as cursor:
        cursor.execute(statement)
        (answer,) = cursor.fetchone()
    close_old_connections()
    return answer


@pytest.fixture
def pooled(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings of a deployment, which have a pool; other tests, and this one's own connection, go without."""
    monkeypatch.setattr(connections["default"], "settings_dict", copy.deepcopy(connection.settings_dict))
    monkeypatch.setitem(connections.settings["default"]["OPTIONS"], "pool", {"min_size": 1})


def test_a_thread_keeps_its_connection_and_replaces_one_that_has_gone_bad(pooled: None) -> None:
    with database_threads(1, "own") as threads:
        first = threads.submit(ask, "SELECT pg_backend_pid()").result()
        assert threads.submit(ask, "SELECT pg_backend_pid()").result() == first
        with connection.copy().cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [first])
        assert threads.submit(ask, "SELECT pg_backend_pid()").result() != first


def test_a_statement_that_takes_too_long_is_ended(pooled: None) -> None:
    with database_threads(1, "own", statement_seconds=1) as threads:
        with pytest.raises(OperationalError, match="statement timeout"):
            threads.submit(ask, "SELECT pg_sleep(60)").result()
        assert threads.submit(ask, "SELECT 1").result() == 1
