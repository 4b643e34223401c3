"""A WebSocket client connection through the guard: no proxy, no redirect, no second look-up."""

from typing import Any
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect

from outgoing.dialling import dial
from outgoing.trust import trusted


class guarded_connect(connect):  # used as the function that `connect` is
    """`websockets.connect` to an address that was checked; Host, SNI and certificate stay those of the name.

    Raises Forbidden on top of what `connect` raises.
    """

    def __init__(self, uri: str, **options: Any) -> None:
        if urlsplit(uri).scheme == "wss":
            options.setdefault("ssl", trusted())
        super().__init__(uri, proxy=None, **options)

    async def open_tcp_connection(self) -> ClientConnection:
        self.create_connection_kwargs["sock"] = await dial(self.ws_uri.host, self.ws_uri.port)
        return await super().open_tcp_connection()

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc
