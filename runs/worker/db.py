"""The database from the worker's loop, on threads of their own: leases never wait behind the loading of runs, and
neither waits behind the writer or a web request.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from django.db import close_old_connections

_readers = ThreadPoolExecutor(2, thread_name_prefix="worker-db")
_leases = ThreadPoolExecutor(1, thread_name_prefix="worker-leases")


async def on_thread[**P, R](function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call a synchronous function of the database; connections that have gone bad are replaced, not reused."""
    return await _call(_readers, partial(function, *args, **kwargs))


async def on_lease_thread[**P, R](function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """The same for claiming, renewing and releasing, which must not be late."""
    return await _call(_leases, partial(function, *args, **kwargs))


async def _call[R](threads: ThreadPoolExecutor, function: Callable[[], R]) -> R:
    def call() -> R:
        close_old_connections()
        try:
            return function()
        finally:
            close_old_connections()

    return await asyncio.get_running_loop().run_in_executor(threads, call)
