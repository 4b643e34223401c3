"""Who is connected to which run, and the one way to say something to them.

A run's address is its two names, as upstream: whoever uses the same names hears the same frames. All in the
memory of one event loop; frames are text and go out as they came in.
"""

import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable

log = logging.getLogger("sandbox")

Address = tuple[str, str]  # flow name, run name
Send = Callable[[str], Awaitable[None]]

KEPT_ADDRESSES = 500
KEPT_FRAMES = 20_000  # of one address


class Rooms:
    def __init__(self) -> None:
        self._members: dict[Address, list[Send]] = {}
        self._said: OrderedDict[Address, list[str]] = OrderedDict()

    async def join(self, address: Address, send: Send, *, replay: bool) -> None:
        """Connect one listener; with `replay` it first gets all that was said and kept here."""
        said = self._said.get(address, []) if replay else []
        position = 0
        # Sending may let others speak, so look again each time: when nothing is left, the listener is up to
        # date, and nothing can be said between that look and the append below.
        while position < len(said):
            await send(said[position])
            position += 1
        self._members.setdefault(address, []).append(send)

    def leave(self, address: Address, send: Send) -> None:
        members = self._members.get(address, [])
        if send in members:
            members.remove(send)
        if not members:
            self._members.pop(address, None)

    def listeners(self, address: Address) -> int:
        return len(self._members.get(address, ()))

    async def say(self, address: Address, frame: str, *, keep: bool) -> None:
        """Send one frame to everybody at this address; with `keep`, a later `join` can replay it."""
        if keep:
            said = self._said.setdefault(address, [])
            self._said.move_to_end(address)
            if len(said) < KEPT_FRAMES:
                said.append(frame)
            while len(self._said) > KEPT_ADDRESSES:
                self._said.popitem(last=False)
        for send in list(self._members.get(address, ())):
            try:
                await send(frame)
            except Exception:
                log.debug("a listener of %r is gone", address, exc_info=True)
                self.leave(address, send)
