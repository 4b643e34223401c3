"""One connection to an upstream, message by message. What it cannot take as a message it refuses, and reads on.

The protocol would have it closed for a message that is too large or no UTF-8. Then an upstream that sends everything
again to each newcomer would send that message again, too, and what comes after it would never be heard.
"""

from collections import deque
from hashlib import blake2b
from typing import Any

import msgspec
from websockets.asyncio.client import ClientConnection
from websockets.frames import Frame, Opcode
from websockets.protocol import Event

MAX_FRAME = 16 * 1024 * 1024  # bytes; what is larger is received and refused
MAX_REFUSED = 64 * 1024 * 1024  # bytes; for what is larger still the connection is closed
BEGINNING = 512 * 1024  # bytes of a refused message that are kept, for a preview


class Refused(msgspec.Struct, frozen=True):
    """A message that nobody will read. `content` tells it from others: a plain hash, to be keyed before it is kept."""

    reason: str
    detail: str
    beginning: bytes
    size: int  # bytes
    content: str


class _Message:
    """What is known of a message that has come, or is coming in, besides what the library holds of it."""

    __slots__ = ("is_text", "rest", "size")

    def __init__(self, is_text: bool) -> None:
        self.is_text = is_text
        self.size = 0
        self.rest = blake2b()  # of what was thrown away


class Connection(ClientConnection):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.received = 0  # bytes of whatever kind: while they come, the other side is there
        self._messages: deque[_Message] = deque()

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        super().data_received(data)

    def process_event(self, event: Event) -> None:
        """Called by the library for whatever has been parsed, before it queues it."""
        if isinstance(event, Frame):
            if event.opcode in (Opcode.TEXT, Opcode.BINARY):
                self._messages.append(_Message(event.opcode is Opcode.TEXT))
            if event.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                self._shorten(event, self._messages[-1])
        super().process_event(event)

    def _shorten(self, frame: Frame, message: _Message) -> None:
        """Of a message that is too large, only its beginning goes to the queue: no two of them are ever held."""
        kept = max(0, BEGINNING - message.size)
        message.size += len(frame.data)
        if message.size > MAX_FRAME:
            message.rest.update(memoryview(frame.data)[kept:])
            frame.data = bytes(memoryview(frame.data)[:kept])

    async def read(self) -> str | bytes | Refused:
        """The next message: text, bytes where it is binary. Raises ConnectionClosed."""
        data = await self.recv(decode=False)
        message = self._messages.popleft()
        if message.size > MAX_FRAME:
            detail = f"a frame of {message.size:,} bytes; at most {MAX_FRAME:,} are read"
            return self._refused("frame-too-large", detail, data, message)
        if not message.is_text:
            return data
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            return self._refused("not-utf-8", f"text that is no UTF-8 at byte {error.start}", data, message)

    def _refused(self, reason: str, detail: str, data: bytes, message: _Message) -> Refused:
        content = blake2b(data + message.rest.digest(), digest_size=32).hexdigest()
        return Refused(reason, detail, data[:BEGINNING], message.size, content)
