"""Whose certificates are believed."""

import ssl
from functools import cache

import httpx


@cache
def trusted() -> ssl.SSLContext:
    """The authorities that httpx brings, those of the system, and those that SSL_CERT_FILE names.

    They are read once: that takes 40 ms, in which the event loop stands still.
    """
    context = httpx.create_ssl_context(trust_env=False)
    context.load_default_certs()
    return context
