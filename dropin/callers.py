"""Who calls: by a token where one is sent, else by the session of the pages."""

import base64
import binascii
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass

from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import CsrfViewMiddleware

from accounts import limits, signin, tokens
from accounts.models import User, allows

OURS = "stl_"  # how our tokens begin


class Denied(Exception):
    """`status` is an HTTP status; a socket that is open already is closed with 4000 more than that."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


NOBODY = Denied(401, "Sign in, or send a token: 'manage.py create_token USER --role ROLE' makes one.")
BAD_TOKEN = Denied(401, "The token is unknown, expired or revoked, or its user is disabled.")


@dataclass(frozen=True)
class Caller:
    """`role` is what this call may do: a token's may be lower than its user's."""

    user: User
    role: str


def sent_token(headers: Mapping[str, str]) -> str | None:
    """The text that stands where a token is sent; None where nothing does. `headers` by names in lower case.

    Beside a bearer header: the header in which clients of the upstream send its key, and a token written into the
    address itself, https://TOKEN@host, which arrives as Basic. Other Basic credentials are a proxy's affair.
    """
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return credentials.strip()
    if scheme.lower() == "basic":
        with contextlib.suppress(binascii.Error, UnicodeDecodeError):
            name, _, password = base64.b64decode(credentials.strip(), validate=True).decode().partition(":")
            for text in (password, name):
                if text.startswith(OURS):
                    return text
    return headers["x-api-key"].strip() if "x-api-key" in headers else None


def _no_view(request: HttpRequest) -> HttpResponse:
    return HttpResponse()


class _CsrfCheck(CsrfViewMiddleware):
    def _reject(self, request: HttpRequest, reason: str) -> HttpResponse:
        return HttpResponse(reason, status=403)


def caller_of(request: HttpRequest, needed: str) -> Caller:
    """Raises Denied, or limits.TooMany. A browser adds its session's cookie to whatever any page sends, so that needs
    the CSRF header, too; a token is sent by nobody who does not mean to.
    """
    text = sent_token({name.lower(): value for name, value in request.headers.items()})
    if text is not None:
        # Nobody who sends a token means to be let in by a cookie instead.
        found = tokens.authenticate(text)
        if found is None:
            raise BAD_TOKEN
        caller = Caller(*found)
    elif isinstance(request.user, User):
        caller = Caller(request.user, request.user.role)
        signin.used(request, caller.user)
        check = _CsrfCheck(_no_view)
        check.process_request(request)
        if check.process_view(request, _no_view, (), {}):
            raise Denied(403, "A call with the session's cookie needs the header X-CSRFToken; a program sends a token.")
    else:
        raise NOBODY
    limits.spend(f"user-{caller.user.pk}")
    if not allows(caller.role, needed):
        raise Denied(403, f"This call needs the role {needed}; {caller.user.username} calls as {caller.role}.")
    return caller
