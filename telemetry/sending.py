"""The part of a worker that sends traces: takes up runs that have ended, sends each over OTLP, notes what came of it.

It runs beside the supervisor, on the same loop, with a database thread of its own: no follower waits for it. The
address is the environment's and no user's, so it is called as it stands, on this machine, too.
"""

import asyncio
import logging
import ssl
from collections.abc import Callable
from functools import partial
from itertools import batched
from typing import Final

import httpx
from django.conf import settings
from google.protobuf.message import DecodeError
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.trace import ReadableSpan

from runs import about
from runs.models import Run
from runs.threads import database_threads, on
from telemetry import outbox
from telemetry.outbox import Claimed
from telemetry.spans import spans

TURN_SECONDS = 1.0
AT_ONCE: Final = 8  # traces of one worker at the same time
SPANS_AT_ONCE: Final = 512  # in one request: what collectors take without being told
ANSWER_SECONDS = 10.0  # for one request
TRACE_SECONDS = 45.0  # for all of a trace, which may be many; less than the lease of it
DRAIN_SECONDS = 8.0  # a worker that ends waits so long for answers
PAUSE_AFTER_ERROR = 5.0
WORDS: Final = 200  # characters of an answer that are kept
# The receiver cannot read what it got, and would not the next time. Any other answer may change with its settings.
REFUSALS: Final = (400, 413, 415, 422)

logger = logging.getLogger(__name__)

_database = database_threads(1, "traces-db")


class NotTaken(Exception):
    """The receiver has not taken a trace; the message says why. `for_ever`: it would not take the same again."""

    def __init__(self, why: str, *, for_ever: bool = False) -> None:
        super().__init__(why)
        self.for_ever = for_ever


async def _call[T](function: Callable[[], T]) -> T:
    return await on(_database, function)


class TraceSender:
    """One worker's traces. `run` until `stop` was called."""

    def __init__(self, name: str, site: str) -> None:
        """`site`: where people find the pages, without a slash at the end."""
        self.name = name
        self._site = site
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        self._stopping.set()

    async def run(self) -> None:
        about.say(worker=self.name)
        stopping = asyncio.create_task(self._stopping.wait())
        # The system's certificates, and those that SSL_CERT_FILE names: a receiver is often a private one.
        async with httpx.AsyncClient(
            trust_env=False, verify=ssl.create_default_context(), timeout=ANSWER_SECONDS
        ) as client:
            while not self._stopping.is_set():
                turn = asyncio.create_task(self._safe_turn(client))
                await asyncio.wait({turn, stopping}, return_when=asyncio.FIRST_COMPLETED)
                if not turn.done():
                    await asyncio.wait({turn}, timeout=DRAIN_SECONDS)
                    turn.cancel()
                    await asyncio.gather(turn, return_exceptions=True)
                elif pause := turn.result():
                    await asyncio.wait({stopping}, timeout=pause)

    async def _safe_turn(self, client: httpx.AsyncClient) -> float:
        try:
            return await self.turn(client)
        except Exception as error:  # the database is away, as a rule
            logger.warning("traces: %s: %s", type(error).__name__, error)
            return PAUSE_AFTER_ERROR

    async def turn(self, client: httpx.AsyncClient) -> float:
        """Send what is due, some of it. Returns the seconds until the next turn; 0: there may be more."""
        claims = await _call(partial(outbox.claim, self.name, AT_ONCE))
        if not claims:
            return TURN_SECONDS
        await asyncio.gather(*(self._send(client, claimed) for claimed in claims))
        return 0.0

    async def _send(self, client: httpx.AsyncClient, claimed: Claimed) -> None:
        about.say(run=claimed.run_id)
        try:
            async with asyncio.timeout(TRACE_SECONDS):
                await send(client, await _call(partial(spans, claimed.run_id, self._site)))
        except Run.DoesNotExist:
            return  # and so is its row
        except asyncio.CancelledError:
            await _call(partial(outbox.give_back, claimed))
            raise
        except NotTaken as error:
            if error.for_ever:
                logger.error("trace of run %s refused: %s", claimed.run_id, error)
                await _call(partial(outbox.note_refused, claimed, str(error)))
                return
            await self._failed(claimed, str(error))
        except Exception as error:
            await self._failed(claimed, f"{type(error).__name__}: {error}")
        else:
            await _call(partial(outbox.note_sent, claimed))

    async def _failed(self, claimed: Claimed, why: str) -> None:
        pause = await _call(partial(outbox.note_failed, claimed, why))
        logger.warning(
            "trace of run %s not sent, attempt %s, next in %g s: %s",
            claimed.run_id,
            claimed.attempt,
            pause,
            why,
        )


async def send(client: httpx.AsyncClient, trace: list[ReadableSpan]) -> None:
    """All spans of one trace, in as many requests as it takes. Raises NotTaken."""
    for some in batched(trace, SPANS_AT_ONCE):
        try:
            answer = await client.post(
                f"{settings.OTEL_EXPORTER_OTLP_ENDPOINT}/v1/traces",
                content=encode_spans(some).SerializeToString(),
                headers={**settings.OTEL_EXPORTER_OTLP_HEADERS, "content-type": "application/x-protobuf"},
            )
        except httpx.TimeoutException:
            raise NotTaken(f"no answer within {ANSWER_SECONDS:g} s") from None
        except httpx.HTTPError as error:
            raise NotTaken(f"no answer: {error or type(error).__name__}") from None
        if not answer.is_success:
            words = f"answered {answer.status_code}: {answer.text[:WORDS]}".rstrip(": ")
            raise NotTaken(words, for_ever=answer.status_code in REFUSALS)
        _look_into(answer)


def _look_into(answer: httpx.Response) -> None:
    """A receiver may answer 200 and have dropped spans all the same; it asks not to be sent them again."""
    try:
        partial_success = ExportTraceServiceResponse.FromString(answer.content).partial_success
    except DecodeError:
        return  # it took them, whatever else it says
    if partial_success.rejected_spans:
        words = partial_success.error_message[:WORDS]
        raise NotTaken(f"{partial_success.rejected_spans} spans dropped: {words}", for_ever=True)
