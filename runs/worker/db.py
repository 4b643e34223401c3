"""The database from the worker's loop, on threads of their own: leases never wait behind the loading of runs, and
neither waits behind the writer or a web request.
"""

from collections.abc import Callable
from functools import partial

from runs.threads import database_threads, on

LEASE_STATEMENT_SECONDS = 8  # a renewal that takes longer comes too late

_readers = database_threads(2, "worker-db")
_leases = database_threads(1, "worker-leases", statement_seconds=LEASE_STATEMENT_SECONDS)


async def on_thread[**P, R](function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call a synchronous function of the database; connections that have gone bad are replaced, not reused."""
    return await on(_readers, partial(function, *args, **kwargs))


async def on_lease_thread[**P, R](function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """The same for claiming, renewing and releasing, which must not be late."""
    return await on(_leases, partial(function, *args, **kwargs))
