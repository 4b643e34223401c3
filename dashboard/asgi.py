"""What daphne serves: pages and API over HTTP, the sockets of the pages, of the upstream's protocol and of the sandbox.
The worker has no place here: it is started by `serve` in the same loop, or by `worker` in a process of its own.
"""

import os
from typing import Any

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "dashboard.settings")
pages = get_asgi_application()

from channels.auth import AuthMiddlewareStack  # noqa: E402  # Django must be set up first
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.conf import settings  # noqa: E402
from django.urls import re_path  # noqa: E402

from dropin.routing import websocket_urlpatterns as dropin_sockets  # noqa: E402
from runs.web.origins import SameOrigin  # noqa: E402
from runs.web.routing import websocket_urlpatterns as live_sockets  # noqa: E402
from sandbox.routing import websocket_urlpatterns as sandbox_sockets  # noqa: E402


def pages_only(sockets: Any) -> Any:
    """For the pages of this site, and who is signed in on them."""
    return SameOrigin(AuthMiddlewareStack(sockets))


# The sandbox plays a remote machine, so it asks for no session and no origin.
sockets = URLRouter(
    [
        *(sandbox_sockets if settings.SANDBOX else []),
        *dropin_sockets(pages_only),
        re_path("", pages_only(URLRouter(live_sockets))),
    ]
)

application = ProtocolTypeRouter({"http": pages, "websocket": sockets})
