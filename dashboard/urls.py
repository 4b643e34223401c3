"""Where each app hangs."""

from django.conf import settings
from django.urls import include, path

from api import health, metrics

handler400 = "dashboard.http.bad_request"

urlpatterns = [
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
    path("metrics", metrics.metrics, name="metrics"),
    path("api/v1/", include("api.urls")),
    *([path("sandbox/", include("sandbox.urls"))] if settings.SANDBOX else []),
    path("", include("dropin.urls")),
    path("", include("accounts.urls")),
    path("alerts/", include("alerts.urls")),
    path("", include("runs.web.urls")),
]
