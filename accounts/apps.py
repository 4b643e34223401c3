"""People and programs: who they are and what they may do."""

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "accounts"
