"""Registers the checks of a deployment, and has everything logged in the form that is asked for."""

from django.apps import AppConfig
from django.conf import settings


class DashboardConfig(AppConfig):
    name = "dashboard"

    def ready(self) -> None:
        from dashboard import checks, logs  # noqa: F401, PLC0415  # checks register themselves; all else is wired by now

        if settings.LOG_FORMAT == "json":
            logs.all_in_lines()
