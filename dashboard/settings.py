"""Wiring: every setting, read from the environment; unset means the embedded default (docs/settings.md)."""

import hashlib
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

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
HTTPS = env.boolean("HTTPS", False)
HSTS_SECONDS = env.integer("HSTS_SECONDS", 365 * 24 * 3600)
TRUSTED_PROXIES = env.integer("TRUSTED_PROXIES", 0, high=10)
ALLOWED_HOSTS = env.items("ALLOWED_HOSTS", ("127.0.0.1", "localhost", "[::1]"))
CSRF_TRUSTED_ORIGINS = env.items("CSRF_TRUSTED_ORIGINS")

INSTALLED_APPS = [
    "accounts",  # before django.contrib.auth, whose command changepassword it extends
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "channels",
    "ninja",  # its static files and template: the page of the API loads nothing from elsewhere
    "axes",
    "runs",
    "alerts",
    "api",
    "sandbox",
    "dashboard",
]
MIDDLEWARE = [
    "dashboard.http.isolating_headers",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.middleware.csp.ContentSecurityPolicyMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "accounts.origin.middleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",  # answers for a sign-in that is locked out
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

API_CALLS_PER_MINUTE = env.integer("API_CALLS_PER_MINUTE", 6000, high=10_000_000)  # of one user; 0: any number
RETENTION_DAYS = env.number("RETENTION_DAYS", 0.0, high=36_500)  # for `prune_runs`; 0: nothing is removed unasked
AUTH_USER_MODEL = "accounts.User"
LOGIN_URL = "sign-in"
LOGIN_REDIRECT_URL = "/"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
SESSION_COOKIE_NAME = "stepline_session"
SESSION_COOKIE_AGE = 86_400 * env.integer("SESSION_DAYS", 14, low=1, high=365)  # from the sign-in, used or not
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"  # not Strict: links from elsewhere, and from a provider, lead in
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
CSRF_COOKIE_HTTPONLY = True  # the pages send the token that is written into them

# A password may be tried wrongly so often for one name from one address; then that pair waits. Neither a name nor an
# address alone is locked: that would let anyone lock others out, and everyone behind one proxy at once.
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_FAILURE_LIMIT = 10
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_RESET_ON_SUCCESS = True
AXES_CLIENT_IP_CALLABLE = "accounts.origin.address_of"
AXES_LOCKOUT_CALLABLE = "accounts.views.locked_out"
AXES_SENSITIVE_PARAMETERS = ["username", "csrfmiddlewaretoken"]
AXES_DISABLE_ACCESS_LOG = True  # the audit log tells of sign-ins
AXES_VERBOSE = False
AXES_ENABLE_ADMIN = False

OIDC_ISSUER = env.url("OIDC_ISSUER", schemes=("https", "http"))
OIDC_CLIENT_ID = env.text("OIDC_CLIENT_ID")
OIDC_CLIENT_SECRET = env.text("OIDC_CLIENT_SECRET")
OIDC_NAME = env.text("OIDC_NAME", urlsplit(OIDC_ISSUER).hostname or "") if OIDC_ISSUER else ""
OIDC_ROLE_CLAIM = env.text("OIDC_ROLE_CLAIM", "groups")
OIDC_ROLES = {"admin": env.items("OIDC_ADMINS"), "operator": env.items("OIDC_OPERATORS")}
if OIDC_ISSUER:
    if not (OIDC_CLIENT_ID and OIDC_CLIENT_SECRET):
        raise env.BadVariable(
            "OIDC_CLIENT_SECRET" if OIDC_CLIENT_ID else "OIDC_CLIENT_ID", "a value, since OIDC_ISSUER is set"
        )
    if OIDC_ISSUER.startswith("http:") and urlsplit(OIDC_ISSUER).hostname not in ("127.0.0.1", "::1", "localhost"):
        raise env.BadVariable("OIDC_ISSUER", "an address that starts with https://, unless it is on this machine")
    INSTALLED_APPS += [
        "allauth",
        "allauth.account",
        "allauth.socialaccount",
        "allauth.socialaccount.providers.openid_connect",
    ]
    MIDDLEWARE += ["allauth.account.middleware.AccountMiddleware"]
    SOCIALACCOUNT_ADAPTER = "accounts.oidc.Adapter"
    SOCIALACCOUNT_LOGIN_ON_GET = True  # a form that leads to another site would not pass our own content policy
    SOCIALACCOUNT_PROVIDERS = {
        "openid_connect": {
            "OAUTH_PKCE_ENABLED": True,
            "APPS": [
                {
                    # Named after the issuer: another issuer's person 1 is somebody else.
                    "provider_id": "oidc-" + hashlib.sha256(OIDC_ISSUER.encode()).hexdigest()[:16],
                    "name": OIDC_NAME,
                    "client_id": OIDC_CLIENT_ID,
                    "secret": OIDC_CLIENT_SECRET,
                    "settings": {"server_url": OIDC_ISSUER},
                }
            ],
        }
    }

if HTTPS:  # a proxy in front ends TLS, and sets or removes this header in each request
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_SSL_REDIRECT = True
    SECURE_HSTS_SECONDS = HSTS_SECONDS
    # Who asks on this machine and inside a deployment: probes, and workers that use the sandbox.
    SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$", r"^sandbox/"]
# Subdomains and browsers' built-in lists are for the owner of the whole domain to decide.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
EMBED_ORIGINS = env.origins("EMBED_ORIGINS")  # whose pages may show a shared run within them
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
        _database: dict[str, Any] = dict(
            # Checked before use: after a restart of the server every pooled connection would cost somebody an error.
            dj_database_url.parse(DATABASE_URL, conn_max_age=0, conn_health_checks=True)
        )
    except (ValueError, KeyError):
        raise env.BadVariable("DATABASE_URL", "postgres://user:password@host:port/name") from None
    if "postgresql" in _database["ENGINE"]:
        # After so many seconds the next caller tries to connect anew; the pool by itself would go on trying after ever
        # longer pauses, for five minutes, and let each caller wait for half a minute.
        _pool = {"min_size": 1, "max_size": 12, "reconnect_timeout": 5.0, "timeout": 5.0}
        # A server that is gone without a word is noticed within some ten seconds, before a lease is over.
        _alive = {"connect_timeout": 5, "tcp_user_timeout": 10_000, "keepalives_idle": 5}
        _alive |= {"keepalives_interval": 2, "keepalives_count": 3}
        # A worker that stands still within a transaction must not hold its rows for longer than its leases.
        _given = _database.get("OPTIONS", {})
        _settings = f"{_given.get('options', '')} -c idle_in_transaction_session_timeout=10s".strip()
        _database["OPTIONS"] = {**_alive, **_given, "options": _settings, "pool": _pool}
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

# Hold only what may be forgotten. In this process: such as which sessions were noted as used a moment ago.
CACHES: dict[str, dict[str, Any]] = {
    "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "OPTIONS": {"MAX_ENTRIES": 20_000}},
    # The same for all processes of the site: who has got all of a run (dropin/refusals.py).
    "shared": {
        "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
        "LOCATION": "shared",
        "OPTIONS": {"MAX_ENTRIES": 20_000},
    },
}
if REDIS_URL:
    CACHES["shared"] = {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": "stepline",
        "OPTIONS": {"socket_timeout": 2, "socket_connect_timeout": 2},
    }

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
LOST_AFTER_SECONDS = env.number("LOST_AFTER_SECONDS", 24 * 3600.0, low=1)
SILENT_AFTER_SECONDS = env.number("SILENT_AFTER_SECONDS", 600.0, low=1)
LAUNCH_DEADLINE_SECONDS = env.number("LAUNCH_DEADLINE_SECONDS", 120.0, low=1)
LINGER_SECONDS = env.number("LINGER_SECONDS", 3.0, low=0, high=600)
MASK_EMAIL = env.boolean("MASK_EMAIL", False)
MASK_NAMES = env.names("MASK_NAMES")
MASK_PATTERNS = env.patterns("MASK_PATTERNS")

# --- alerts -------------------------------------------------------------------------------------------------------

SITE_URL = env.url("SITE_URL", schemes=("http", "https"))  # unset: HOST and PORT
ALERT_TIMEOUT_SECONDS = env.number("ALERT_TIMEOUT_SECONDS", 15.0, low=1, high=120)
ALERT_LOG_DAYS = env.integer("ALERT_LOG_DAYS", 30, low=1, high=3650)

# --- traces -------------------------------------------------------------------------------------------------------

# The names are those that OpenTelemetry gives to every program.
OTEL_EXPORTER_OTLP_ENDPOINT = env.url("OTEL_EXPORTER_OTLP_ENDPOINT", schemes=("http", "https"))
OTEL_EXPORTER_OTLP_HEADERS = env.headers("OTEL_EXPORTER_OTLP_HEADERS")
OTEL_SERVICE_NAME = env.text("OTEL_SERVICE_NAME", "stepline")

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
        "console": {
            "()": "dashboard.logs.ConsoleFormatter",
            "format": "%(asctime)s %(levelname)-7s %(name)s  %(message)s",
            "datefmt": "%H:%M:%S",
        },
        "json": {"()": "dashboard.logs.JsonFormatter"},
    },
    "handlers": {
        "stderr": {"class": "logging.StreamHandler", "formatter": LOG_FORMAT},
        "nowhere": {"class": "logging.NullHandler"},
    },
    "root": {"handlers": ["stderr"], "level": "WARNING"},
    "loggers": {
        **{
            name: {"level": LOG_LEVEL}
            for name in ("runs", "sandbox", "accounts", "alerts", "api", "dropin", "dashboard", "telemetry")
        },
        # What it says may quote a channel's address; alerts/apprise_service.py hears it, and what is kept is masked.
        "apprise": {"handlers": ["nowhere"], "propagate": False, "level": "DEBUG"},
        "django.request": {"level": "ERROR"},
        "axes": {"level": "ERROR"},  # the audit log tells of failed sign-ins; these would hold what was typed as a name
    },
}
