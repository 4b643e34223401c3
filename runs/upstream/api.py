"""The upstream's two HTTP calls: run-dag and task-status. Every way in which they can end has a name here."""

from typing import Any
from urllib.parse import quote

import httpx
import msgspec

from outgoing import http as outgoing
from outgoing.addresses import Forbidden
from runs.core.text import storable

LAUNCH_TIMEOUT = httpx.Timeout(30.0, connect=10.0)
STATUS_TIMEOUT = httpx.Timeout(10.0)
MESSAGE_LIMIT = 4000  # characters of the upstream's own words; still unmasked, so the caller masks, then shortens


class Unreachable(Exception):
    """The request did not reach the upstream: nothing was launched, and trying again is safe."""


class NotAllowed(Unreachable):
    """Requests may not go to its address; trying again is of no use."""


class Refused(Exception):
    """The upstream has answered that it will not launch this. `status` is the HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Unconfirmed(Exception):
    """The request went out and no usable answer came: the run may have begun. It must not be sent again."""


class Status(msgspec.Struct, frozen=True):
    """An answer of task-status."""

    status: str
    payload: dict[str, Any]


def _client(timeout: httpx.Timeout, key: str) -> httpx.AsyncClient:
    return outgoing.client(timeout, {"x-api-key": key} if key else {})


def _json(response: httpx.Response) -> Any:
    """The answer's JSON; None when it is none that can be read."""
    try:
        return response.json()
    except (ValueError, RecursionError):  # nested too deeply
        return None


def _message(response: httpx.Response) -> str:
    """What the upstream says of its refusal, in whatever of the usual shapes it says it."""
    body = _json(response)
    if isinstance(body, dict):
        body = body.get("message") or body.get("detail") or body.get("error") or body
    elif body is None:
        body = response.text
    return storable(str(body).strip()[:MESSAGE_LIMIT]) or "no reason given"


async def run_dag(api_url: str, key: str, body: dict[str, Any]) -> str:
    """Launch. Returns the upstream's task_id of the run ('' when it gave none).

    Raises Unreachable, Refused or Unconfirmed.
    """
    try:
        async with _client(LAUNCH_TIMEOUT, key) as client:
            response = await client.post(f"{api_url}/run-dag/", json=body)
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
        kind = NotAllowed if isinstance(error.__cause__, Forbidden) else Unreachable
        raise kind(str(error) or type(error).__name__) from error
    except (httpx.LocalProtocolError, ValueError):  # in words of our own: theirs may quote the key
        raise Unreachable("its address or its key has characters that cannot be sent") from None
    except httpx.HTTPError as error:
        raise Unconfirmed(f"no answer ({str(error) or type(error).__name__})") from error
    if response.status_code == httpx.codes.REQUEST_TIMEOUT:
        raise Unconfirmed(f"it answered 408: {_message(response)}")
    if 300 <= response.status_code < 500:
        raise Refused(response.status_code, _message(response))
    if response.status_code >= 500:
        raise Unconfirmed(f"it answered {response.status_code}: {_message(response)}")
    answer = _json(response)
    task_id = answer.get("task_id") if isinstance(answer, dict) else None
    return storable(str(task_id))[:200] if task_id else ""


async def task_status(api_url: str, key: str, task_id: str) -> Status | None:
    """What the upstream says of a run now; None when it gives no usable answer."""
    try:
        async with _client(STATUS_TIMEOUT, key) as client:
            response = await client.get(f"{api_url}/task-status/{quote(task_id, safe='')}")
        answer = _json(response) if response.status_code == httpx.codes.OK else None
    except (httpx.HTTPError, httpx.InvalidURL, ValueError):
        return None
    if not isinstance(answer, dict) or not isinstance(answer.get("status"), str):
        return None
    return Status(status=answer["status"].lower(), payload=answer)
