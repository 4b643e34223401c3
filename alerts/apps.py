"""The app of rules, channels and deliveries."""

from django.apps import AppConfig


class AlertsConfig(AppConfig):
    name = "alerts"
