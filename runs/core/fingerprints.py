"""Whether two failures are of the same kind: a fingerprint of what stays the same when a failure repeats."""

import re
from hashlib import blake2b
from typing import Any

# What differs between two failures of one kind: quoted values, addresses, ids, numbers.
_VARIES = re.compile(
    r"\[masked:[^\]]{1,40}\]"
    r"|https?://[^\s\"']{1,2000}"
    r"|\"[^\"]{0,500}\"|'[^']{0,500}'"
    r"|\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"
    r"|\b(?=[a-z]{0,40}\d)[0-9a-z]{8,200}\b"
    r"|\d+(?:[.,:]\d+)*",
    re.IGNORECASE,
)


def fingerprint(task: str, error: dict[str, Any] | None) -> str:
    """32 hexadecimal digits. `task`: the key of the failed task, '' for a run; `error`: {type, message, code}."""
    known = error or {}
    message = " ".join(_VARIES.sub("…", str(known.get("message", ""))[:500]).split()).lower()
    parts = (task, str(known.get("type", "")), str(known.get("code", "")), message)
    return blake2b("\0".join(parts).encode(errors="backslashreplace"), digest_size=16).hexdigest()
