"""The parameter language of a task: which tasks and inputs its params name, and their values when known.

A parameter, or a member of `config`, is a literal, {"input": key}, {"depends": task} or {"value": literal};
`config` may also be {"depends", "default", "mapping"}, a request to be completed from another task's output.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

Json = Any
PLACES = {"BODY_": "body", "QUERY_": "query", "HEADER_": "headers"}


class Reference(NamedTuple):
    place: tuple[str, ...]  # the way to it from params, as ("config", "api_key")
    kind: Literal["input", "depends"]
    name: str


def references(params: Mapping[str, Json]) -> Iterator[Reference]:
    """Every input and every task that these params name, in the order they are written."""
    for key, value in params.items():
        if (found := _reference(value)) is not None:
            yield Reference((key,), *found)
        elif key == "config" and isinstance(value, dict):
            mapped = _is_mapped(value)
            if mapped:
                yield Reference((key, "depends"), "depends", value["depends"])
            for member, inner in (value["default"] if mapped else value).items():
                if (found := _reference(inner)) is not None:
                    yield Reference((key, "default", member) if mapped else (key, member), *found)


def resolve(params: Mapping[str, Json], inputs: Mapping[str, Json], outputs: Mapping[str, Json]) -> dict[str, Json]:
    """The params with every reference replaced; a task without an output (it was skipped) gives None."""
    resolved = {}
    for key, value in params.items():
        if key == "config" and isinstance(value, dict) and _reference(value) is None:
            resolved[key] = _config(value, inputs, outputs)
        else:
            resolved[key] = _value(value, inputs, outputs)
    return resolved


def _config(config: dict[str, Json], inputs: Mapping[str, Json], outputs: Mapping[str, Json]) -> dict[str, Json]:
    if not _is_mapped(config):
        return {key: _value(value, inputs, outputs) for key, value in config.items()}
    request = {key: _value(value, inputs, outputs) for key, value in config["default"].items()}
    output = outputs.get(config["depends"])
    for target, path in config.get("mapping", {}).items():
        for prefix, place in PLACES.items():
            if target.startswith(prefix):
                # A new dict each time: `default` belongs to the definition and is read again at the next
                # attempt.
                request[place] = {
                    **(request.get(place) or {}),
                    target.removeprefix(prefix): _at(output, path),
                }
    return request


def _at(output: Json, path: Json) -> Json:
    """The member of an output at a dotted path; a plain answer stands for its own "response"."""
    if path == "response" and not (isinstance(output, dict) and "response" in output):
        return output
    for step in str(path).split("."):
        output = output.get(step) if isinstance(output, dict) else None
    return output


def _value(value: Json, inputs: Mapping[str, Json], outputs: Mapping[str, Json]) -> Json:
    if (found := _reference(value)) is not None:
        kind, name = found
        return inputs.get(name) if kind == "input" else outputs.get(name)
    if isinstance(value, dict) and value.keys() == {"value"}:
        return value["value"]
    return value


def _reference(value: Json) -> tuple[Literal["input", "depends"], str] | None:
    if isinstance(value, dict) and len(value) == 1:
        if isinstance(name := value.get("input"), str):
            return "input", name
        if isinstance(name := value.get("depends"), str):
            return "depends", name
    return None


def _is_mapped(config: dict[str, Json]) -> bool:
    return isinstance(config.get("depends"), str) and isinstance(config.get("default"), dict)
