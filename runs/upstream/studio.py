"""The upstream's studio API: the workflows that are saved there. Every way in which asking can end has a name here.

Items carry the key of an account. It leaves this module only as `Saved.api_key`, for whoever has to see that it stands
nowhere else.
"""

import asyncio
import json
from typing import Any, Final
from urllib.parse import quote

import httpx
import msgspec

from outgoing import http as outgoing
from outgoing.addresses import Forbidden
from runs.core.text import storable

SECONDS: Final = 15.0  # for everything that is asked at one time
MOST_BYTES: Final = 16 * 1024 * 1024  # of all answers together: they are kept side by side
MOST_ITEMS: Final = 500
AT_ONCE: Final = 4  # requests for single workflows
MESSAGE_LIMIT: Final = 300  # characters of the studio's own words; still unmasked, so the caller masks them
_LISTED: Final = ("workflows", "items", "data", "results")  # where a list may stand that is wrapped in an object


class _Allowance:
    """What may still be read, in bytes, at one time of asking."""

    def __init__(self) -> None:
        self.left = MOST_BYTES


class Failed(Exception):
    """The studio gave nothing that can be used; the message says why, in a sentence without an end mark."""


class Saved(msgspec.Struct, frozen=True):
    """A workflow that is saved at the studio. `definition`: None where it has none that can be read; `why` says so."""

    flow_id: str
    flow_name: str
    updated_at: str
    definition: dict[str, Any] | None
    api_key: str
    why: str = ""


async def saved_workflows(studio_url: str, key: str) -> tuple[list[Saved], bool]:
    """Those of the studio, and whether there are more than are read. Raises Failed."""
    try:
        async with asyncio.timeout(SECONDS), _client(key) as client:
            allowance = _Allowance()
            listed = _list(await _get(client, f"{studio_url}/v3/workflows/", allowance))
            limit = asyncio.Semaphore(AT_ONCE)

            async def whole(item: Any) -> Saved:
                if not _names_one_without_definition(item):
                    return _read(item)
                async with limit:
                    try:
                        url = f"{studio_url}/v3/workflows/{_segment(item['flow_id'])}"
                        return _with_key_of(item, _read(await _get(client, url, allowance)))
                    except Failed as failed:
                        return msgspec.structs.replace(_read(item), why=f"The studio was asked for it, and {failed}.")

            found = await asyncio.gather(*(whole(item) for item in listed[:MOST_ITEMS]))
    except TimeoutError:
        raise Failed(f"it did not answer in full within {SECONDS:g} seconds") from None
    return found, len(listed) > MOST_ITEMS


def _client(key: str) -> httpx.AsyncClient:
    # Packed answers are not asked for: a small one may unpack to more than the memory holds.
    headers = {"accept": "application/json", "accept-encoding": "identity", **({"x-api-key": key} if key else {})}
    return outgoing.client(httpx.Timeout(SECONDS), headers)


async def _get(client: httpx.AsyncClient, url: str, allowance: _Allowance) -> Any:
    try:
        async with client.stream("GET", url) as response:
            body = await _read_body(response, allowance)
    except httpx.TimeoutException:
        raise Failed(f"it did not answer within {SECONDS:g} seconds") from None
    except (httpx.ConnectError, httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
        if isinstance(error.__cause__, Forbidden):
            raise Failed(f"requests may not go there: {error}") from None
        raise Failed(f"it cannot be reached ({error or type(error).__name__})") from None
    except (httpx.LocalProtocolError, ValueError):  # in words of our own: theirs may quote the key
        raise Failed("its address or its key has characters that cannot be sent") from None
    except httpx.HTTPError as error:
        raise Failed(f"the connection broke off ({error or type(error).__name__})") from None
    return _json(response, body)


async def _read_body(response: httpx.Response, allowance: _Allowance) -> bytes:
    body = bytearray()
    async for part in response.aiter_raw():
        body += part
        allowance.left -= len(part)
        if allowance.left < 0:
            raise Failed(f"its answers are larger than {MOST_BYTES // 1024**2} MiB")
    return bytes(body)


def _json(response: httpx.Response, body: bytes) -> Any:
    status, words = response.status_code, ""
    page = "text/html" in response.headers.get("content-type", "") or body.lstrip()[:1] == b"<"
    if not page:
        words = _message(body)
    if status in (401, 403):
        raise Failed(f"it refused the API key ({status}{words})")
    if status == 404:
        raise Failed(f"there is nothing at {response.request.url.path} (404); is its studio address right?")
    if 300 <= status < 400:
        raise Failed(f"it answered with a redirect ({status}), which is not followed; is its studio address right?")
    if status == 429:
        raise Failed(f"it has had too many requests (429{words}); try again later")
    if status != httpx.codes.OK:
        raise Failed(f"it answered {status}{words}")
    if page:
        raise Failed("it answered with a web page in place of JSON; is its studio address right?")
    if response.headers.get("content-encoding", "identity") != "identity":
        raise Failed("its answer is packed in a way that was not asked for")
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise Failed("its answer is not JSON that can be read") from None


def _message(body: bytes) -> str:
    """What it says of a refusal, behind a colon; "" where it says nothing readable."""
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    if isinstance(told, dict):
        told = told.get("message") or told.get("detail") or told.get("error")
    return f": {storable(told.strip())[:MESSAGE_LIMIT]}" if isinstance(told, str) and told.strip() else ""


def _list(answer: Any) -> list[Any]:
    if isinstance(answer, dict):
        answer = next((answer[name] for name in _LISTED if isinstance(answer.get(name), list)), answer)
    if not isinstance(answer, list):
        raise Failed("its answer is JSON, but no list of workflows")
    return answer


def _names_one_without_definition(item: Any) -> bool:
    return isinstance(item, dict) and isinstance(item.get("flow_id"), str) and item.get("flow_data") in (None, "", {})


def _segment(flow_id: str) -> str:
    """One step of an address, whatever stands in it."""
    if flow_id in (".", ".."):
        raise Failed("no address can name it")
    return quote(storable(flow_id), safe="")


def _read(item: Any) -> Saved:
    if not isinstance(item, dict):
        return Saved("", "", "", None, "", "It is no JSON object.")
    data, why = _definition(item.get("flow_data"))
    name = item.get("flow_name") or (data or {}).get("flow_name")
    return Saved(
        flow_id=_text(item.get("flow_id")),
        flow_name=_text(name),
        updated_at=_text(item.get("updated_at")),
        definition=data,
        api_key=item["api_key"] if isinstance(item.get("api_key"), str) else "",
        why=why,
    )


def _with_key_of(item: Any, saved: Saved) -> Saved:
    """The key may stand in the list alone."""
    return saved if saved.api_key else msgspec.structs.replace(saved, api_key=_read(item).api_key)


def _definition(data: Any) -> tuple[dict[str, Any] | None, str]:
    """The definition in `flow_data`: an object, the text of one, or one that is wrapped as the documentation has it."""
    if isinstance(data, str):
        try:
            data = json.loads(data)
        except (ValueError, RecursionError):
            return None, "Its flow_data is no JSON."
    if isinstance(data, dict) and "tasks" not in data and isinstance(data.get("workflow_data"), dict):
        data = data["workflow_data"]
    if not isinstance(data, dict):
        return None, "It has no flow_data." if data is None else "Its flow_data is no JSON object."
    return data, ""


def _text(value: Any) -> str:
    return storable(value)[:300] if isinstance(value, str) else ""
