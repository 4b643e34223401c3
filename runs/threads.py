"""Threads that stay and use the database. Each keeps a connection, which is looked at before each use.

The pool is for requests, which come and go. After PostgreSQL was away it lets each caller wait for seconds that double:
longer than a lease lasts.
"""

import asyncio
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

from django.db import close_old_connections, connection, connections

# After so long a thread that computes must let another have the interpreter. By Python's own 5 ms the event loop waits,
# at each of the six or so changes of thread that an event takes, longer than the whole way of the event would.
TURN_SECONDS = 0.0005


def take_short_turns() -> None:
    """For a process whose event loop shares the interpreter with threads that write and draw."""
    sys.setswitchinterval(TURN_SECONDS)


def database_threads(number: int, name: str, *, statement_seconds: int | None = None) -> ThreadPoolExecutor:
    """Threads with a connection each. PostgreSQL ends what takes longer than `statement_seconds`."""
    return ThreadPoolExecutor(number, thread_name_prefix=name, initializer=_keep_one, initargs=(statement_seconds,))


async def on[R](threads: ThreadPoolExecutor, function: Callable[[], R]) -> R:
    """Call a synchronous function of the database there, in the caller's context (see about.py).

    Connections that have gone bad are replaced, not reused.
    """

    def call() -> R:
        close_old_connections()
        try:
            return function()
        finally:
            close_old_connections()

    return await asyncio.get_running_loop().run_in_executor(threads, copy_context().run, call)


def _keep_one(statement_seconds: int | None) -> None:
    if "pool" not in connection.settings_dict["OPTIONS"]:
        return
    own = connection.copy()
    options = own.settings_dict["OPTIONS"]
    del options["pool"]
    if statement_seconds is not None:
        options["options"] = f"{options.get('options', '')} -c statement_timeout={statement_seconds}s".strip()
    own.settings_dict["CONN_MAX_AGE"] = None
    connections[own.alias] = own
