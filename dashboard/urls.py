"""Where each app hangs."""

from django.conf import settings
from django.urls import include, path

from api import health

urlpatterns = [
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
    path("api/v1/", include("api.urls")),
    *([path("sandbox/", include("sandbox.urls"))] if settings.SANDBOX else []),
    path("", include("accounts.urls")),
    path("", include("runs.web.urls")),
]
