"""ETags: who asks again for what has not changed is told so in a few bytes (RFC 9110, conditional requests).

They are weak: an answer with the same one says the same, though an estimate in it may be older.
"""

import hashlib
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseNotModified
from django.utils.http import parse_etags

from runs.fields import dumps


def unchanged(request: HttpRequest, response: HttpResponse, *material: Any) -> HttpResponse | None:
    """The 304 to answer where the caller has this already; else None, and `response` carries the ETag.

    `material`: JSON values from which all of the answer follows but estimates.
    """
    text = dumps([request.get_host(), request.is_secure(), *material])
    opaque = f'"{hashlib.blake2b(text.encode(), digest_size=16).hexdigest()}"'
    response["ETag"] = f"W/{opaque}"
    known = {etag.removeprefix("W/") for etag in parse_etags(request.headers.get("If-None-Match", ""))}
    return HttpResponseNotModified(headers={"ETag": response["ETag"]}) if known & {"*", opaque} else None
