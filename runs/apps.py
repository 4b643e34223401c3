"""The app of the product itself."""

from django.apps import AppConfig


class RunsConfig(AppConfig):
    name = "runs"
