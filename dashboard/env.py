"""Strict readers of environment variables: a wrong value stops the start with one line that names the variable."""

import os
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

TRUE = {"1", "true", "yes", "on"}
FALSE = {"0", "false", "no", "off"}


class BadVariable(ImproperlyConfigured):
    """An environment variable holds a value that cannot be used."""

    def __init__(self, name: str, expected: str) -> None:
        super().__init__(f"{name}={os.environ.get(name, '')!r} cannot be used: expected {expected}")


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


def url(name: str, default: str = "", *, schemes: tuple[str, ...]) -> str:
    """An absolute address without its trailing slash."""
    value = text(name, default)
    if not value:
        return ""
    parts = urlsplit(value)
    if parts.scheme not in schemes or not parts.netloc:
        raise BadVariable(name, "an address that starts with " + " or ".join(f"{s}://" for s in schemes))
    return value.rstrip("/")


def folder(name: str, default: Path) -> Path:
    """A folder that exists after the call."""
    path = Path(text(name, str(default))).expanduser().resolve()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadVariable(name, f"a folder that can be written ({error.strerror})") from None
    return path


def secret(name: str, path: Path, make: Callable[[], str]) -> str:
    """The variable, else the key kept in `path`; made there with mode 600 when there is none."""
    value = text(name)
    if value:
        return value
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text().strip()
    with os.fdopen(handle, "w") as file:
        file.write(made := make())
    return made
