"""Asks task-status about a run while its stream says nothing. That a run is over it believes only of two answers in a
row: the stream's own word may be on its way. Times are monotonic seconds.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

from django.conf import settings

from runs.core.state import STATUS_REPORT_OUTCOME
from runs.upstream.api import Status

QUIET_SECONDS = 60.0  # without an event, and the backstop asks
POLL_SECONDS = (5.0, 10.0, 20.0, 40.0, 60.0)  # between its questions; the last one repeats


def nth(pauses: tuple[float, ...], n: int) -> float:
    """The nth pause from 0; the last one repeats."""
    return pauses[min(n, len(pauses) - 1)]


class Backstop:
    """The questions about one run; `ask` sends one. Without a `task_id` there is nothing to ask for."""

    def __init__(self, ask: Callable[[str], Awaitable[Status | None]], task_id: str) -> None:
        self.task_id = task_id
        self.asking: asyncio.Task[Status | None] | None = None
        self._ask = ask
        self._at = time.monotonic() + QUIET_SECONDS
        self._asked = 0  # since the last event
        self._over: Status | None = None  # the last answer, where it said that the run is over

    def due(self) -> float | None:
        """When the next question goes out; None while one is on its way or there is nothing to ask for."""
        return self._at if self.task_id and self.asking is None else None

    def ask(self) -> None:
        self.asking = asyncio.ensure_future(self._ask(self.task_id))

    def soon(self) -> None:
        """Something has happened to the connection: do not wait until the stream has been quiet for long."""
        self._at = min(self._at, time.monotonic() + POLL_SECONDS[0])

    def heard(self) -> None:
        """The stream speaks for itself."""
        self._at, self._asked = time.monotonic() + QUIET_SECONDS, 0

    def hear(self) -> tuple[Status | None, bool]:
        """The answer that has come, None for no usable one, and whether it is believed that the run is over."""
        assert self.asking is not None
        answer, self.asking = self.asking.result(), None
        before, self._over = self._over, None
        if answer is None or answer.status not in STATUS_REPORT_OUTCOME:
            self._at = time.monotonic() + nth(POLL_SECONDS, self._asked)
            self._asked += 1
            return answer, False
        self._over, self._at = answer, time.monotonic() + settings.LINGER_SECONDS
        return answer, before is not None
