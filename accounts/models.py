"""Users with a role, their signed-in browsers, API tokens, one-time sign-in links, and the log of who did what.

Of tokens and links only a SHA-256 is stored. Rows of the log are added and never changed.
"""

import hashlib
import secrets
from datetime import timedelta
from typing import Any, Self

from django.conf import settings
from django.contrib.auth.models import AbstractUser
from django.contrib.sessions.models import Session
from django.db import models
from django.db.models import Q
from django.utils import timezone

LINK_LIFETIME = timedelta(hours=1)


def digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


class Role(models.TextChoices):
    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


RANK = {Role.VIEWER.value: 0, Role.OPERATOR.value: 1, Role.ADMIN.value: 2}


def allows(role: str, needed: str) -> bool:
    """Whether someone of this role may do what needs that role."""
    return RANK[role] >= RANK[needed]


class User(AbstractUser):
    """A person, or the owner of a program's token."""

    role = models.CharField(max_length=10, choices=Role.choices, default=Role.VIEWER)

    def may(self, needed: str) -> bool:
        return self.is_active and allows(self.role, needed)


class TokenQuerySet(models.QuerySet["Token"]):
    def good(self) -> Self:
        """Tokens that may still be used, with their owners."""
        return self.filter(
            Q(expires_at=None) | Q(expires_at__gt=timezone.now()), revoked_at=None, user__is_active=True
        ).select_related("user")


class Token(models.Model):
    """An API token: 256 random bits, shown once. Its role never exceeds its owner's."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="tokens")
    name = models.CharField(max_length=100, default="", blank=True)
    prefix = models.CharField(max_length=12)
    digest = models.CharField(max_length=64, unique=True)
    role = models.CharField(max_length=10, choices=Role.choices)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)
    last_used_at = models.DateTimeField(null=True)

    objects = TokenQuerySet.as_manager()

    def __str__(self) -> str:
        return f"{self.prefix}… of {self.user_id}"

    @property
    def effective_role(self) -> str:
        return min(self.role, self.user.role, key=RANK.__getitem__)

    @property
    def expired(self) -> bool:
        return self.expires_at is not None and self.expires_at <= timezone.now()

    @classmethod
    def issue(cls, user: User, role: str, lifetime: timedelta | None = None, name: str = "") -> str:
        """A new token's text: the only time that it can be read."""
        text = "stl_" + secrets.token_urlsafe(32)
        cls.objects.create(
            user=user,
            name=name,
            prefix=cls.prefix_of(text),
            digest=digest(text),
            role=role,
            expires_at=timezone.now() + lifetime if lifetime else None,
        )
        return text

    @staticmethod
    def prefix_of(text: str) -> str:
        """The beginning that may be shown: enough to tell one's tokens apart, no help in guessing the rest."""
        return text[:10]

    @classmethod
    def find(cls, text: str) -> "Token | None":
        """The good token with this text, with its user; None otherwise."""
        return cls.objects.good().filter(digest=digest(text)).first()


class SigninLink(models.Model):
    """A link that signs its user in, once."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    digest = models.CharField(max_length=64, unique=True)
    expires_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"link of {self.user_id}"

    @classmethod
    def issue(cls, user: User) -> str:
        """A new link's secret part."""
        text = secrets.token_urlsafe(32)
        cls.objects.filter(expires_at__lt=timezone.now()).delete()
        cls.objects.create(user=user, digest=digest(text), expires_at=timezone.now() + LINK_LIFETIME)
        return text

    @classmethod
    def redeem(cls, text: str) -> User | None:
        """The user of a good link, which is good no more afterwards. Two redeemers at once: one gets in."""
        link = cls.objects.filter(digest=digest(text), expires_at__gt=timezone.now()).select_related("user").first()
        if link is None or not cls.objects.filter(pk=link.pk).delete()[0]:
            return None
        return link.user if link.user.is_active else None


class SignInQuerySet(models.QuerySet["SignIn"]):
    def going_on(self) -> Self:
        """Those whose session has not expired."""
        return self.filter(session__expire_date__gt=timezone.now())


class SignIn(models.Model):
    """A browser that is signed in. It goes with its session: deleting that signs the browser out."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="sign_ins")
    session = models.OneToOneField(Session, models.CASCADE, related_name="sign_in")
    how = models.CharField(max_length=60)
    address = models.GenericIPAddressField(null=True)
    agent = models.CharField(max_length=200)
    created_at = models.DateTimeField(auto_now_add=True)
    used_at = models.DateTimeField()

    objects = SignInQuerySet.as_manager()

    def __str__(self) -> str:
        return f"{self.user_id} from {self.address}"


class Deed(models.TextChoices):
    """What the log tells of."""

    SIGNED_IN = "signed-in", "Signed in"
    SIGN_IN_FAILED = "sign-in-failed", "Sign-in failed"
    LOCKED_OUT = "locked-out", "Locked out for a while"
    SIGNED_OUT = "signed-out", "Signed out"
    SIGNED_OUT_ELSEWHERE = "signed-out-elsewhere", "Signed out elsewhere"
    LINK_MADE = "link-made", "Made a sign-in link"
    LINK_USED = "link-used", "Signed in with a link"
    PASSWORD_CHANGED = "password-changed", "Changed a password"
    USER_MADE = "user-made", "Made a user"
    ROLE_CHANGED = "role-changed", "Changed a role"
    USER_DISABLED = "user-disabled", "Disabled a user"
    USER_ENABLED = "user-enabled", "Enabled a user"
    TOKEN_MADE = "token-made", "Made a token"
    TOKEN_REVOKED = "token-revoked", "Revoked a token"
    RUN_LAUNCHED = "run-launched", "Launched a run"
    RUN_ATTACHED = "run-attached", "Attached to a run"
    RUN_RETRIED = "run-retried", "Launched a run again"
    RUN_STOPPED = "run-stopped", "Stopped watching a run"
    RUN_IMPORTED = "run-imported", "Imported a run"
    RUNS_REMOVED = "runs-removed", "Removed old runs"
    WORKFLOW_SAVED = "workflow-saved", "Saved a workflow"
    WORKFLOW_DELETED = "workflow-deleted", "Deleted a workflow"
    UPSTREAM_SAVED = "upstream-saved", "Saved an upstream"
    UPSTREAM_DELETED = "upstream-deleted", "Deleted an upstream"
    RULE_SAVED = "rule-saved", "Saved a rule of alerts"
    RULE_DELETED = "rule-deleted", "Deleted a rule of alerts"
    CHANNEL_SAVED = "channel-saved", "Saved a channel of alerts"
    CHANNEL_DELETED = "channel-deleted", "Deleted a channel of alerts"
    CHANNEL_TESTED = "channel-tested", "Tested a channel of alerts"
    DELIVERY_RETRIED = "delivery-retried", "Had a message sent again"
    SHARE_MADE = "share-made", "Made a link for anybody"
    SHARE_REVOKED = "share-revoked", "Revoked a link for anybody"


class AppendOnly(TypeError):
    """The log of who did what is added to and never changed."""


class AuditQuerySet(models.QuerySet["AuditEntry"]):
    def update(self, **fields: Any) -> int:
        raise AppendOnly("entries of the audit log are never changed")

    def delete(self) -> tuple[int, dict[str, int]]:
        raise AppendOnly("entries of the audit log are never deleted")


class AuditEntry(models.Model):
    """Who did what, when and from where. Names are copied: what happens to a user later leaves the log as it was.

    The database refuses changes, too: see the triggers in the migrations.
    """

    class Via(models.TextChoices):
        PAGE = "page", "Page"
        API = "api", "API"
        COMMAND = "command", "Command"

    at = models.DateTimeField(auto_now_add=True)
    name = models.CharField(max_length=150)  # the user's; "" where it was nobody who is known here
    deed = models.CharField(max_length=30, choices=Deed.choices)
    about = models.TextField()
    detail = models.TextField()
    via = models.CharField(max_length=10, choices=Via.choices)
    place = models.CharField(max_length=100)  # the caller's address, or account@machine of a command
    token = models.CharField(max_length=12)  # the prefix of the token that was used

    objects = AuditQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["name", "-id"], name="audit_name"),
            models.Index(fields=["deed", "-id"], name="audit_deed"),
        ]

    def __str__(self) -> str:
        return f"{self.name or '?'}: {self.deed} {self.about}"

    def save(self, *args: Any, **options: Any) -> None:
        if not self._state.adding:
            raise AppendOnly("entries of the audit log are never changed")
        super().save(*args, **options)

    def delete(self, *args: Any, **options: Any) -> tuple[int, dict[str, int]]:
        raise AppendOnly("entries of the audit log are never deleted")
