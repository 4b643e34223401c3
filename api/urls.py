"""The HTTP API put together: its routers, its errors, its description and the page that shows it."""

import json
import math
from collections.abc import Callable
from functools import wraps
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseNotAllowed
from django.urls import URLPattern, path, re_path
from django.views.decorators.csrf import csrf_exempt
from ninja import NinjaAPI
from ninja.openapi.docs import Swagger
from ninja.parser import Parser

from accounts.access import role_required
from api import comparing, problems, runs, sharing, watching, workflows
from api.access import VIEWER
from api.problems import Problem, mistake

DESCRIPTION = """
Launch workflows, follow their runs, read what was kept of them.

Send `Authorization: Bearer TOKEN`; `manage.py create_token USER --role ROLE` makes a token. GET needs the role
viewer (of /streams admin, of links operator), everything else operator. Times are ISO 8601 in UTC, durations seconds.
Errors are problem documents (RFC 9457). Unknown query parameters and unknown fields of a body are errors. Lists and
runs carry an ETag: with If-None-Match an unchanged one is answered with 304. Launches take an Idempotency-Key.
"""


class StrictParser(Parser):
    """JSON and nothing beside it: Python's NaN and Infinity are refused, 1e400 too."""

    def parse_body(self, request: HttpRequest) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(request.body, parse_constant=finite, parse_float=finite)
        return body


def finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} cannot be sent on as JSON")
    return number


class Api(NinjaAPI):
    def get_openapi_operation_id(self, operation: Any) -> str:
        name: str = operation.view_func.__name__
        return name

    def get_openapi_schema(self, **options: Any) -> Any:
        """With the problem document as the answer of every call that fails."""
        schema = super().get_openapi_schema(**options)
        schema["components"].setdefault("schemas", {})["Problem"] = problems.SCHEMA
        content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
        for methods in schema["paths"].values():
            for operation in methods.values():
                operation["responses"]["default"] = {"description": "What went wrong", "content": content}
        return schema


def known_parameters_only(view: Callable[..., Any]) -> Callable[..., Any]:
    """An unknown query parameter is an error: most often a filter misspelt, which would show too much."""
    known = {
        name
        for model in view._ninja_operation.models  # type: ignore[attr-defined]
        if model.__ninja_param_source__ == "query"
        for name in model.__ninja_flatten_map__
    }

    @wraps(view)
    def checked(request: HttpRequest, *args: Any, **values: Any) -> Any:
        if unknown := [name for name in request.GET if name not in known]:
            there_are = f"There are: {', '.join(sorted(known))}." if known else "This call has none."
            raise Problem(
                422,
                "invalid",
                f"There is no query parameter {', '.join(map(repr, unknown))}. {there_are}",
                [mistake(name, f"There is no such query parameter. {there_are}") for name in unknown],
            )
        return view(request, *args, **values)

    return checked


api = Api(
    title="Stepline",
    version="1",
    description=DESCRIPTION,
    urls_namespace="api",
    docs_url=None,
    auth=VIEWER,
    parser=StrictParser(),
)
problems.install(api)
api.default_router.add_decorator(known_parameters_only, mode="operation")
api.add_router("/runs", runs.router)
api.add_router("/runs", comparing.router)
api.add_router("/runs", sharing.router)
api.add_router("/workflows", workflows.router)
api.add_router("/upstreams", workflows.upstreams)
api.add_router("/rejected", watching.rejected)
api.add_router("/streams", watching.streams)


def finished(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """What the library leaves: 405 as a problem, and nothing kept by caches."""

    @wraps(view)
    def answer(request: HttpRequest, *args: Any, **values: Any) -> HttpResponseBase:
        response = view(request, *args, **values)
        if isinstance(response, HttpResponseNotAllowed):
            allowed = response["Allow"]
            response = Problem(405, "method", f"{request.path} answers {allowed}, not {request.method}.").response()
            response["Allow"] = allowed
        response.setdefault("Cache-Control", "private, no-cache" if response.has_header("ETag") else "no-store")
        return response

    return answer


@csrf_exempt  # nothing is changed here, and the check's refusal would be a page
def nothing_here(request: HttpRequest, rest: str = "") -> HttpResponse:
    return Problem(404, "not-found", f"There is no call at {request.path}; /api/v1/docs lists them.").response()


@role_required("viewer")
def docs(request: HttpRequest) -> HttpResponse:
    """Swagger UI from our own static files: no script of another site, none in the page itself."""
    return Swagger().render_page(request, api)


calls = api.urls
for pattern in calls[0]:
    if isinstance(pattern, URLPattern):
        pattern.callback = finished(pattern.callback)

urlpatterns = [
    path("", nothing_here),
    path("docs", docs, name="api-docs"),
    path("", calls),
    re_path(r"^(?P<rest>(?s:.*))$", nothing_here),
]
