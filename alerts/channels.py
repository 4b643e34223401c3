"""What stands in a channel, and what may: its address and secret sealed, so much of them as pages show, and the masking
of everything that comes back from it.
"""

import re
import secrets
from urllib.parse import unquote, urlsplit

import msgspec

from alerts.models import Channel
from outgoing.addresses import Forbidden, check
from outgoing.dialling import check_name
from runs import vault

WEBHOOK_SCHEMES = ("http", "https")
LONGEST_URL = 2000  # characters
LONGEST_ANSWER = 300
SHORTEST_SECRET = 4  # characters of a part of an address that are masked wherever they turn up


class Opened(msgspec.Struct, frozen=True):
    url: str
    secret: str = ""  # of a webhook; signs its requests


def opened(channel: Channel) -> Opened:
    """Raises vault.Unreadable."""
    return msgspec.convert(vault.unseal(channel.sealed), Opened)


def sealed(content: Opened) -> str:
    return vault.seal(msgspec.structs.asdict(content))


def reseal(channel_id: int, before: str, after: str) -> bool:
    """Put the same under another key, unless it was saved anew meanwhile; whether that was done."""
    return bool(Channel.objects.filter(pk=channel_id, sealed=before).update(sealed=after))


def new_secret() -> str:
    return "whsec_" + secrets.token_urlsafe(32)


def check_url(means: str, url: str) -> None:
    """Raises Forbidden, in words for whoever entered it. Looks the name up, so it blocks for a moment."""
    if len(url) > LONGEST_URL:
        raise Forbidden(f"An address has at most {LONGEST_URL} characters")
    if means == Channel.Means.APPRISE:
        from alerts import apprise_service  # noqa: PLC0415  # its plugins take 0.1 s to load, and memory

        apprise_service.check(url)
    else:
        check(url, WEBHOOK_SCHEMES)
        check_name(url)


def hint(means: str, url: str) -> str:
    """What anybody may see of it: scheme and host of a webhook; of an apprise address only the service."""
    parts = urlsplit(url)
    if means == Channel.Means.APPRISE:
        return f"{url.partition('://')[0].lower()[:40]}://••••••••"
    return (
        f"{parts.scheme}://{parts.netloc}/…"[:200]
        if parts.path.strip("/")
        else f"{parts.scheme}://{parts.netloc}"[:200]
    )


def masked(text: str, content: Opened) -> str:
    """A text that came back from the channel, as it may be kept and shown: nothing of its address or secret in it."""
    for part in sorted(_parts(content), key=len, reverse=True):
        text = text.replace(part, "[masked]")
    return " ".join(vault.masker().text(text).replace("\0", "").split())[:LONGEST_ANSWER]


def _parts(content: Opened) -> set[str]:
    """The whole address, and each piece of it that may be a secret: all but its scheme and host."""
    found = {content.url, content.secret}
    rest = content.url.partition("://")[2]
    own = urlsplit(content.url).hostname if content.url.startswith(("http://", "https://")) else ""
    for piece in re.split(r"[/?&=#@:]", rest):
        found |= {piece, unquote(piece)}
    return {part for part in found if len(part) >= SHORTEST_SECRET and part.lower() != own}
