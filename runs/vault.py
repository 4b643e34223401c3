"""Secrets at rest: what is encrypted under FERNET_KEYS, what is derived from SECRET_KEY, and the masker they feed."""

import json
from functools import cache
from hashlib import blake2b
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings

from runs.core.redact import Masker
from runs.models import Upstream


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


def upstream_key(upstream: Upstream) -> str:
    return str(unseal(upstream.key_sealed)) if upstream.key_sealed else ""


@cache
def _derived(purpose: str) -> bytes:
    return blake2b(settings.SECRET_KEY.encode(), person=purpose.encode()[:16], digest_size=32).digest()


def digest_key(run_id: int) -> bytes:
    """The key of one run's content digests."""
    return blake2b(str(run_id).encode(), key=_derived("event digests"), digest_size=32).digest()


def masker(upstream: Upstream | None = None) -> Masker:
    """The masker for what comes from, or goes to, this upstream: its key is masked wherever it turns up."""
    known = [upstream_key(upstream)] if upstream and upstream.key_sealed else []
    return Masker(
        _derived("fingerprints"),
        extra_names=settings.MASK_NAMES,
        extra_patterns=settings.MASK_PATTERNS,
        known_values=known,
        mask_email=settings.MASK_EMAIL,
    )
