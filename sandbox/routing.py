"""The sandbox's socket. The pattern stops before the names: sockets.py reads them undecoded."""

from typing import Any, cast

from django.urls import re_path

from sandbox import sockets

websocket_urlpatterns = [re_path(r"^sandbox/ws/", cast(Any, sockets.events))]
