"""The address of the upstream's socket. The pattern stops before the names: visits.py reads them undecoded."""

from collections.abc import Callable
from typing import Any, cast

from django.urls import re_path

from dropin.stream import StreamConsumer
from dropin.visits import Scope, headers_of, token_of


class ByToken:
    """Who sends a token is judged by that alone; everybody else comes in the way of the pages.

    That way asks for the origin, since a browser adds a person's cookies to what any page opens. It adds no token:
    whoever sends one has it, and may be a page of any site or a program that has no origin.
    """

    def __init__(self, application: Any, by_token: Any) -> None:
        self.application, self.by_token = application, by_token

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> Any:
        # A program that sends neither gets no further there, but is told what it lacks.
        by_page = token_of(scope) is None and "origin" in headers_of(scope)
        chosen = self.application if by_page else self.by_token
        return await chosen(scope, receive, send)


def websocket_urlpatterns(pages_only: Callable[[Any], Any]) -> list[Any]:
    """`pages_only` puts the pages' own guards before an application: origin, then session."""
    stream = StreamConsumer.as_asgi()
    return [re_path(r"^ws/", cast(Any, ByToken(pages_only(stream), stream)))]
