"""What every answer of the site carries, and the answer to a request that cannot be read."""

from collections.abc import Callable
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils.decorators import sync_and_async_middleware

ISOLATING = {
    # Nothing here needs any of them, so a script that got in could not use them either.
    "Permissions-Policy": ", ".join(
        f"{feature}=()"
        for feature in (
            "accelerometer", "camera", "display-capture", "geolocation", "gyroscope", "magnetometer", "microphone",
            "midi", "payment", "publickey-credentials-get", "screen-wake-lock", "serial", "usb", "xr-spatial-tracking",
        )
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
}  # fmt: skip
# Whoever learns the address of a shared run is let in: it is neither told to other sites, nor kept, nor found by
# searching, whatever is answered.
SHARED = "/s/"
UNTOLD = {"Referrer-Policy": "no-referrer", "X-Robots-Tag": "noindex, nofollow"}


@sync_and_async_middleware
def isolating_headers(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    """Beside what Django's own middleware sends: no features of the device, no use by pages of other sites."""

    def mark(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        for name, value in ISOLATING.items():
            response.setdefault(name, value)
        if request.path.startswith(SHARED):
            for name, value in UNTOLD.items():
                response[name] = value
            response.setdefault("Cache-Control", "no-store")
        return response

    if iscoroutinefunction(get_response):

        async def asynchronous(request: HttpRequest) -> HttpResponseBase:
            return mark(request, await get_response(request))

        return asynchronous

    return lambda request: mark(request, get_response(request))


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """400, and 413 where the body is too large: Django takes both for the same."""
    too_large = isinstance(exception, RequestDataTooBig)
    most = (settings.DATA_UPLOAD_MAX_MEMORY_SIZE or 0) // 1024**2
    context = {"too_large": too_large, "most": most}
    return render(request, "400.html", context, status=413 if too_large else 400)
