"""Who calls: a bearer token, or a session that was signed in on the pages (with the CSRF header)."""

from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from ninja.security import APIKeyCookie, HttpBearer

from accounts import limits, origin, signin, tokens
from accounts.models import Role, User, allows
from api.problems import Problem, unauthorized


@dataclass(frozen=True)
class Caller:
    """`role` is what this call may do: a token's may be lower than its user's."""

    user: User
    role: str

    def needs(self, role: str) -> "Caller":
        if not allows(self.role, role):
            raise Problem(
                403,
                "role",
                f"This call needs the role {role}; {self.user.username} calls as {self.role}. "
                "Ask an administrator for a token with that role.",
            )
        return self


class BearerToken(HttpBearer):
    def __init__(self, role: str) -> None:
        super().__init__()
        self.role = role

    def authenticate(self, request: HttpRequest, token: str) -> Caller:
        found = tokens.authenticate(token.strip())
        if found is None:
            limits.spend(f"address-{origin.address_of(request)}")
            # Nobody who sends a token means to be let in by a cookie instead.
            raise unauthorized("The token is unknown, expired or revoked, or its user is disabled.")
        limits.spend(f"user-{found[0].pk}")
        return Caller(*found).needs(self.role)


class SignedIn(APIKeyCookie):
    param_name = settings.SESSION_COOKIE_NAME

    def __init__(self, role: str) -> None:
        super().__init__(csrf=True)
        self.role = role

    def __call__(self, request: HttpRequest) -> Any:
        # First who, then the CSRF check: without a session the answer is 401, not a failed check.
        return super().__call__(request) if isinstance(request.user, User) else None

    def authenticate(self, request: HttpRequest, key: str | None) -> Caller | None:
        user = request.user
        if not isinstance(user, User):
            return None
        signin.used(request, user)
        limits.spend(f"user-{user.pk}")
        return Caller(user, user.role).needs(self.role)


VIEWER = [BearerToken(Role.VIEWER), SignedIn(Role.VIEWER)]
OPERATOR = [BearerToken(Role.OPERATOR), SignedIn(Role.OPERATOR)]
ADMIN = [BearerToken(Role.ADMIN), SignedIn(Role.ADMIN)]


def caller(request: HttpRequest) -> User:
    """The user of an authenticated call."""
    auth = getattr(request, "auth", None)
    assert isinstance(auth, Caller)
    return auth.user
