"""Which pages may open the sockets: those of this very site, by scheme, host and port. A browser sends a person's
cookies along with a socket that any page opens, so this is what a form's CSRF token is elsewhere.
"""

from typing import Any

from channels.security.websocket import WebsocketDenier
from django.conf import settings
from django.http.request import split_domain_port, validate_host

DEFAULT_PORT = {"http": ":80", "https": ":443"}


class SameOrigin:
    """Refuses the handshake (HTTP 403) of everybody else's pages, and of what says no origin."""

    def __init__(self, application: Any) -> None:
        self.application = application

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> Any:
        application: Any = self.application if is_ours(scope) else WebsocketDenier()
        return await application(scope, receive, send)


def is_ours(scope: dict[str, Any]) -> bool:
    origins = [value for name, value in scope["headers"] if name == b"origin"]
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    if len(origins) != 1 or len(hosts) != 1:
        return False
    origin, host = origins[0].decode("latin-1"), hosts[0].decode("latin-1").lower()
    if origin in settings.CSRF_TRUSTED_ORIGINS:
        return True
    domain, _ = split_domain_port(host)
    if not domain or not validate_host(domain, settings.ALLOWED_HOSTS):
        return False
    scheme = "https" if settings.HTTPS or scope.get("scheme") == "wss" else "http"
    return bool(origin == f"{scheme}://{host.removesuffix(DEFAULT_PORT[scheme])}")
