"""Apprise: a hundred services behind one form of address. It blocks, so every call of it runs on a thread of its own.

It makes its own connections: the hosts that an address names are checked before, redirects and templates are off, and
services of this very machine are refused.
"""

import asyncio
import logging
import threading
from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import apprise
from apprise.conversion import convert_between

from outgoing.addresses import Forbidden, check_host, private_allowed
from outgoing.dialling import check_name

MOST_THREADS = 8  # one that hangs beyond its time keeps its place until it ends

# What shows a window, writes to a device or to the log of the machine that Stepline runs on.
LOCAL = frozenset("blink1 dbus gio glib gnome kde macosx qt syslog windows".split())

# Plugins that ask a directory, or the people addressed, for the host to send to.
ASK_WHERE = frozenset({"NotifyBlueSky", "NotifyNostr"})

_free = threading.BoundedSemaphore(MOST_THREADS)


def _asset(seconds: float) -> apprise.AppriseAsset:
    return apprise.AppriseAsset(
        app_id="Stepline",
        app_desc="Stepline",
        app_url="",
        async_mode=False,
        http_redirects=False,
        allow_templates=False,
        pgp_autogen=False,
        pem_autogen=False,
        storage_mode="memory",
        service_timeout=seconds,
    )


def check(url: str) -> None:
    """Raises Forbidden, in words for whoever entered it, unless apprise may be given this address."""
    _service(url, 1.0)


def _service(url: str, seconds: float) -> Any:
    scheme = url.partition("://")[0].strip().lower()
    if scheme in LOCAL:
        raise Forbidden(f"{scheme}:// is of no use here: it would speak on the machine that Stepline runs on")
    try:
        service = apprise.Apprise.instantiate(url, asset=_asset(seconds), suppress_exceptions=True)
    except Exception:  # a plugin that stumbles over what was entered; its words may quote it
        service = None
    if service is None:
        raise Forbidden("Apprise knows no service by this address, or something is missing in it")
    if service.redirects:
        raise Forbidden("Redirects cannot be turned on: leave redirect= out of the address")
    if _asks_where(service) and not private_allowed():
        raise Forbidden(
            "This service asks elsewhere which host to send to, and that may be any host. For Matrix, name the "
            "homeserver itself and add discovery=no"
        )
    for host in _hosts(service):
        check_host(host, 443)
        check_name(f"https://{f'[{host}]' if ':' in host else host}/")
    return service


def _asks_where(service: Any) -> bool:
    """Whether its plugin sends to a host that some answer names, which nothing here can check before."""
    return type(service).__name__ in ASK_WHERE or bool(getattr(service, "discovery", False) and service.secure)


def _hosts(service: Any) -> set[str]:
    """The hosts that the address itself names. That of a cloud service stands in its plugin and is not among them."""
    found = {str(service.host)} if service.host and any("{host}" in form for form in service.templates) else set()
    for name, value in vars(service).items():
        if isinstance(value, str) and value:
            if name in ("smtp_host", "hostname", "api_host", "notify_host", "gateway"):
                found.add(value)
            elif value.startswith(("http://", "https://", "ws://", "wss://")):
                found.add(urlsplit(value).hostname or "")
    return {host.strip("[]") for host in found} - {""}


def say(url: str, title: str, text: str, bad: bool, seconds: float) -> str:
    """Blocks. '' when the service took it, else what it said, unmasked. Raises Forbidden."""
    service = _service(url, seconds)
    form = apprise.NotifyFormat.TEXT
    if service.resolve_format(form) == apprise.NotifyFormat.MARKDOWN:
        title, text, form = *_markdown(service, title, text), apprise.NotifyFormat.MARKDOWN
    speaker = apprise.Apprise(asset=service.asset)
    speaker.add(service)
    result = speaker.notify(
        title=title,
        body=text,
        notify_type=apprise.NotifyType.FAILURE if bad else apprise.NotifyType.SUCCESS,
        body_format=form,
        timeout=seconds,
        log_level=logging.DEBUG,
    )
    if result:
        return ""
    # Plugins warn that it went wrong, and say why at DEBUG.
    said = [(entry.level, str(entry.message)) for entry in result.logs()]
    words = " ".join(
        words for level, words in said if level not in ("DEBUG", "INFO") or words.startswith("Socket Exception")
    )
    return words or f"no success ({result.status.name.lower()}), and nothing said why"


def _markdown(service: Any, title: str, text: str) -> tuple[str, str]:
    """Both for a service that knows Markdown alone. Apprise would escape the link in the last line and so break it."""
    words, _, link = text.rpartition("\n")
    escaped = partial(convert_between, apprise.NotifyFormat.TEXT, apprise.NotifyFormat.MARKDOWN)
    paragraphs = escaped(words).replace("\n", "\n\n")  # Markdown takes a single line break for a blank
    # A title of its own is shown as it is; one that has no place becomes part of the text.
    return title if service.title_maxlen > 0 else escaped(title), f"{paragraphs}\n\n[{link}]({link})"


class Busy(Exception):
    """Every thread is taken by a call that does not come back."""


async def on_own_thread[T](call: Callable[[], T]) -> T:
    """What it gives or raises. Cancelled, the thread is left to itself: it ends when its sockets time out."""
    if not _free.acquire(blocking=False):
        raise Busy
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(settled: Callable[[Any], None], what: Any) -> None:
        if not done.done():
            settled(what)

    def work() -> None:
        try:
            outcome: tuple[Callable[[Any], None], Any] = (done.set_result, call())
        except BaseException as error:
            outcome = (done.set_exception, error)
        finally:
            _free.release()
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, *outcome)

    threading.Thread(target=work, name="apprise", daemon=True).start()
    return await done
