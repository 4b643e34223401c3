"""What `manage.py check` says of the settings beyond Django's own checks; more of it with `--deploy`."""

import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register

KEY_FILES = {name: name.lower() for name in ("SECRET_KEY", "FERNET_KEYS")}


def _generated() -> Iterable[tuple[str, Path]]:
    """The keys that come from a file of the data folder, each with its file."""
    for name, file in KEY_FILES.items():
        path = Path(settings.DATA_DIR) / file
        if not os.environ.get(name, "").strip() and path.exists():
            yield name, path


@register(Tags.security)
def key_files(app_configs: Sequence[AppConfig] | None, **more: Any) -> list[CheckMessage]:
    return [
        Warning(
            f"{path}, which holds {name}, can be read by others on this machine.",
            hint=f"chmod 600 {path}. If somebody may have read it, make a new key (docs/commands.md, rotate_keys).",
            id="stepline.W001",
        )
        for name, path in _generated()
        if stat.S_IMODE(path.stat().st_mode) & 0o077
    ]


@register("stepline")
def one_process_on_sqlite(app_configs: Sequence[AppConfig] | None, **more: Any) -> list[CheckMessage]:
    if settings.REDIS_URL and not settings.DATABASE_URL:
        return [
            Warning(
                "REDIS_URL is for several processes, and SQLite serves only one.",
                hint="Set DATABASE_URL to a PostgreSQL database, or leave REDIS_URL out.",
                id="stepline.W002",
            )
        ]
    return []


@register(Tags.security, deploy=True)
def hosts(app_configs: Sequence[AppConfig] | None, **more: Any) -> list[CheckMessage]:
    if any(host in ("*", ".") for host in settings.ALLOWED_HOSTS):
        return [
            Error(
                "ALLOWED_HOSTS lets every host name through, and with it the sockets of every page of the web.",
                hint="Name the hosts under which the site is reached, as in ALLOWED_HOSTS=runs.example.com.",
                id="stepline.E001",
            )
        ]
    return []


@register(Tags.security, deploy=True)
def generated_keys(app_configs: Sequence[AppConfig] | None, **more: Any) -> list[CheckMessage]:
    if not settings.DATABASE_URL:
        return []
    return [
        Warning(
            f"{name} was generated into {path}; another machine of this deployment would generate another one.",
            hint=f"Set {name} to the same value in the environment of every process.",
            id="stepline.W003",
        )
        for name, path in _generated()
    ]


@register(Tags.security, deploy=True)
def keys_in_clear(app_configs: Sequence[AppConfig] | None, **more: Any) -> list[CheckMessage]:
    if settings.UPSTREAM_API_KEY and settings.UPSTREAM_API_URL.startswith("http://"):
        return [
            Warning(
                "UPSTREAM_API_KEY is sent to UPSTREAM_API_URL without encryption.",
                hint="Use an https:// address, and wss:// for UPSTREAM_SOCKET_URL.",
                id="stepline.W004",
            )
        ]
    return []
