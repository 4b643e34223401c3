"""The two forms of log lines. Both are masked: an exception may quote what nobody meant to log."""

import datetime
import json
import logging
import sys
from functools import cache
from types import TracebackType
from typing import Any

from django.conf import settings

from runs import about
from runs.core.keys import derived
from runs.core.redact import Masker

# The text of a link lets in whoever reads it (runs/sharing.py), and stands in addresses that lines quote.
LINK_TEXT = r"(?<=/s/)[\w-]{40,}"


@cache
def _masker() -> Masker:
    """Made at the first line: the settings are not there yet when logging is set up."""
    keys = (settings.UPSTREAM_API_KEY, settings.OIDC_CLIENT_SECRET, settings.SECRET_KEY, *settings.FERNET_KEYS)
    secrets = (*keys, *settings.OTEL_EXPORTER_OTLP_HEADERS.values())
    return Masker(
        derived(settings.SECRET_KEY, "fingerprints"),
        extra_names=settings.MASK_NAMES,
        extra_patterns=(*settings.MASK_PATTERNS, LINK_TEXT),
        known_values=filter(None, secrets),
        mask_email=settings.MASK_EMAIL,
    )


class ConsoleFormatter(logging.Formatter):
    """For people: time, level, logger, message, and the traceback below."""

    def format(self, record: logging.LogRecord) -> str:
        return _masker().text(super().format(record))


class JsonFormatter(logging.Formatter):
    """For machines that collect logs: one object a line, its fields as docs/operations.md has them."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "time": datetime.datetime.fromtimestamp(record.created, datetime.UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _masker().text(record.getMessage()),
        }
        given = {name: vars(record)[name] for name in ("run",) if name in vars(record)}
        for name, value in (about.said() | given).items():
            entry[name] = _masker().text(value) if isinstance(value, str) else value
        if request := getattr(record, "request", None):  # of Django's own lines
            entry |= {"method": getattr(request, "method", None), "path": _masker().text(getattr(request, "path", ""))}
        if record.exc_info:
            entry["traceback"] = _masker().text(self.formatException(record.exc_info))
        if record.stack_info:
            entry["stack"] = _masker().text(self.formatStack(record.stack_info))
        return json.dumps(entry)


def all_in_lines() -> None:
    """What Python would print by itself becomes a line like the others: warnings, and what ends the process."""
    logging.captureWarnings(True)
    sys.excepthook = _last_words


def _last_words(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    logging.getLogger("dashboard").critical("ended by %s: %s", kind.__name__, error, exc_info=(kind, error, trace))
