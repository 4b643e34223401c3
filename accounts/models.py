"""Users with a role, API tokens and one-time sign-in links. Of tokens and links only a SHA-256 is stored."""

import hashlib
import secrets
from datetime import timedelta
from typing import Self

from django.conf import settings
from django.contrib.auth.models import AbstractUser
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
    prefix = models.CharField(max_length=12)
    digest = models.CharField(max_length=64, unique=True)
    role = models.CharField(max_length=10, choices=Role.choices)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)

    objects = TokenQuerySet.as_manager()

    def __str__(self) -> str:
        return f"{self.prefix}… of {self.user_id}"

    @property
    def effective_role(self) -> str:
        return min(self.role, self.user.role, key=RANK.__getitem__)

    @classmethod
    def issue(cls, user: User, role: str, lifetime: timedelta | None = None) -> str:
        """A new token's text: the only time that it can be read."""
        text = "stl_" + secrets.token_urlsafe(32)
        expires_at = timezone.now() + lifetime if lifetime else None
        cls.objects.create(user=user, prefix=text[:10], digest=digest(text), role=role, expires_at=expires_at)
        return text

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
