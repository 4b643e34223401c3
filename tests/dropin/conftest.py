"""Clients of the upstream's protocol that come to us, and rows for them to get."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from urllib.parse import quote

import pytest
from channels.db import database_sync_to_async
from channels.testing import WebsocketCommunicator
from django.core.cache import caches
from django.db import transaction

from runs.models import Event, Run
from runs.web import live
from tests.factories import START

SECONDS = 20.0  # the machine may be busy


@pytest.fixture(autouse=True)
def nobody_has_been_here() -> Iterator[None]:
    caches["shared"].clear()
    yield
    caches["shared"].clear()
    assert not live.DOORKEEPER._inside, "a test left a socket open, and the next one has another loop"


@partial(database_sync_to_async, thread_sensitive=False)
def in_thread[R](function: Callable[[], R]) -> R:
    return function()


@transaction.atomic
def tell(run: Run, *event_types: str, **fields: Any) -> None:
    """Further events of the run, stored as a follower stores them, in one write with these fields of the run."""
    seq = Run.objects.get(pk=run.pk).last_seq
    events = [
        Event(
            run=run,
            seq=seq + n,
            event_type=event_type,
            timestamp=START + seq + n,
            received_at=START + seq + n,
            digest=f"{seq + n:032x}",
            payload=json.dumps({"event_type": event_type, "run_name": run.run_name, "timestamp": START + seq + n}),
        )
        for n, event_type in enumerate(event_types, 1)
    ]
    Event.objects.bulk_create(events)
    Run.objects.filter(pk=run.pk).update(last_seq=seq + len(events), **fields)


def finish(run: Run) -> None:
    """What a follower writes after the linger."""
    Run.objects.filter(pk=run.pk).update(connection=Run.Connection.CLOSED)


class Visitor:
    """One socket to /ws/FLOW/RUN; `token` goes into the address."""

    def __init__(
        self, run: Run, token: str = "", *, origin: str = "", cookie: str = "", agent: str = "", **query: Any
    ) -> None:
        from dashboard.asgi import application

        asked = "&".join(f"{name}={quote(str(value))}" for name, value in {**query, "token": token}.items() if value)
        path = f"/ws/{quote(run.flow_name, safe='')}/{quote(run.run_name, safe='')}"
        headers = {"host": "127.0.0.1:8000", "origin": origin, "cookie": cookie, "user-agent": agent}
        self.socket = WebsocketCommunicator(
            application,
            f"{path}?{asked}",
            headers=[(name.encode(), value.encode()) for name, value in headers.items() if value],
        )
        self.socket.scope["raw_path"] = path.encode()

    async def connect(self) -> int | None:
        """None when it is let in, else the code of the refusal."""
        connected, code = await self.socket.connect(SECONDS)
        return None if connected else int(code or 1000)

    async def next(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(await self.socket.receive_from(SECONDS))
        return found

    async def closing(self) -> tuple[int, str]:
        """Its code and its reason; the client answers as clients do."""
        said = await self.socket.receive_output(SECONDS)
        assert said["type"] == "websocket.close", said
        await self.socket.disconnect(said["code"])
        return said["code"], said.get("reason", "")

    async def until_closed(self) -> tuple[list[int], int]:
        """The `_seq` of all that comes, and the code of the end."""
        seqs = []
        while True:
            said = await self.socket.receive_output(SECONDS)
            if said["type"] == "websocket.close":
                await self.socket.disconnect(said["code"])
                return seqs, said["code"]
            seqs.append(json.loads(said["text"])["_seq"])

    async def leave(self, code: int = 1005) -> None:
        await self.socket.disconnect(code)
