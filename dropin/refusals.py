"""Who has got all of a run and need not come again at once.

The upstream's sample client connects again whenever its socket closes, and counts its tries anew whenever one opens.
So it comes for ever, unless some tries in a row fail before they open. Three end it; a client that comes back after
those is more patient, and has to fail twice as often the next time.
"""

import logging

from django.core.cache import caches

FIRST = 3  # tries of the sample client after its last socket has closed
FORGET_SECONDS = 90  # a browser lets hidden pages act but once a minute

logger = logging.getLogger(__name__)


def note(client: str) -> None:
    """This client has just got all there is."""
    try:
        left, size = caches["shared"].get(client, (0, 0))
        size = size if left else 2 * size or FIRST
        caches["shared"].set(client, (left + size, size), FORGET_SECONDS)
    except Exception as error:  # a cache that fails costs a client that comes again, no more
        logger.warning("not noted who has got all of a run: %s: %s", type(error).__name__, error)


def refuses(client: str) -> bool:
    """Whether this try of the client is one of those that must fail; it counts as failed then."""
    try:
        left, size = caches["shared"].get(client, (0, 0))
        if not size:
            return False
        caches["shared"].set(client, (max(0, left - 1), size), FORGET_SECONDS)
    except Exception as error:
        logger.warning("not known who has got all of a run: %s: %s", type(error).__name__, error)
        return False
    return bool(left)
