"""Marks these tests, and gives them the fixtures of real processes."""

from pathlib import Path

import pytest

from tests.process.fixtures import deploy, home, postgres, prepared, redis, upstream

__all__ = ["deploy", "home", "postgres", "prepared", "redis", "upstream"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.process)
