"""One attempt to deliver one message: to a webhook or through apprise, within a time limit, with an answer in words."""

import asyncio
import logging
import time
from functools import partial

import httpx
import msgspec
from channels.db import database_sync_to_async
from django.conf import settings

from alerts import channels, messages, webhook
from alerts.messages import Body
from alerts.models import Channel, Kind
from outgoing.addresses import Forbidden
from runs import vault

GOOD_NEWS = (Kind.RECOVERED.value, "test")

logger = logging.getLogger(__name__)


class Answer(msgspec.Struct, frozen=True):
    """`words` are masked and short, fit for a page."""

    delivered: bool
    words: str


async def send(channel: Channel, key: str, body: Body) -> Answer:
    """Never raises for what may go wrong outside."""
    try:
        content = channels.opened(channel)
    except vault.Unreadable as error:
        return Answer(False, str(error))
    seconds = settings.ALERT_TIMEOUT_SECONDS
    try:
        async with asyncio.timeout(seconds):
            if channel.means == Channel.Means.WEBHOOK:
                answer = await _webhook(content, key, body, seconds)
            else:
                answer = await _apprise(content, body, seconds)
    except TimeoutError:
        answer = Answer(False, f"No answer within {seconds:g} s")
    except Forbidden as forbidden:
        answer = Answer(False, f"Not sent: {forbidden}")
    except Exception as error:  # of a plugin, or of an address that cannot be sent to
        logger.warning("channel %s: %s", channel.pk, type(error).__name__)  # its words may quote the address
        answer = Answer(False, f"Not sent: {type(error).__name__}: {error}")
    masked = database_sync_to_async(channels.masked, thread_sensitive=False)  # it reads the keys of all upstreams
    return Answer(answer.delivered, await masked(answer.words, content))


async def _webhook(content: channels.Opened, key: str, body: Body, seconds: float) -> Answer:
    try:
        status, said = await webhook.post(content.url, content.secret, key, body, int(time.time()), seconds)
    except httpx.TimeoutException:
        return Answer(False, f"No answer within {seconds:g} s")
    except httpx.HTTPError as error:
        return Answer(False, f"No answer: {error or type(error).__name__}")
    words = f"{status}: {said}" if said.strip() else str(status)
    return Answer(200 <= status < 300, f"Answered {words}")


async def _apprise(content: channels.Opened, body: Body, seconds: float) -> Answer:
    from alerts import apprise_service  # noqa: PLC0415  # its plugins take 0.1 s to load, and memory

    title, text = messages.title(body), messages.text(body)
    bad = body["event"] not in GOOD_NEWS
    try:
        trouble = await apprise_service.on_own_thread(
            partial(apprise_service.say, content.url, title, text, bad, seconds)
        )
    except apprise_service.Busy:
        return Answer(False, "Not sent: too many earlier messages still wait for their services")
    return Answer(False, trouble) if trouble else Answer(True, "Taken by the service")
