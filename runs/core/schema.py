"""The `input_schema` of a definition: a JSON Schema of its inputs. What it says of each, and how it is masked.

Whether it can be used, and whether inputs fit it, is said by runs/input_schema.py.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from runs.core.redact import Masker

NAME: Final = "input_schema"  # its key in a definition; the upstream is never sent it
BY_NAME: Final = "properties"  # holds schemas under names, which are no words of a schema
ONE: Final = ("items", "additionalProperties", "not")
SEVERAL: Final = ("allOf", "anyOf", "oneOf")
_TEXTS: Final = ("type", "title", "description", "format", "$schema", "$id", "$comment")
_LISTS: Final = ("enum", "examples")


def of(definition: object) -> dict[str, Any] | None:
    """The schema that a definition carries; None without a usable one."""
    found = definition.get(NAME) if isinstance(definition, dict) else None
    return found if isinstance(found, dict) else None


def without(definition: dict[str, Any]) -> dict[str, Any]:
    """The definition as the upstream knows it."""
    return {name: part for name, part in definition.items() if name != NAME}


def properties(schema: Mapping[str, Any] | None) -> dict[str, dict[str, Any]]:
    """What the schema says of each input by its name."""
    listed = (schema or {}).get(BY_NAME)
    named = listed if isinstance(listed, dict) else {}
    return {name: spec if isinstance(spec, dict) else {} for name, spec in named.items()}


def required(schema: Mapping[str, Any] | None) -> set[str]:
    listed = (schema or {}).get("required")
    return {name for name in listed if isinstance(name, str)} if isinstance(listed, list) else set()


def defaults(schema: Mapping[str, Any] | None) -> dict[str, Any]:
    """The inputs that stand where neither default_inputs nor the launch says anything."""
    return {name: spec["default"] for name, spec in properties(schema).items() if "default" in spec}


def parts(schema: Mapping[str, Any]) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """What stands in a schema where it has a schema of its own, each with the steps that lead there."""
    for word, part in schema.items():
        if word == BY_NAME and isinstance(part, dict):
            yield from (((word, name), inner) for name, inner in part.items())
        elif word in SEVERAL and isinstance(part, list):
            yield from (((word, number), inner) for number, inner in enumerate(part))
        elif word in ONE and not (word == "additionalProperties" and isinstance(part, bool)):
            yield (word,), part


# --- masking -----------------------------------------------------------------------------------------------------


def masked(definition: dict[str, Any], masker: Masker) -> Any:
    """A masked copy of a definition whose schema is still one.

    The name of a property is a label of the values that the schema holds, not of the schema's own words: under
    `properties.api_key` the default is a secret and the type is not. What is below a secret name is secret, too.
    """
    found = masker.value(definition)
    schema = of(definition)
    if schema is not None and isinstance(found, dict) and NAME in found:
        found[NAME] = _masked(schema, masker, "")
    return found


def _masked(schema: Any, masker: Masker, name: str) -> Any:
    """`name`: the label of its values, the innermost property's, or a secret one around that."""
    if not isinstance(schema, dict):
        return _value(schema, masker, name)
    found: dict[str, Any] = {}
    for word, part in schema.items():
        if word == BY_NAME and isinstance(part, dict):
            shown = masker.value(dict.fromkeys(part))  # names may look like secrets themselves
            inside = [_masked(spec, masker, _label(masker, name, inner)) for inner, spec in part.items()]
            found[word] = dict(zip(shown, inside, strict=True))
        elif word in ONE:
            found[word] = _masked(part, masker, name)
        elif word in SEVERAL and isinstance(part, list):
            found[word] = [_masked(spec, masker, name) for spec in part]
        elif word in _LISTS and isinstance(part, list):
            found[word] = [_value(one, masker, name) for one in part]
        elif word == "required" and isinstance(part, list):
            found[word] = [masker.value(one) for one in part]
        elif word in _TEXTS:
            found[word] = masker.value(part)
        elif word in ("default", "const", "pattern") or not isinstance(part, int | float):
            found[masker.text(word)] = _value(part, masker, name)
        else:
            found[masker.text(word)] = part  # a bound
    return found


def _value(value: Any, masker: Masker, name: str) -> Any:
    """Under a secret name one mark stands for an object or a list as well."""
    whole = isinstance(value, dict | list) and _hides(masker, name, "text")
    [found] = masker.value({name: json.dumps(value) if whole else value}).values()
    return found


def _label(masker: Masker, outer: str, inner: str) -> str:
    return outer if _hides(masker, outer, "text") and not _hides(masker, inner, 7) else inner


def _hides(masker: Masker, name: str, probe: str | int) -> bool:
    """Whether this would be masked for the name that it stands under; under some names texts are, and numbers not."""
    return list(masker.value({name: probe}).values()) != [probe]
