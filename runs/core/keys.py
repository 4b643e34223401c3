"""Keys of their own for each purpose, derived from the site's one secret."""

from hashlib import blake2b


def derived(secret: str, purpose: str) -> bytes:
    """32 bytes; `purpose` is at most 16 characters long."""
    return blake2b(secret.encode(), person=purpose.encode()[:16], digest_size=32).digest()
