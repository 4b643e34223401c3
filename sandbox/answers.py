"""What a task answers when its script does not say: made-up outputs, and the one real thing, an HTTP call.

Everything drawn comes from the `random.Random` passed in, so that a seeded run repeats.
"""

import random
import re
from typing import Any

import httpx

from outgoing import http as outgoing
from sandbox.definition import CONDITIONAL, ROUTER, Task

API_CALL = "api_call"
TIMEOUT_SECONDS = 30.0
MAX_ANSWER_BYTES = 1024 * 1024
# Seconds that an unscripted task takes, drawn from the range.
USUAL_SECONDS = {
    "call_lyzr_agent": [0.8, 2.5],
    API_CALL: [0.2, 0.8],
    ROUTER: [0.5, 1.2],
    CONDITIONAL: [0.3, 0.8],
    "approval_block": [3.0, 6.0],
    "a2a": [1.0, 3.0],
}
OTHER_SECONDS = [0.5, 1.5]
MEANINGFUL_LETTERS = 4


class CallFailed(Exception):
    """A real HTTP call went wrong; `error` is the object for task_failed."""

    def __init__(self, kind: str, message: str, code: str | int) -> None:
        super().__init__(message)
        self.error = {"type": kind, "message": message, "code": code}


def made_up(task: Task, resolved: dict[str, Any], draw: random.Random) -> Any:
    """An output of the shape that this function has upstream, made from the resolved params."""
    message = str(resolved.get("message", ""))
    config = resolved.get("config")
    config = config if isinstance(config, dict) else {}
    match task.function:
        case "gpt_router":
            return route(resolved, draw)
        case "gpt_conditional_block":
            return {"result": True, "condition": resolved.get("condition"), "reasoning": "Not scripted."}
        case "api_call":
            return {"status_code": 200, "response": {"ok": True}, "note": "Made up: nobody was called."}
        case "approval_block":
            asked = resolved.get("approvals")
            people = [each for each in asked if isinstance(each, dict)] if isinstance(asked, list) else []
            return {
                "approved": True,
                "approvals": [{**each, "approval_status": "approved"} for each in people],
            }
        case _:
            name = config.get("agent_name") or config.get("agent_id") or task.name
            return {"response": f"{name} has read: {message[:200]}" if message else f"{name} is done."}


def route(resolved: dict[str, Any], draw: random.Random) -> dict[str, Any]:
    """The route whose name, description and examples share most words with the message, else the fallback."""
    message = str(resolved.get("message", ""))
    said = _words(message)
    offered = resolved.get("routes")
    scores: dict[str, float] = {}
    for each in offered if isinstance(offered, list) else []:
        if isinstance(each, dict) and isinstance(each.get("name"), str):
            texts = [each["name"], each.get("description"), *_examples(each.get("examples"))]
            known = _words(" ".join(str(text) for text in texts if text))
            scores[each["name"]] = round(len(said & known) / max(len(said), 1), 3)
    best = max(scores, key=lambda name: scores[name], default=None)
    fallback = resolved.get("fallback_route")
    if best is None or (not scores[best] and fallback):
        best, reasoning = fallback, "No route shares a word with the message."
    else:
        reasoning = f"The message is closest to what {best} describes."
    return {
        "route": best,
        "confidence": round(draw.uniform(0.8, 0.99), 2),
        "reasoning": reasoning,
        "all_scores": scores,
        "user_message": message,
    }


async def call_api(resolved: dict[str, Any]) -> dict[str, Any]:
    """Make the request of an `api_call`: {"status_code", "response"}. Raises CallFailed.

    The params beside `config` are the JSON body of any method but GET and HEAD. No proxy, no redirects, and
    at most MAX_ANSWER_BYTES of the answer.
    """
    config = resolved.get("config")
    if not isinstance(config, dict) or not isinstance(url := config.get("url"), str):
        raise CallFailed("ConfigError", "config.url of this api_call is not a text", "NO_URL")
    method = str(config.get("method", "GET")).upper()
    body = {key: value for key, value in resolved.items() if key != "config"}
    if isinstance(mapped := config.get("body"), dict):
        body |= mapped
    try:
        async with (
            outgoing.client(TIMEOUT_SECONDS) as client,
            client.stream(
                method,
                url,
                params=config.get("query"),
                headers=config.get("headers"),
                json=None if method in ("GET", "HEAD") else body,
            ) as response,
        ):
            content = b""
            async for chunk in response.aiter_bytes():
                content += chunk
                if len(content) > MAX_ANSWER_BYTES:
                    message = f"{url} sent more than {MAX_ANSWER_BYTES} bytes"
                    raise CallFailed("ResponseTooLarge", message, "TOO_LARGE")
            answer = httpx.Response(response.status_code, headers=_type_only(response), content=content)
    except (httpx.HTTPError, httpx.InvalidURL, TypeError, ValueError) as error:
        raise CallFailed(type(error).__name__, f"{method} {url} failed: {error}", "REQUEST_FAILED") from error
    if not answer.is_success:
        raise CallFailed("HTTPStatusError", f"{method} {url} answered {answer.status_code}", answer.status_code)
    try:
        return {"status_code": answer.status_code, "response": answer.json()}
    except ValueError:
        return {"status_code": answer.status_code, "response": answer.text}


def _type_only(response: httpx.Response) -> dict[str, str]:
    """The content is decoded already: keeping its encoding header would have it decoded twice."""
    return {"content-type": response.headers.get("content-type", "text/plain")}


def _examples(examples: Any) -> list[Any]:
    return [each.get("text") for each in examples if isinstance(each, dict)] if isinstance(examples, list) else []


def _words(text: str) -> set[str]:
    """The words that may tell one text from another: longer than "the" and "and"."""
    return {word for word in re.findall(r"\w+", text.lower()) if len(word) >= MEANINGFUL_LETTERS}
