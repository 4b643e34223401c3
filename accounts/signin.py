"""How a browser comes to be signed in, is remembered, and leaves; and one-time links: for whom, at which address."""

from django.conf import settings
from django.contrib.auth import login, logout
from django.core.cache import cache
from django.db import transaction
from django.http import HttpRequest
from django.shortcuts import resolve_url
from django.urls import reverse
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme

from accounts import audit, origin, people
from accounts.models import Deed, Role, SignIn, SigninLink, User

FIRST_ADMIN = "admin"
# Whoever has shown who they are otherwise (a link, a provider) is loaded by this backend on later requests, too.
BACKEND = "django.contrib.auth.backends.ModelBackend"
NOTED_EVERY = 60  # seconds; the last use of a session is kept no more exactly than this


def inside(request: HttpRequest, asked: str | None) -> str:
    """The address asked for when it is one of this site, else the list of runs."""
    ours = url_has_allowed_host_and_scheme(asked, allowed_hosts={request.get_host()}, require_https=request.is_secure())
    return asked if asked and ours else resolve_url("/")


def enter(request: HttpRequest, user: User, how: str, deed: str = Deed.SIGNED_IN) -> None:
    """Sign this browser in, with a new session key. `how` is for the person's list of sessions and for the log."""
    with transaction.atomic():
        if request.session.session_key:
            request.session.cycle_key()  # also where the same person signs in again
        login(request, user, backend=BACKEND)
        remember(request, user, how)
        audit.record(deed, user, detail=how)


def remember(request: HttpRequest, user: User, how: str) -> None:
    """Enter the session of this request, whose key is new, into the person's list."""
    if request.session.session_key is None:
        request.session.create()
    assert request.session.session_key
    SignIn.objects.create(
        user=user,
        session_id=request.session.session_key,
        how=how,
        address=origin.address_of(request),
        agent=request.headers.get("User-Agent", "").replace("\0", "")[:200],
        used_at=timezone.now(),
    )


def used(request: HttpRequest, user: User) -> None:
    """Note that this session was used now, and from where: once a minute and process, or each page would write."""
    key = request.session.session_key
    if not cache.add(f"session-used-{key}", True, NOTED_EVERY):
        return
    noted = SignIn.objects.filter(session_id=key).update(used_at=timezone.now(), address=origin.address_of(request))
    if not noted:
        remember(request, user, "")


def leave(request: HttpRequest) -> None:
    with transaction.atomic():
        if isinstance(request.user, User):
            audit.record(Deed.SIGNED_OUT, request.user)
        logout(request)


def forget(request: HttpRequest) -> None:
    """Drop what is left of a session that was ended already."""
    logout(request)


def link_path(user: User, by: User | None = None) -> str:
    """The path of a new link that signs this user in once."""
    with transaction.atomic():
        audit.record(Deed.LINK_MADE, by, user.username)
        return reverse("sign-in-link", args=[SigninLink.issue(user)])


def site_address() -> str:
    """Where a browser on this machine finds the site, without a slash at the end."""
    host = "127.0.0.1" if settings.HOST in ("0.0.0.0", "::", "") else settings.HOST
    return f"http://[{host}]:{settings.PORT}" if ":" in host else f"http://{host}:{settings.PORT}"


def link_for_start() -> str:
    """The path of a new link for an administrator, made when there is none: what a first start prints.

    An administrator who is there already is taken, the one named "admin" before others. A user "admin" whom
    somebody disabled or gave a lower role is raised again only when no other administrator is left.
    """
    admins = {user.username: user for user in User.objects.filter(role=Role.ADMIN, is_active=True).order_by("pk")}
    user = admins.get(FIRST_ADMIN) or next(iter(admins.values()), None)
    if user is None:
        user, _ = people.find_or_make(FIRST_ADMIN, Role.ADMIN)
        people.set_role(user, Role.ADMIN, None)
        people.enable(user, None)
    return link_path(user)
