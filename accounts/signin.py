"""One-time sign-in links: for whom, and at which address."""

from django.conf import settings
from django.urls import reverse

from accounts.models import Role, SigninLink, User

FIRST_ADMIN = "admin"


def link_path(user: User) -> str:
    """The path of a new link that signs this user in once."""
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
        user, made = User.objects.update_or_create(
            username=FIRST_ADMIN, defaults={"role": Role.ADMIN, "is_active": True}
        )
        if made:
            user.set_unusable_password()
            user.save(update_fields=["password"])
    return link_path(user)
