"""The sandbox mounted alone, as dashboard mounts it: a URLconf and an ASGI application.

Run as a module it serves them with daphne on a free port, and prints "Listening on HOST:PORT".
"""

import django
from channels.routing import ProtocolTypeRouter, URLRouter
from django.apps import apps
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.urls import include, path

if not apps.ready:
    django.setup()

from sandbox.routing import websocket_urlpatterns

urlpatterns = [path("sandbox/", include("sandbox.urls"))]
sockets = URLRouter(websocket_urlpatterns)


def serve() -> None:
    # daphne installs its reactor when it is imported: not something for the tests that only want the URLconf.
    from daphne.server import Server

    settings.ROOT_URLCONF = "tests.sandbox.site"
    application = ProtocolTypeRouter({"http": get_asgi_application(), "websocket": sockets})

    def ready() -> None:
        host, port = server.listening_addresses[0]
        print(f"Listening on {host}:{port}", flush=True)  # noqa: T201 (it is what the caller waits for)

    server = Server(application, endpoints=["tcp:0:interface=127.0.0.1"], ready_callable=ready)
    server.run()


if __name__ == "__main__":
    serve()
