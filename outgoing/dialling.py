"""A name, looked up once and checked, and a connection to the very address that was checked."""

import asyncio
import contextlib
import ipaddress
import socket
from typing import Final
from urllib.parse import urlsplit

from outgoing.addresses import IPAddress, check_address, check_host, literal, private_allowed

ADDRESS_SECONDS: Final = 5.0  # for one address of a name that has several, so that a dead one leaves time for the next


async def resolve(host: str, port: int) -> list[IPAddress]:
    """Every address of this host, in the order to try. Raises Forbidden if any may not be dialled, else OSError."""
    check_host(host, port)
    if address := literal(host):
        return [address]
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(ipaddress.ip_address(entry[4][0]) for entry in found))
    if not addresses:
        raise OSError(f"{host} has no address")
    for address in addresses:
        check_address(address, host)
    return addresses


async def dial(host: str, port: int) -> socket.socket:
    """A connected, non-blocking socket. Raises Forbidden, or OSError (TimeoutError among them) when nobody answers."""
    addresses = await resolve(host, port)
    for number, address in enumerate(addresses):
        last = number == len(addresses) - 1
        try:
            async with asyncio.timeout(None if last else ADDRESS_SECONDS):  # the last one has what the caller gives
                return await _connected(address, port)
        except OSError:
            if last:
                raise
    raise AssertionError("resolve gives at least one address")


async def _connected(address: IPAddress, port: int) -> socket.socket:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(made, (str(address), port))
    except BaseException:
        made.close()
        raise
    return made


def check_name(url: str) -> None:
    """Raises Forbidden when the name in this address, which `check` let through, leads into a private network now.

    Blocks for as long as the system's resolver takes. A name that has no address yet is not refused: what counts is
    the check at each connection.
    """
    host = urlsplit(url.strip()).hostname
    if private_allowed() or not host:
        return
    with contextlib.suppress(socket.gaierror, UnicodeError):
        for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM):
            check_address(ipaddress.ip_address(entry[4][0]), host)
