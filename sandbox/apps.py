"""The Django app of the sandbox: it has no models."""

from django.apps import AppConfig


class SandboxConfig(AppConfig):
    name = "sandbox"
    verbose_name = "Local orchestrator"
