"""The fixtures of real processes, for the tests that start some."""

from tests.process.fixtures import deploy, postgres, prepared, redis, upstream

__all__ = ["deploy", "postgres", "prepared", "redis", "upstream"]
