"""How many calls a program may make: so many in each minute of the clock, counted in the cache all processes share.

A counter in a window, not a bucket that refills: one atomic step of the cache, the same in one process and in many. At
the turn of a minute a caller may so make twice as many calls in quick succession.
"""

import logging
import time

from django.conf import settings
from django.core.cache import caches

WINDOW = 60  # seconds

logger = logging.getLogger(__name__)


class TooMany(Exception):
    """The caller has had its share; `wait`: seconds until it may call again."""

    def __init__(self, wait: int) -> None:
        super().__init__(
            f"More than {settings.API_CALLS_PER_MINUTE} calls within a minute; the next is answered in {wait} s."
        )
        self.wait = wait


def spend(caller: str) -> None:
    """One call of this caller. Raises TooMany when its share of this minute is used up."""
    if not settings.API_CALLS_PER_MINUTE:
        return
    now = time.time()
    window = int(now // WINDOW)
    key = f"calls-{window}-{caller}"
    try:
        caches["shared"].add(key, 0, 2 * WINDOW)
        made = caches["shared"].incr(key)
    except Exception as error:  # a cache that fails must not stop anybody's work
        logger.warning("calls are not counted: %s: %s", type(error).__name__, error)
        return
    if made > settings.API_CALLS_PER_MINUTE:
        raise TooMany(max(1, int((window + 1) * WINDOW - now) + 1))
