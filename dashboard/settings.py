"""Wiring: every setting, read from the environment; unset means the embedded default (docs/settings.md)."""

from pathlib import Path
from typing import Any

import dj_database_url
from cryptography.fernet import Fernet
from django.core.management.utils import get_random_secret_key

from dashboard import env

BASE_DIR = Path(__file__).resolve().parent.parent
DATA_DIR = env.folder("DATA_DIR", BASE_DIR / "data")

# --- the site -------------------------------------------------------------------------------------------------

DEBUG = env.boolean("DEBUG", False)
SECRET_KEY = env.secret("SECRET_KEY", DATA_DIR / "secret_key", get_random_secret_key)
HOST = env.text("HOST", "127.0.0.1")
PORT = env.integer("PORT", 8000, low=0, high=65535)
ALLOWED_HOSTS = env.items("ALLOWED_HOSTS", ("127.0.0.1", "localhost", "[::1]"))
CSRF_TRUSTED_ORIGINS = env.items("CSRF_TRUSTED_ORIGINS")

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "channels",
    "ninja",  # its static files and template: the page of the API loads nothing from elsewhere
    "accounts",
    "runs",
    "api",
    "sandbox",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.middleware.csp.ContentSecurityPolicyMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "dashboard.urls"
ASGI_APPLICATION = "dashboard.asgi.application"
TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_TZ = True

STATIC_URL = "/static/"
STATIC_ROOT = DATA_DIR / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
DATA_UPLOAD_MAX_MEMORY_SIZE = 17 * 1024 * 1024

# --- access ---------------------------------------------------------------------------------------------------

AUTH_USER_MODEL = "accounts.User"
LOGIN_URL = "sign-in"
LOGIN_REDIRECT_URL = "/"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
SESSION_COOKIE_NAME = "stepline_session"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
SECURE_CSP = {
    "default-src": ["'none'"],
    "script-src": ["'self'"],
    "style-src": ["'self'"],
    "img-src": ["'self'", "data:"],
    "font-src": ["'self'"],
    "connect-src": ["'self'"],
    "form-action": ["'self'"],
    "base-uri": ["'none'"],
    "frame-ancestors": ["'none'"],
    "manifest-src": ["'self'"],
}

# --- database and channel layer ---------------------------------------------------------------------------------

DATABASE_URL = env.text("DATABASE_URL")
REDIS_URL = env.url("REDIS_URL", schemes=("redis", "rediss", "unix"))
SQLITE_SYNCHRONOUS = env.choice("SQLITE_SYNCHRONOUS", "FULL", ("FULL", "NORMAL"))

if DATABASE_URL:
    try:
        _database: dict[str, Any] = dict(dj_database_url.parse(DATABASE_URL, conn_max_age=0))
    except (ValueError, KeyError):
        raise env.BadVariable("DATABASE_URL", "postgres://user:password@host:port/name") from None
    if "postgresql" in _database["ENGINE"]:
        _database["OPTIONS"] = {**_database.get("OPTIONS", {}), "pool": {"min_size": 1, "max_size": 12}}
else:
    _database = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(DATA_DIR / "stepline.sqlite3")}
if "sqlite3" in _database["ENGINE"]:
    # IMMEDIATE: a read that turns into a write must not find the file locked halfway. The larger cache and the rarer
    # checkpoints are what the write-ahead log needs under load.
    _database["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": (
            f"PRAGMA journal_mode=WAL; PRAGMA synchronous={SQLITE_SYNCHRONOUS};"
            "PRAGMA cache_size=-65536; PRAGMA wal_autocheckpoint=4000; PRAGMA foreign_keys=ON;"
        ),
    }
    _database["CONN_MAX_AGE"] = None  # a file is not worth opening for each read
    _database["TEST"] = {"NAME": str(DATA_DIR / "test.sqlite3")}
DATABASES = {"default": _database}

CHANNEL_LAYERS: dict[str, dict[str, Any]] = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
if REDIS_URL:
    # redis-py's own socket timeout (5 s) equals the layer's blocking pop: without a longer one an idle worker dies.
    CHANNEL_LAYERS["default"] = {
        "BACKEND": "channels_redis.core.RedisChannelLayer",
        "CONFIG": {"hosts": [{"address": REDIS_URL, "socket_timeout": 15}], "capacity": 1000},
    }

# --- upstreams --------------------------------------------------------------------------------------------------

FERNET_KEYS = [
    key.strip()
    for key in env.secret("FERNET_KEYS", DATA_DIR / "fernet_keys", lambda: Fernet.generate_key().decode()).split(",")
]
try:
    [Fernet(key) for key in FERNET_KEYS]
except ValueError:
    raise env.BadVariable("FERNET_KEYS", "comma-separated keys of 32 url-safe base64 bytes each") from None

UPSTREAM_API_URL = env.url("UPSTREAM_API_URL", schemes=("http", "https"))
UPSTREAM_SOCKET_URL = env.url("UPSTREAM_SOCKET_URL", schemes=("ws", "wss"))
UPSTREAM_STUDIO_URL = env.url("UPSTREAM_STUDIO_URL", schemes=("http", "https"))
UPSTREAM_API_KEY = env.text("UPSTREAM_API_KEY")
if bool(UPSTREAM_API_URL) != bool(UPSTREAM_SOCKET_URL):
    raise env.BadVariable(
        "UPSTREAM_SOCKET_URL" if UPSTREAM_API_URL else "UPSTREAM_API_URL",
        "a value, since UPSTREAM_API_URL and UPSTREAM_SOCKET_URL are only of use together",
    )
# The embedded default talks to the sandbox on this machine; a deployment on PostgreSQL does not, unless it says so.
ALLOW_PRIVATE_UPSTREAMS = env.boolean("ALLOW_PRIVATE_UPSTREAMS", not DATABASE_URL)
UPSTREAM_COMPRESSION = env.boolean("UPSTREAM_COMPRESSION", False)
RUN_DEADLINE_SECONDS = env.number("RUN_DEADLINE_SECONDS", 24 * 3600.0, low=1)
LAUNCH_DEADLINE_SECONDS = env.number("LAUNCH_DEADLINE_SECONDS", 120.0, low=1)
LINGER_SECONDS = env.number("LINGER_SECONDS", 3.0, low=0, high=600)
MASK_EMAIL = env.boolean("MASK_EMAIL", False)
MASK_NAMES = env.items("MASK_NAMES")
MASK_PATTERNS = env.items("MASK_PATTERNS")

# --- sandbox ------------------------------------------------------------------------------------------------------

SANDBOX = env.boolean("SANDBOX", True)  # `serve --no-sandbox` turns it off, too
# Where the sandbox answers: this site, unless another process serves it (`serve --no-sandbox` here).
SANDBOX_URL = env.url("SANDBOX_URL", schemes=("http", "https"))  # unset: what `serve` listens on
SANDBOX_SPEED = env.number("SANDBOX_SPEED", 1.0, low=0.01, high=10_000)
SANDBOX_REPLAY = env.choice("SANDBOX_REPLAY", "none", ("none", "full"))
SANDBOX_ALLOW_API_CALLS = env.boolean("SANDBOX_ALLOW_API_CALLS", False)
SANDBOX_KEEPALIVE_SECONDS = env.number("SANDBOX_KEEPALIVE_SECONDS", 20.0, low=0.1, high=3600)
# Definitions offered as workflows of the sandbox upstream at the first start.
SHIPPED_WORKFLOWS = BASE_DIR / "sandbox" / "workflows"

# --- logs -----------------------------------------------------------------------------------------------------------

LOG_FORMAT = env.choice("LOG_FORMAT", "console", ("console", "json"))
LOG_LEVEL = env.choice("LOG_LEVEL", "INFO", ("DEBUG", "INFO", "WARNING", "ERROR"))
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "console": {"format": "%(asctime)s %(levelname)-7s %(name)s  %(message)s", "datefmt": "%H:%M:%S"},
        "json": {"()": "dashboard.logs.JsonFormatter"},
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": LOG_FORMAT}},
    "root": {"handlers": ["stderr"], "level": "WARNING"},
    "loggers": {
        **{name: {"level": LOG_LEVEL} for name in ("runs", "sandbox", "accounts", "api", "dashboard")},
        "django.request": {"level": "ERROR"},
    },
}
