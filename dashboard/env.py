"""Strict readers of environment variables: a wrong value stops the start with one line that names the variable."""

import contextlib
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

TRUE = {"1", "true", "yes", "on"}
FALSE = {"0", "false", "no", "off"}
# Endings of names; an address may have a password in it.
MAY_BE_SECRET = ("KEY", "KEYS", "SECRET", "URL", "ENDPOINT", "HEADERS")


class BadVariable(ImproperlyConfigured):
    """An environment variable holds a value that cannot be used. The message has no value that may be a secret."""

    def __init__(self, name: str, expected: str) -> None:
        secret = name.endswith(MAY_BE_SECRET)
        shown = name if secret else f"{name}={os.environ.get(name, '')!r}"
        super().__init__(f"{shown} cannot be used: expected {expected}")


def text(name: str, default: str = "") -> str:
    """The variable as it is, without surrounding blanks; unset and empty both mean the default."""
    return os.environ.get(name, "").strip() or default


def boolean(name: str, default: bool) -> bool:
    value = text(name).lower()
    if not value:
        return default
    if value in TRUE | FALSE:
        return value in TRUE
    raise BadVariable(name, "one of 1, 0, true, false, yes, no, on, off")


def _number[N: (int, float)](kind: Callable[[str], N], name: str, default: N, low: N, high: N) -> N:
    value = text(name)
    if not value:
        return default
    expected = f"a number from {low} to {high}"
    try:
        number = kind(value)
    except ValueError:
        raise BadVariable(name, expected) from None
    if not low <= number <= high:
        raise BadVariable(name, expected)
    return number


def integer(name: str, default: int, *, low: int = 0, high: int = 2**31) -> int:
    return _number(int, name, default, low, high)


def number(name: str, default: float, *, low: float = 0.0, high: float = 1e9) -> float:
    return _number(float, name, default, low, high)


def choice(name: str, default: str, options: tuple[str, ...]) -> str:
    value = text(name, default)
    if value not in options:
        raise BadVariable(name, "one of " + ", ".join(options))
    return value


def items(name: str, default: tuple[str, ...] = ()) -> list[str]:
    """A comma-separated list."""
    return [item.strip() for item in text(name).split(",") if item.strip()] or list(default)


def names(name: str) -> list[str]:
    """A comma-separated list of names, each with a letter or a digit in it."""
    found = items(name)
    if any(not any(map(str.isalnum, one)) for one in found):
        raise BadVariable(name, "names with a letter or a digit in each, separated by commas")
    return found


def patterns(name: str) -> list[str]:
    """A comma-separated list of regular expressions, none of which matches the empty text."""
    found = items(name)
    for pattern in found:
        try:
            matches_nothing = re.compile(pattern).match("") is not None
        except re.error as error:
            raise BadVariable(name, f"regular expressions, and {pattern!r} is none: {error}") from None
        if matches_nothing:
            raise BadVariable(name, f"regular expressions that match something, and {pattern!r} matches an empty text")
    return found


def url(name: str, default: str = "", *, schemes: tuple[str, ...]) -> str:
    """An absolute address without its trailing slash."""
    value = text(name, default)
    if not value:
        return ""
    parts = urlsplit(value)
    if parts.scheme not in schemes or not parts.netloc:
        raise BadVariable(name, "an address that starts with " + " or ".join(f"{s}://" for s in schemes))
    return value.rstrip("/")


def origins(name: str) -> list[str]:
    """A comma-separated list of sites as a content policy names them: scheme, host, perhaps a port; all subdomains as
    *.host.
    """
    found = [item.rstrip("/").lower() for item in items(name)]
    if not all(re.fullmatch(r"https?://(\*\.)?[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:\d{1,5})?", one) for one in found):
        raise BadVariable(name, "sites like https://wiki.example.com or https://*.example.com, separated by commas")
    return found


def headers(name: str) -> dict[str, str]:
    """A comma-separated list of HTTP headers, name=value, in which a value may be percent-encoded."""
    found = {}
    for item in items(name):
        header, _, value = (part.strip() for part in item.partition("="))
        value = unquote(value).strip()
        if not re.fullmatch(r"[\w!#$%&'*+.^`|~-]+", header, re.ASCII) or not (value.isascii() and value.isprintable()):
            raise BadVariable(name, "headers as name=value, separated by commas, in printable ASCII")
        found[header.lower()] = value
    return found


def folder(name: str, default: Path) -> Path:
    """A folder that exists after the call."""
    path = Path(text(name, str(default))).expanduser().resolve()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadVariable(name, f"a folder that can be written ({error.strerror})") from None
    return path


def secret(name: str, path: Path, make: Callable[[], str]) -> str:
    """The variable, else the key kept in `path`; made there with mode 600 when there is none.

    The file comes into being whole: two processes that start at once use the same key.
    """
    value = text(name)
    if value:
        return value
    if not path.exists():
        handle, new = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")  # mode 600
        try:
            with os.fdopen(handle, "w") as file:
                file.write(make())
            with contextlib.suppress(FileExistsError):
                os.link(new, path)
        finally:
            os.unlink(new)
    kept = path.read_text().strip()
    if not kept:
        raise ImproperlyConfigured(f"{path} is empty: put the key back, or remove the file to have a new one made")
    return kept
