"""A page at the other end of a live socket: it swaps what comes in as the browser would, and acknowledges."""

import json
import re
from typing import Any

from channels.testing import WebsocketCommunicator
from django.test import Client

from accounts.models import User

PARTIAL = re.compile(r'<hx-partial hx-target="([^"]*)" hx-swap="([^"]*)">(.*?)</hx-partial>', re.S)
TASK = re.compile(r'<li id="((?:task|fold)-\d+)".*?</li>', re.S)
ORDER = re.compile(r'data-order="([^"]*)"')
EVENT = re.compile(r'<li id="e-(\d+)"')
INPUT = re.compile(r'<input type="hidden" name="(\w+)"[^>]*value="([^"]*)">')


def client_of(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def cookie_of(client: Client) -> str:
    return "; ".join(f"{name}={morsel.value}" for name, morsel in client.cookies.items())


def socket_to(path: str, cookie: str = "", origin: str = "http://127.0.0.1:8000") -> WebsocketCommunicator:
    from dashboard.asgi import application

    headers = [(b"host", b"127.0.0.1:8000"), (b"origin", origin.encode()), (b"cookie", cookie.encode())]
    return WebsocketCommunicator(application, path, headers=headers)


def parts_of(message: str) -> dict[str, str]:
    """Target -> HTML."""
    return {target: html for target, _, html in PARTIAL.findall(message)}


class Page:
    """The rows, the log and the acknowledgement of one run's page; starts from the first page's HTML."""

    def __init__(self, html: str, socket: WebsocketCommunicator) -> None:
        self.socket = socket
        self.tasks: dict[str, str] = {}
        self.events: list[int] = []
        self.said: dict[str, str] = {}
        self.messages = 0
        self._fill(html)

    def _fill(self, html: str) -> None:
        self.tasks = {found[1]: found[0] for found in TASK.finditer(html)}
        self.events = [int(seq) for seq in EVENT.findall(html)]
        self.said = dict(INPUT.findall(html)) or self.said

    async def acknowledge(self, **other: Any) -> None:
        await self.socket.send_to(text_data=json.dumps({**self.said, **other, "headers": {}}))

    async def take(self, timeout: float = 10.0) -> str:
        """The next message, swapped in; acknowledged by whoever calls."""
        message = await self.socket.receive_from(timeout)
        self.messages += 1
        for target, swap, html in PARTIAL.findall(message):
            match target, swap:
                case "#rows-in", _:
                    self._put(html)
                case "#log", "innerHTML":
                    self.events = [int(seq) for seq in EVENT.findall(html)]
                case "#log", "beforeend":
                    self.events += [int(seq) for seq in EVENT.findall(html)]
                case "#sync", _:
                    self.said = dict(INPUT.findall(html))
                case "#run", "innerHTML":
                    said = self.said
                    self._fill(html)
                    self.said = said
        return message

    def _put(self, html: str) -> None:
        """The rows that came, in the order that was told."""
        came = {found[1]: found[0] for found in TASK.finditer(html)}
        order = ORDER.search(html)
        if order is None:
            assert came.keys() <= self.tasks.keys(), "a row came for which there is no place"
            self.tasks.update(came)
        else:
            have = {**self.tasks, **came}
            self.tasks = {row: have[row] for row in order[1].split()}
