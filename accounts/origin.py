"""Where a deed comes from: a page or the API, at which address, with which token; else a command. For the log alone:
nothing is allowed or refused by it, but for the address that the throttle of sign-ins counts by.
"""

import getpass
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.conf import settings
from django.http import HttpRequest, HttpResponseBase
from django.utils.decorators import sync_and_async_middleware

from accounts.models import AuditEntry

API = ("/api/", "/run-dag/", "/task-status/")


@dataclass
class Origin:
    via: str
    place: str
    token: str = ""


_origin: ContextVar[Origin | None] = ContextVar("origin", default=None)


def current() -> Origin:
    """The request that is being answered; outside of one, the account that runs this command."""
    return _origin.get() or Origin(AuditEntry.Via.COMMAND, f"{_account()}@{socket.gethostname()}"[:100])


def _account() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's number without a name
        return "?"


def with_token(prefix: str) -> None:
    """The request that is being answered came with this token."""
    if origin := _origin.get():
        origin.token = prefix


def address_of(request: HttpRequest) -> str | None:
    """The client's IP address. X-Forwarded-For counts only as far as our own proxies wrote it (TRUSTED_PROXIES)."""
    found = request.META.get("REMOTE_ADDR", "")
    if settings.TRUSTED_PROXIES:
        hops = [hop.strip() for hop in request.headers.get("X-Forwarded-For", "").split(",")]
        found = hops[-settings.TRUSTED_PROXIES] if len(hops) >= settings.TRUSTED_PROXIES else found
    try:
        return str(ipaddress.ip_address(found))
    except ValueError:
        return None


@contextmanager
def _coming(request: HttpRequest) -> Iterator[None]:
    via = AuditEntry.Via.API if request.path.startswith(API) else AuditEntry.Via.PAGE
    token = _origin.set(Origin(via, address_of(request) or ""))
    try:
        yield
    finally:
        _origin.reset(token)


@sync_and_async_middleware
def middleware(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    if iscoroutinefunction(get_response):

        async def asynchronous(request: HttpRequest) -> HttpResponseBase:
            with _coming(request):
                answer: Awaitable[HttpResponseBase] = get_response(request)
                return await answer

        return asynchronous

    def synchronous(request: HttpRequest) -> HttpResponseBase:
        with _coming(request):
            answer: HttpResponseBase = get_response(request)
            return answer

    return synchronous
