"""Where each app hangs."""

from django.urls import include, path

urlpatterns = [
    path("api/v1/", include("api.urls")),
    path("sandbox/", include("sandbox.urls")),
    path("", include("accounts.urls")),
    path("", include("runs.web.urls")),
]
