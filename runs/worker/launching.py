"""One run's launch: when it goes out, what became of it, and the words for that. Nothing here writes to the database:
the follower notes durably that the request goes out before it calls `send`. Times are monotonic seconds.
"""

import asyncio
import time

from django.conf import settings

from runs.core import schema as schemas
from runs.models import Launch, Run
from runs.upstream import api, stream
from runs.worker.backstop import nth

RETRY_SECONDS = (1.0, 2.0, 4.0, 8.0, 15.0)  # between tries to reach the upstream; the last one repeats


class Launching:
    """`wanted` while it has still to be sent, `request` while it is on its way."""

    def __init__(self, run: Run, launch: Launch | None) -> None:
        self.wanted = launch is not None and launch.sent_at is None
        self.request: asyncio.Task[str] | None = None
        self.hopeless_at: float | None = None  # an unconfirmed launch of which nothing has come by then
        self._run = run
        self._at = time.monotonic() + stream.CONNECT_SECONDS
        self._until = time.monotonic() + settings.LAUNCH_DEADLINE_SECONDS
        self._tries = 0

    def due(self) -> float | None:
        return self._at if self.wanted and self.request is None else None

    def now(self) -> None:
        """The socket stands: there is no more to wait for."""
        self._at = min(self._at, time.monotonic())

    def without_socket(self) -> None:
        """The socket does not stand. The first try does not wait for it; a further one keeps its pause."""
        if not self._tries:
            self.now()

    def forgo(self) -> None:
        """A run of this name goes on already: launching would mix two into one."""
        self.wanted = False

    def send(self, key: str, body: dict[str, object]) -> None:
        """`body`: as it was sealed, with the input_schema that a retry is checked by and the upstream does not know."""
        self.wanted = False
        self._tries += 1
        self.request = asyncio.create_task(api.run_dag(self._run.upstream.api_url, key, schemas.without(body)))

    def again(self) -> bool:
        """The request did not reach the upstream: try again after a pause. False when it was tried for long enough."""
        if time.monotonic() >= self._until:
            return False
        self.wanted = True
        self._at = time.monotonic() + nth(RETRY_SECONDS, self._tries - 1)
        return True

    def unconfirmed(self) -> None:
        """Nobody knows whether it reached the upstream: it is never sent again, and events are waited for."""
        self.hopeless_at = time.monotonic() + settings.LAUNCH_DEADLINE_SECONDS


# --- the words ------------------------------------------------------------------------------------------------------


def refused(status: int, words: str) -> str:
    return f"The upstream refused the launch ({status}): {words}. Nothing was started."


def refused_and_begun(status: int, words: str) -> str:
    return f"The upstream answered the launch with {status} ({words}), and events came all the same."


def not_allowed(where: str, why: str) -> str:
    return f"Requests may not go to {where}: {why}. Nothing was launched."


def unreachable(where: str, why: str) -> str:
    return f"The upstream at {where} cannot be reached ({why}). Nothing was launched yet; trying again."


def given_up(where: str, why: str) -> str:
    return (
        f"The upstream at {where} could not be reached ({why}). Nothing was launched. Check that it is up and that its "
        "address is right, then launch again."
    )


def begun_before(run_name: str) -> str:
    return (
        f"Events of a run named {run_name} came before it was launched here, so nothing was launched: somebody else "
        "has used this name. What they started is followed; launch yours again under another run name."
    )


def unconfirmed(why: str) -> str:
    return (
        f"{Run.UNCONFIRMED}: {why}. The run may have begun, so it is followed and the request is not sent again. If "
        "nothing comes, launch it anew under another run name."
    )
