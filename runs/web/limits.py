"""The server's own limit on bodies: daphne would write one of any size to the disk before anybody looks at it."""

from typing import Any, Final

from daphne import http_protocol
from django.conf import settings

MOST: Final = 2 * (settings.DATA_UPLOAD_MAX_MEMORY_SIZE or 0)  # bytes; below, the site itself says what is too large

_ANSWER = b"The body is too large.\n"


class LimitedRequest(http_protocol.WebRequest):  # type: ignore[misc]
    """A request that ends with 413 as soon as its body is longer than MOST, announced or in chunks."""

    received = 0
    refused = False

    def gotLength(self, length: int | None) -> None:  # Twisted's name
        super().gotLength(length if length is None or length <= MOST else 0)
        if length is not None and length > MOST:
            self._refuse()

    def handleContentChunk(self, data: bytes) -> None:
        self.received += len(data)
        if self.received > MOST:
            self._refuse()
        if not self.refused:
            super().handleContentChunk(data)

    def process(self) -> Any:
        return None if self.refused else super().process()

    def _refuse(self) -> None:
        if not self.refused:
            self.refused = True
            self.channel.transport.write(
                b"HTTP/1.1 413 Content Too Large\r\nconnection: close\r\ncontent-type: text/plain\r\n"
                b"content-length: %d\r\n\r\n%s" % (len(_ANSWER), _ANSWER)
            )
            self.channel.loseConnection()


def install() -> None:
    """Let daphne's servers of this process make such requests; there is no setting for it."""
    http_protocol.WebRequest = LimitedRequest
