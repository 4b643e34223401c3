"""API tokens: making and revoking them, and who a program is that sends one."""

from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from accounts import audit, origin
from accounts.models import Deed, Token, User

LONGEST = 200  # characters; ours have 47, and nothing longer is worth hashing
NOTED_EVERY = timedelta(minutes=1)  # the last use is kept no more exactly than this


def make(user: User, role: str, days: int | None, by: User | None, name: str = "") -> str:
    """A new token's text, which can be read only now. `days`: how long it is good; None: until it is revoked."""
    with transaction.atomic():
        text = Token.issue(user, role, timedelta(days=days) if days else None, name)
        until = f"{days} days" if days else "no expiry"
        audit.record(Deed.TOKEN_MADE, by, f"{Token.prefix_of(text)}… of {user.username}", f"{role}, {until}")
    return text


def revoke(token: Token, by: User) -> None:
    with transaction.atomic():
        if Token.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=timezone.now()):
            audit.record(Deed.TOKEN_REVOKED, by, f"{token.prefix}… of {token.user.username}")


def use(text: str) -> Token | None:
    """The token with this text, with its user; None when it is unknown, expired, revoked or of a disabled user."""
    if not text or len(text) > LONGEST:
        return None
    token = Token.find(text)
    if token is None:
        return None
    now = timezone.now()
    if token.last_used_at is None or token.last_used_at < now - NOTED_EVERY:
        Token.objects.filter(pk=token.pk).update(last_used_at=now)
    origin.with_token(token.prefix)
    return token


def authenticate(text: str) -> tuple[User, str] | None:
    """Its user and effective role; None for no good token."""
    token = use(text)
    return (token.user, token.effective_role) if token else None
