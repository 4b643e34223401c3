"""What may be done about users: make them, give them a role, disable them, sign them out; each with its audit entry.

`by` is the administrator who does it; None: a command. What cannot be done is Refused.
"""

from django.conf import settings
from django.contrib.sessions.models import Session
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from accounts import audit
from accounts.models import Deed, Role, SigninLink, User


class Refused(Exception):
    """It cannot be done; the message says why, and what can."""


def make(name: str, role: str, by: User | str | None) -> User:
    """A new user with no password."""
    try:
        User._meta.get_field("username").clean(name, None)
    except ValidationError as error:
        raise Refused(f"{name!r} cannot be the name of a user: {' '.join(error.messages)}") from None
    try:
        with transaction.atomic():
            user = User.objects.create_user(name, role=role)
            audit.record(Deed.USER_MADE, by, name, role)
    except IntegrityError:
        raise Refused(f"There is a user named {name!r} already.") from None
    return user


def find_or_make(name: str, role: str) -> tuple[User, bool]:
    """For commands: the user of this name as they are, or a new one with this role; and whether they are new."""
    user = User.objects.filter(username=name).first()
    return (user, False) if user else (make(name, role, None), True)


def set_role(user: User, role: str, by: User | str | None, why: str = "") -> None:
    """Their pages follow at once: open sockets are closed, and come back with the new role."""
    with transaction.atomic():
        if user.role == role:
            return
        if user.role == Role.ADMIN:
            _leave_one_admin(user, by)
        audit.record(Deed.ROLE_CHANGED, by, user.username, f"{user.role} → {role}{why}")
        user.role = role
        user.save(update_fields=["role"])


def disable(user: User, by: User | str | None) -> None:
    """They are signed out, and neither password, link nor token lets them in until they are enabled again."""
    with transaction.atomic():
        if not user.is_active:
            return
        if user.role == Role.ADMIN:
            _leave_one_admin(user, by)
        user.is_active = False
        user.save(update_fields=["is_active"])
        _end_sessions(user)
        audit.record(Deed.USER_DISABLED, by, user.username)


def enable(user: User, by: User | str | None) -> None:
    with transaction.atomic():
        if user.is_active:
            return
        user.is_active = True
        user.save(update_fields=["is_active"])
        audit.record(Deed.USER_ENABLED, by, user.username)


def sign_out_everywhere(user: User, by: User | str | None) -> int:
    """End all their sessions, and the links that could begin new ones. How many browsers were signed in."""
    with transaction.atomic():
        ended = _end_sessions(user)
        audit.record(Deed.SIGNED_OUT_ELSEWHERE, by, user.username, f"everywhere, {ended} signed in")
    return ended


def from_provider(user: User) -> bool:
    """Whether they sign in through the configured identity provider, which then knows their password."""
    if not settings.OIDC_ISSUER:
        return False
    accounts = user.socialaccount_set  # type: ignore[attr-defined]  # exists only with the provider's apps
    return bool(accounts.exists())


def _end_sessions(user: User) -> int:
    SigninLink.objects.filter(user=user).delete()
    sessions = Session.objects.filter(sign_in__user=user)
    number = sessions.count()
    sessions.delete()
    return number


def _leave_one_admin(user: User, by: User | str | None) -> None:
    """Refused when nobody else could undo it. A command may: whoever runs it can make another administrator."""
    admins = User.objects.select_for_update().filter(role=Role.ADMIN, is_active=True)
    if by is not None and not [admin for admin in admins if admin.pk != user.pk]:
        raise Refused(f"{user.username} is the only administrator. Make somebody else one first.")
