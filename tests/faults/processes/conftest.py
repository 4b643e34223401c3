"""The fixtures of real processes, and of a browser for the pages among these tests."""

import pytest

from tests.browser.conftest import browser, chromium, tabs
from tests.process.fixtures import deploy, home, postgres, prepared, redis, upstream

pytest.register_assert_rewrite("tests.faults.processes.readers", "tests.process.load")

__all__ = ["browser", "chromium", "deploy", "home", "postgres", "prepared", "redis", "tabs", "upstream"]
