"""Which addresses requests may go to. Decides from the text of an address alone; outgoing/dialling.py looks names up.

ALLOW_PRIVATE_UPSTREAMS lifts what is said here about networks and ports; never what is said about the form.
"""

import ipaddress
import socket
import unicodedata
from typing import Final
from urllib.parse import urlsplit

from django.conf import settings

type IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

LONGEST: Final = 500  # characters of an address
WEB_PORTS: Final = (80, 443)
FIRST_FREE_PORT: Final = 1024  # below it only the web's own
# Services that take orders from whoever reaches them, and that no orchestrator listens on.
SERVICE_PORTS: Final = frozenset(
    {1433, 1521, 2049, 2375, 2376, 2379, 2380, 3306, 3389, 5432, 5672, 5900, 5984, 6379, 6443, 6667, 8500, 9042, 9200}
    | {9300, 10250, 10255, 11211, 27017}
)
PRIVATE_ENDINGS: Final = ("localhost", "local", "internal", "lan", "intranet", "home.arpa", "localdomain")

_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_IP_LETTERS = frozenset("0123456789abcdefx.")
# What the registries call public and is not: the old 6to4 relays, IPv6 documentation, one cloud's metadata service.
_NOT_PUBLIC = tuple(map(ipaddress.ip_network, ("192.88.99.0/24", "3fff::/20", "168.63.129.16/32")))


class Forbidden(OSError):
    """Requests may not go there; the message says where and why, in a sentence without an end mark."""


def private_allowed() -> bool:
    return bool(settings.ALLOW_PRIVATE_UPSTREAMS)


def is_public(address: IPAddress) -> bool:
    """Whether this is an address of the public internet, whatever IPv4 address may be wrapped in it."""
    if isinstance(address, ipaddress.IPv6Address):
        if inner := address.ipv4_mapped or address.sixtofour or _nat64(address):
            return is_public(inner)
        if address not in _GLOBAL_UNICAST:
            return False
    if any(address.version == network.version and address in network for network in _NOT_PUBLIC):
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved)


def _nat64(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else None


def literal(host: str) -> IPAddress | None:
    """The IP address that this host is, in whatever way it is written: 127.1, 0x7f000001, 017700000001, [::1%lo].

    None for a name.
    """
    plain = unicodedata.normalize("NFKC", host).lower().strip("[]").rstrip(".")
    try:
        return ipaddress.ip_address(plain)
    except ValueError:
        pass
    if plain and set(plain) <= _IP_LETTERS:
        try:
            return ipaddress.IPv4Address(socket.inet_aton(plain))
        except (OSError, ValueError):
            return None
    return None


def check(url: str, schemes: tuple[str, ...]) -> None:
    """Raises Forbidden, in words for whoever entered the address, unless requests may go there as far as one can see
    without looking its name up.
    """
    expected = " or ".join(f"{scheme}://" for scheme in schemes)
    if len(url) > LONGEST or any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in url):
        raise Forbidden(f"An address has at most {LONGEST} characters, and no control characters")
    try:
        parts = urlsplit(url.strip())
        host, port = parts.hostname, parts.port
    except ValueError:
        raise Forbidden("This is no address") from None
    if parts.scheme not in schemes or not host or "\\" in url or " " in url.strip():
        raise Forbidden(f"This is no address that starts with {expected}")
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise Forbidden("The address may have no query, fragment, user or password in it")
    check_host(host, port if port is not None else 443 if parts.scheme in ("https", "wss") else 80)


def check_host(host: str, port: int) -> None:
    """Raises Forbidden for a host that is an address of, or a name in, a private network, and for a port where no
    orchestrator listens.
    """
    if private_allowed():
        return
    address = literal(host)
    if address is not None:
        check_address(address, host)
    elif _is_private_name(host):
        raise Forbidden(f"{host} is a name in a private network{_OFF}")
    if port not in WEB_PORTS and (port < FIRST_FREE_PORT or port in SERVICE_PORTS):
        raise Forbidden(f"Port {port} belongs to another service{_OFF}")


def check_address(address: IPAddress, host: str) -> None:
    """Raises Forbidden for an address of a private network; `host` is how it was asked for."""
    if not private_allowed() and not is_public(address):
        what = host if literal(host) else f"{host} leads to {address}, which"
        raise Forbidden(f"{what} is no public address{_OFF}")


_OFF = ", and ALLOW_PRIVATE_UPSTREAMS is off"


def _is_private_name(host: str) -> bool:
    name = unicodedata.normalize("NFKC", host).lower().rstrip(".")
    return "." not in name or name.endswith(tuple(f".{ending}" for ending in PRIVATE_ENDINGS))
