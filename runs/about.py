"""What the log lines of a piece of work are about: said once where it begins, and written into each line for machines.

Each task of asyncio has its own, and hands a copy to those that it starts.
"""

from contextvars import ContextVar

type Value = str | int

_about: ContextVar[dict[str, Value]] = ContextVar("about", default={})  # noqa: B039  # never changed in place


def say(**fields: Value) -> None:
    """From here on lines are about this, too: worker, run, flow, run_name."""
    _about.set({**_about.get(), **fields})


def said() -> dict[str, Value]:
    return _about.get()
