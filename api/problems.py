"""Errors as RFC 9457 problem documents: what happened, to which thing, and where in the request."""

import json
import logging
from collections.abc import Iterable
from typing import Any

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, HttpError, ValidationError

from accounts.limits import TooMany
from runs.actions import Overtaken, Refused, Taken

logger = logging.getLogger(__name__)

TITLES = {
    "bad-cursor": "The cursor cannot be used",
    "bad-json": "The body is not JSON",
    "csrf": "The CSRF check failed",
    "disk-full": "The disk is full",
    "internal": "Something went wrong here",
    "invalid": "The request is not valid",
    "key-reused": "The Idempotency-Key was used for another request",
    "method": "This address does not answer that method",
    "not-found": "There is no such thing",
    "overtaken": "Somebody else changed it meanwhile",
    "refused": "This cannot be done",
    "role": "The role is too low",
    "taken": "The name is taken",
    "too-large": "The body is too large",
    "too-many": "Too many calls",
    "unauthorized": "Sign-in needed",
    "unavailable": "The database does not answer",
}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "enum": [f"urn:stepline:problem:{kind}" for kind in TITLES]},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "description": "The place of each mistake",
            "items": {
                "type": "object",
                "properties": {
                    "place": {"type": "string"},
                    "task": {"type": ["string", "null"]},
                    "message": {"type": "string"},
                },
            },
        },
    },
}
DISK_FULL = ("disk is full", "No space left on device")  # in SQLite's words and in PostgreSQL's


class Problem(Exception):
    """Ends a call with this problem document."""

    def __init__(
        self, status: int, kind: str, detail: str, errors: Iterable[dict[str, Any]] = (), *, wait: int | None = None
    ) -> None:
        """`wait`: seconds after which the same call may be made again."""
        super().__init__(detail)
        self.status, self.kind, self.detail, self.errors, self.wait = status, kind, detail, list(errors), wait

    def response(self) -> HttpResponse:
        document: dict[str, Any] = {
            "type": f"urn:stepline:problem:{self.kind}",
            "title": TITLES[self.kind],
            "status": self.status,
            "detail": self.detail,
        }
        if self.errors:
            document["errors"] = self.errors
        answer = HttpResponse(json.dumps(document), status=self.status, content_type="application/problem+json")
        if self.status == 401:
            answer["WWW-Authenticate"] = 'Bearer realm="stepline"'
        if self.wait is not None:
            answer["Retry-After"] = str(self.wait)
        return answer


def mistake(place: str, message: str, task: str | None = None) -> dict[str, Any]:
    return {"place": place, "task": task, "message": message}


def unauthorized(detail: str) -> Problem:
    return Problem(401, "unauthorized", detail)


def place_of(location: Iterable[str | int]) -> str:
    """A place in a request as people write it: ("body", "body", "inputs", "rows", 0) to "inputs.rows[0]"."""
    source, *steps = location
    if steps and steps[0] == source:  # the name of the parameter that holds the whole body or query
        del steps[0]
    place = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
    return place.lstrip(".") or str(source)


def from_validation(error: ValidationError) -> Problem:
    errors = [mistake(place_of(one["loc"]), one["msg"]) for one in error.errors]
    first = "; ".join(f"{one['place']}: {one['message']}" for one in errors[:3])
    more = f" (and {len(errors) - 3} more)" if len(errors) > 3 else ""
    return Problem(422, "invalid", first + more, errors)


def from_refusal(error: Refused) -> Problem:
    errors = [mistake(one.place, one.message, one.task) for one in error.mistakes]
    if isinstance(error, Taken):
        return Problem(409, "taken", error.message, errors)
    if isinstance(error, Overtaken):
        return Problem(409, "overtaken", error.message, errors)
    return Problem(422, "refused", error.message, errors)


def from_http_error(error: HttpError) -> Problem:
    """Of the library's own: a body that cannot be read, a failed CSRF check."""
    match error.status_code:
        case 400:
            return Problem(400, "bad-json", "The body must be a JSON object in UTF-8, without NaN or Infinity.")
        case 403:
            return Problem(
                403,
                "csrf",
                "A call with the session's cookie needs the header X-CSRFToken; a program sends a bearer token.",
            )
        case status:
            return Problem(status, "internal" if status >= 500 else "invalid", error.message)


def explain(request: HttpRequest, error: Exception | type[Exception]) -> HttpResponse:
    """The answer to whatever a call raised."""
    match error:
        case Problem():
            problem = error
        case TooMany():
            problem = Problem(429, "too-many", str(error), wait=error.wait)
        case Refused():
            problem = from_refusal(error)
        case ValidationError():
            problem = from_validation(error)
        case AuthenticationError():
            problem = unauthorized(
                "Send 'Authorization: Bearer TOKEN'; 'manage.py create_token USER --role ROLE' makes a token."
            )
        case RequestDataTooBig():
            most = (settings.DATA_UPLOAD_MAX_MEMORY_SIZE or 0) // 1024**2
            problem = Problem(413, "too-large", f"The body is larger than the {most} MiB that are accepted.")
        case HttpError():
            problem = from_http_error(error)
        case Http404():
            problem = Problem(404, "not-found", str(error) or f"There is nothing at {request.path}.")
        case OperationalError() if any(words in str(error) for words in DISK_FULL):
            logger.warning("%s %s: %s", request.method, request.path, error)
            problem = Problem(503, "disk-full", "The database's disk is full, so nothing was stored. Try again later.")
        case OperationalError() | InterfaceError():
            logger.warning("%s %s: %s", request.method, request.path, error)
            problem = Problem(503, "unavailable", "The database does not answer at present; try again shortly.")
        case _:
            logger.error(
                "%s %s failed", request.method, request.path, exc_info=error if isinstance(error, Exception) else None
            )
            problem = Problem(500, "internal", "The call failed here, not by your doing; the site's log says why.")
    return problem.response()


def install(api: NinjaAPI) -> None:
    for kind in (Exception, Http404, HttpError, ValidationError):
        api.add_exception_handler(kind, explain)
