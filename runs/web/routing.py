"""Addresses of the pages' sockets."""

from typing import Any, cast

from django.urls import path

from runs.web import live

websocket_urlpatterns = [
    path("live/runs/<int:run_id>/", cast(Any, live.RunConsumer.as_asgi())),
    path("live/s/<str:token>/", cast(Any, live.SharedConsumer.as_asgi())),
    path("live/s/<str:token>/embed/", cast(Any, live.EmbedConsumer.as_asgi())),
    path("live/runs/", cast(Any, live.ListConsumer.as_asgi())),
]
