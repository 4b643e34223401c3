"""Callers of the API by role."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import Client

from tests.factories import make_token

PREFIX = "/api/v1"


@dataclass
class Caller:
    """Calls with a bearer token: `caller.get("/runs", limit=1)`, `caller.post("/runs", {…})`."""

    token: str
    client: Client = field(default_factory=Client)

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def get(self, path: str, accept: str = "application/json", **query: Any) -> HttpResponse:
        answer = self.client.get(PREFIX + path, query, headers={**self.headers, "Accept": accept})
        assert isinstance(answer, HttpResponse)
        return answer

    def send(self, method: str, path: str, body: Any = None) -> HttpResponse:
        """`body`: a value that is sent as JSON, or text that is sent as it is."""
        text = "" if body is None else body if isinstance(body, str) else json.dumps(body)
        answer = self.client.generic(method, PREFIX + path, text, content_type="application/json", headers=self.headers)
        assert isinstance(answer, HttpResponse)
        return answer

    def post(self, path: str, body: Any = None) -> HttpResponse:
        return self.send("POST", path, body)


@pytest.fixture
def call_as(db: None) -> Callable[[str], Caller]:
    return lambda role: Caller(make_token(role))


@pytest.fixture
def viewer(call_as: Callable[[str], Caller]) -> Caller:
    return call_as("viewer")


@pytest.fixture
def operator(call_as: Callable[[str], Caller]) -> Caller:
    return call_as("operator")


def problem(answer: HttpResponse, status: int, kind: str) -> dict[str, Any]:
    """The problem document of an answer, checked for its status and kind."""
    assert answer.status_code == status, answer.content
    assert answer["Content-Type"] == "application/problem+json"
    document: dict[str, Any] = json.loads(answer.content)
    assert document["status"] == status
    assert document["type"] == f"urn:stepline:problem:{kind}"
    assert document["title"]
    assert document["detail"]
    return document
