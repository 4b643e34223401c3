"""An httpx client whose every request goes through the guard: no proxy, no redirect, no second look-up."""

import asyncio
import ssl
from typing import Any

import httpx

from outgoing.addresses import Forbidden, IPAddress
from outgoing.dialling import ADDRESS_SECONDS, resolve
from outgoing.trust import trusted


class GuardedTransport(httpx.AsyncBaseTransport):
    """Sends each request to an address that was checked, under the name that was asked for (Host, SNI, certificate)."""

    def __init__(self, verify: ssl.SSLContext | None = None) -> None:
        # Nothing is kept alive: a pool knows its connections by address, and two names may share one.
        limits = httpx.Limits(max_keepalive_connections=0)
        self._inner = httpx.AsyncHTTPTransport(verify=verify or trusted(), trust_env=False, limits=limits)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        host = request.url.raw_host.decode("ascii").strip("[]")
        port = request.url.port or (443 if request.url.scheme == "https" else 80)
        seconds = request.extensions.get("timeout", {}).get("connect")
        try:
            async with asyncio.timeout(seconds):
                addresses = await resolve(host, port)
        except TimeoutError:
            raise httpx.ConnectTimeout(f"{host} could not be looked up in {seconds:g} s", request=request) from None
        except Forbidden as forbidden:
            raise httpx.ConnectError(str(forbidden), request=request) from forbidden
        except (OSError, UnicodeError) as error:
            raise httpx.ConnectError(f"{host}: {error}", request=request) from error
        for address in addresses[:-1]:
            try:
                return await self._inner.handle_async_request(_to(address, host, request, hurried=True))
            except (httpx.ConnectError, httpx.ConnectTimeout):  # before anything was sent
                continue
        return await self._inner.handle_async_request(_to(addresses[-1], host, request))

    async def aclose(self) -> None:
        await self._inner.aclose()


def _to(address: IPAddress, host: str, request: httpx.Request, *, hurried: bool = False) -> httpx.Request:
    extensions: dict[str, Any] = {**request.extensions, "sni_hostname": host}
    if hurried:
        timeout = extensions.get("timeout", {})
        seconds = min(ADDRESS_SECONDS, timeout.get("connect") or ADDRESS_SECONDS)
        extensions["timeout"] = {**timeout, "connect": seconds}
    return httpx.Request(
        request.method,
        request.url.copy_with(host=str(address)),
        headers=request.headers,  # its Host is the name's
        stream=request.stream,
        extensions=extensions,
    )


def client(
    timeout: httpx.Timeout | float, headers: dict[str, str] | None = None, verify: ssl.SSLContext | None = None
) -> httpx.AsyncClient:
    """Ignores proxy variables and follows no redirect: a request goes where its address says, and nowhere else.

    Believes whom `trusted` names, unless told otherwise.
    """
    return httpx.AsyncClient(
        transport=GuardedTransport(verify),
        timeout=timeout,
        headers=headers,
        trust_env=False,
        follow_redirects=False,
    )
