"""Signed webhooks. A receiver proves with the secret that a request is ours, fresh, and unchanged (docs/alerts.md)."""

import hashlib
import hmac
import json
from typing import Any

from outgoing import http as outgoing

SIGNATURE = "Stepline-Signature"
KEY = "Idempotency-Key"
MOST_READ = 2000  # bytes of an answer


def payload(key: str, body: dict[str, Any]) -> bytes:
    """The request's body: the same bytes at every attempt."""
    return json.dumps({"id": key, **body}, separators=(",", ":"), ensure_ascii=True).encode()


def signature(secret: str, content: bytes, at: int) -> str:
    """The header's value: HMAC-SHA256 over `at` (epoch seconds), a dot and the body, in hexadecimal."""
    signed = hmac.new(secret.encode(), f"{at}.".encode() + content, hashlib.sha256).hexdigest()
    return f"t={at},v1={signed}"


async def post(url: str, secret: str, key: str, body: dict[str, Any], at: int, seconds: float) -> tuple[int, str]:
    """Status and the beginning of the answer's body, unmasked. Raises httpx.HTTPError, httpx.InvalidURL, ValueError."""
    content = payload(key, body)
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "Stepline",
        KEY: key,
        SIGNATURE: signature(secret, content, at),
    }
    read = b""
    async with (
        outgoing.client(seconds, headers) as client,
        client.stream("POST", url, content=content) as response,
    ):
        async for chunk in response.aiter_raw():  # not decoded: a small answer may unpack to a huge one
            read += chunk[: MOST_READ - len(read)]
            if len(read) >= MOST_READ:
                break
    return response.status_code, read.decode(errors="replace")
