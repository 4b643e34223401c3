"""Secrets at rest: what is encrypted under FERNET_KEYS, what is derived from SECRET_KEY, and the masker they feed."""

import json
import logging
from functools import cache
from hashlib import blake2b
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings

from runs.core.keys import derived
from runs.core.redact import Masker
from runs.models import Upstream

logger = logging.getLogger(__name__)


class Unreadable(Exception):
    """Something sealed cannot be opened with the keys at hand."""

    def __init__(self) -> None:
        super().__init__(
            "A stored secret cannot be decrypted with the present FERNET_KEYS. Put the key it was stored under back "
            "into FERNET_KEYS, or enter the secret again."
        )


def _fernet() -> MultiFernet:
    return MultiFernet([Fernet(key) for key in settings.FERNET_KEYS])


def seal(value: Any) -> str:
    """Any JSON value, encrypted."""
    return _fernet().encrypt(json.dumps(value).encode()).decode()


def unseal(sealed: str) -> Any:
    """The value again. Raises Unreadable when its key is not among FERNET_KEYS."""
    try:
        return json.loads(_fernet().decrypt(sealed.encode()))
    except InvalidToken:
        raise Unreadable from None


def reseal(sealed: str) -> str:
    """The same under the first of FERNET_KEYS; the very same text when it is under it already. Raises Unreadable."""
    token = sealed.encode()
    try:
        Fernet(settings.FERNET_KEYS[0]).decrypt(token)
    except InvalidToken:
        try:
            return _fernet().rotate(token).decode()
        except InvalidToken:
            raise Unreadable from None
    return sealed


def upstream_key(upstream: Upstream) -> str:
    return str(unseal(upstream.key_sealed)) if upstream.key_sealed else ""


@cache
def _derived(purpose: str) -> bytes:
    return derived(settings.SECRET_KEY, purpose)


def digest_key(run_id: int) -> bytes:
    """The key of one run's content digests."""
    return blake2b(str(run_id).encode(), key=_derived("event digests"), digest_size=32).digest()


def masker(upstream: Upstream | None = None) -> Masker:
    """The masker for what comes from, or goes to, this upstream: the keys of all upstreams are masked wherever they
    turn up. Raises Unreadable when this one's cannot be opened; another's is left out, with a warning.
    """
    known = [upstream_key(upstream)] if upstream and upstream.key_sealed else []
    for other in Upstream.objects.exclude(key_sealed="").only("name", "key_sealed"):
        if upstream is not None and other.pk == upstream.pk:
            continue
        try:
            known.append(upstream_key(other))
        except Unreadable:
            logger.warning("the key of upstream %s cannot be opened, so it is not masked elsewhere", other.name)
    return Masker(
        _derived("fingerprints"),
        extra_names=settings.MASK_NAMES,
        extra_patterns=settings.MASK_PATTERNS,
        known_values=known,
        mask_email=settings.MASK_EMAIL,
    )
