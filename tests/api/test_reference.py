"""docs/api.md names every call, parameter, field and problem as they are."""

import re
from pathlib import Path
from typing import Any

import pytest
from django.urls import URLPattern

from api import problems
from api.urls import api, calls

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "api.md").read_text()
SCHEMA = api.get_openapi_schema(path_prefix="/")
CALLS = {
    f"{method.upper()} {path}": call for path, methods in SCHEMA["paths"].items() for method, call in methods.items()
}
ROWS = {
    name: (query, words)
    for name, query, words in re.findall(r"^\| `([A-Z]+ /[^`]*)` \|([^|]*)\|(.*)\|$", PAGE, re.MULTILINE)
}


def parameters(call: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["name"]: one["schema"] for one in call.get("parameters", []) if one["in"] == "query"}


def fields_of(what: str) -> set[str]:
    """The fields that the page names of a run, a task or an event: what stands in code before the first full stop."""
    found = re.search(rf"^(?:A|An) \*\*{what}\*\*: (.*?)\.(?:\s|$)", PAGE, re.MULTILINE | re.DOTALL)
    assert found
    return set(re.findall(r"`(\w+)`", found[1]))


def test_every_call_has_its_row_and_every_row_its_call() -> None:
    assert ROWS.keys() == CALLS.keys()


def test_every_address_that_answers_is_in_the_description() -> None:
    routes = {
        "/" + re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", str(pattern.pattern))
        for pattern in calls[0]
        if isinstance(pattern, URLPattern)
    }
    assert routes - {"/openapi.json", "/"} == set(SCHEMA["paths"])


@pytest.mark.parametrize("call", CALLS)
def test_a_row_names_the_query_parameters_of_its_call_and_their_bounds(call: str) -> None:
    known = parameters(CALLS[call])
    query = ROWS[call][0]
    assert set(re.findall(r"`(\w+)`", query)) == known.keys()
    if "limit" in known:
        kinds = [known["limit"], *known["limit"].get("anyOf", [])]
        most = max(kind["maximum"] for kind in kinds if "maximum" in kind)
        least = known["limit"].get("default") or 200
        assert f"`limit` ({least}; at most {most})" in query


@pytest.mark.parametrize(
    ("what", "schema"), [("run", "RunOut"), ("task", "TaskOut"), ("event", "EventOut"), ("workflow", "WorkflowOut")]
)
def test_what_calls_answer_has_the_fields_that_are_named(what: str, schema: str) -> None:
    assert fields_of(what) == set(SCHEMA["components"]["schemas"][schema]["properties"])


@pytest.mark.parametrize("page", sorted([*DOCS.glob("*.md"), DOCS.parent / "README.md"]), ids=lambda page: page.name)
def test_calls_that_other_pages_speak_of_exist(page: Path) -> None:
    known = {re.sub(r"\{\w+\}", "{}", path) for path in SCHEMA["paths"]} | {"/docs", "/openapi.json"}
    for said in re.findall(r"/api/v1(/[\w{}/.-]+)", page.read_text()):
        path = re.sub(r"\{\w+\}|(?<=/)\d+(?=/|$)", "{}", said.rstrip("/.")) or "/"
        assert path in known, f"{page.name}: there is no /api/v1{said}"


def test_every_problem_is_named_and_no_other_is() -> None:
    table = PAGE.split("| problem |")[1]
    assert set(re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE)) == problems.TITLES.keys()


def test_the_bodies_that_are_named_are_those_that_are_taken() -> None:
    for call, (_, words) in ROWS.items():
        content = CALLS[call].get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
        named = re.match(r" `\{([\w?, ]+)\}`", words)
        if content is None or named is None:
            continue
        name = re.search(r"schemas/(\w+)", str(content))
        assert name
        known = SCHEMA["components"]["schemas"][name[1]]
        fields = {field.strip().rstrip("?"): field.strip().endswith("?") for field in named[1].split(",")}
        assert {field for field, optional in fields.items() if not optional} == set(known.get("required", [])), call
        assert fields.keys() <= known["properties"].keys(), call
