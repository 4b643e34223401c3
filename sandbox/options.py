"""The sandbox's settings, read at the moment of use so that a test can change one."""

from django.conf import settings


def speed() -> float:
    """SANDBOX_SPEED: how many times faster than scripted everything goes."""
    return float(getattr(settings, "SANDBOX_SPEED", 1.0))


def replay() -> bool:
    """SANDBOX_REPLAY: "full" sends a late connection what it missed; "none", as the upstream, does not."""
    return bool(getattr(settings, "SANDBOX_REPLAY", "none") == "full")


def api_calls_allowed() -> bool:
    """SANDBOX_ALLOW_API_CALLS: whether an `api_call` without a scripted answer really goes out."""
    return bool(getattr(settings, "SANDBOX_ALLOW_API_CALLS", False))


def keepalive_seconds() -> float:
    """SANDBOX_KEEPALIVE_SECONDS: the silence of a client after which a socket gets a keepalive."""
    return float(getattr(settings, "SANDBOX_KEEPALIVE_SECONDS", 20.0))
