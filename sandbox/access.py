"""Who may talk to the sandbox."""

from urllib.parse import urlsplit

from django.conf import settings
from django.http.request import validate_host

WHY_NO_SIGN_IN = (
    "The sandbox plays a remote machine that programs call: such a machine knows neither this site's "
    "sessions nor its CSRF tokens, and its socket address takes no key. What it holds is made up, and it "
    "changes nothing but itself."
)
# Held by every item of the studio API, as the real ones hold a key.
DUMMY_API_KEY = "sk-sandbox-0000-not-a-real-key"


def is_foreign_page(origin: str | None) -> bool:
    """Whether this `Origin` header says that a web page of another host is calling.

    Programs send none. With no sign-in, this is what keeps a page that somebody happens to visit away from a
    sandbox on the same machine.
    """
    if origin is None:
        return False
    allowed = settings.ALLOWED_HOSTS or ["localhost", "127.0.0.1", "[::1]"]
    try:
        parts = urlsplit(origin)
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else (parts.hostname or "")
    except ValueError:
        return True
    return not validate_host(host, allowed)
