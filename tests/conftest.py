"""What every test gets: a data folder of its own, made before the settings are read, and apt settings."""

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import django
import pytest

if "DATA_DIR" not in os.environ:
    _folder = tempfile.mkdtemp(prefix="stepline-tests-")
    os.environ["DATA_DIR"] = _folder
    atexit.register(shutil.rmtree, _folder, ignore_errors=True)
Path(os.environ["DATA_DIR"], "static").mkdir(parents=True, exist_ok=True)
# Here and not in pyproject.toml: pytest-django would read the settings before this file chooses the folder.
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "dashboard.settings")
django.setup()

from django.db import connection, connections  # noqa: E402
from django.test import AsyncClient, Client  # noqa: E402

from tests.factories import make_user  # noqa: E402

# Each test has a loop, and so threads, of its own: what they leave when it ends in their midst would drain the pool.
connections.settings["default"].get("OPTIONS", {}).pop("pool", None)


IN_MEMORY = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any) -> None:
    """Between tests with transactions of their own SQLite is emptied by DELETE, which the audit log would refuse.

    tests/accounts/test_audit.py puts the trigger back for itself.
    """
    with django_db_blocker.unblock():
        if connection.vendor == "sqlite":
            connection.cursor().execute("DROP TRIGGER IF EXISTS accounts_auditentry_no_delete")


@pytest.fixture(autouse=True)
def plain_settings(settings: Any) -> None:
    """No collected static files, cheap passwords, and a channel layer that forgets the last test."""
    settings.STORAGES = {
        **settings.STORAGES,
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    }
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    if not settings.REDIS_URL:
        settings.CHANNEL_LAYERS = IN_MEMORY


@pytest.fixture
def in_memory_layer(settings: Any) -> None:
    """For tests that make the layer itself fail: the in-memory one, also where Redis is given."""
    settings.CHANNEL_LAYERS = IN_MEMORY


@pytest.fixture
def client_as(db: None) -> Callable[[str], Client]:
    """A client signed in as a new user of this role: `client_as("operator").get("/")`."""

    def sign_in(role: str) -> Client:
        client = Client()
        client.force_login(make_user(role))
        return client

    return sign_in


@pytest.fixture
def async_client_as(db: None) -> Callable[[str], AsyncClient]:
    """The same for asynchronous views; it writes to the database, so call it from a synchronous fixture."""

    def sign_in(role: str) -> AsyncClient:
        client = AsyncClient()
        client.force_login(make_user(role))
        return client

    return sign_in
