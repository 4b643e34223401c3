"""Whether a JSON Schema can be used, and whether inputs fit it, in words of ours.

A schema is somebody's text: it may not make this process load an address, search a text for ever, go in circles or
fall over. So only some words of JSON Schema are known here. No message quotes a value of the inputs or of the schema,
which may be a secret.
"""

import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, Final

import regex
from jsonschema import Draft202012Validator, ValidationError
from jsonschema.validators import create

from runs.core import patterns
from runs.core import schema as schemas
from runs.core.plan import Mistake

MOST_BYTES: Final = 64 * 1024  # of a schema as JSON
MOST_SUBSCHEMAS: Final = 1000  # of one schema, itself among them
MOST_MISTAKES: Final = 50
SECONDS_A_CHECK: Final = 5.0
SECONDS_OF_PATTERNS: Final = 1.0  # all of one check together
LONGEST_STEP: Final = 100  # characters of a name in a place

DIALECTS: Final = (
    "http://json-schema.org/draft-07/schema",
    "https://json-schema.org/draft/2019-09/schema",
    "https://json-schema.org/draft/2020-12/schema",
)
_TYPES: Final = {
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}

logger = logging.getLogger(__name__)


type Word = tuple[str, Callable[[Any], bool]]  # what stands there, and whether this does


class TooLong(Exception):
    """The inputs have been compared with the schema for as long as that may take."""


# --- the schema --------------------------------------------------------------------------------------------------


def schema_mistakes(schema: object) -> list[Mistake]:
    """Why this is no schema that inputs can be checked against; places begin with `input_schema`."""
    try:
        size = len(json.dumps(schema, ensure_ascii=False, allow_nan=False).encode("utf-8", "surrogatepass"))
        if size > MOST_BYTES:
            return [_mistake(schemas.NAME, f"As JSON it may have at most {MOST_BYTES // 1024} KB.")]
        return list(islice(_unusable(schema), MOST_MISTAKES))
    except Exception as error:  # a schema that is odd in a way nobody thought of is still its author's mistake
        return [_failed(schemas.NAME, "This cannot be read as a JSON Schema.", error)]


def _unusable(schema: Any) -> Iterator[Mistake]:
    if isinstance(schema, dict) and schema.get("type", "object") != "object":
        yield _mistake(f"{schemas.NAME}.type", 'The inputs are an object: the type of the schema is "object".')
    steps = 0
    for number, (place, part) in enumerate(_subschemas(schema, schemas.NAME)):
        if number == MOST_SUBSCHEMAS:
            yield _mistake(schemas.NAME, f"It may hold at most {MOST_SUBSCHEMAS} schemas, itself among them.")
            return
        if isinstance(part, dict):
            pattern = part.get("pattern")
            steps += (patterns.steps(pattern) or 0) if isinstance(pattern, str) else 0
            if steps > patterns.MOST_STEPS:  # so this one must not be compiled
                yield _mistake(f"{place}.pattern", "The patterns of the schema repeat too much; use smaller counts.")
                return
            yield from _odd_words(part, place, _WORDS | _ROOT_WORDS if number == 0 else _WORDS)
        else:
            yield _mistake(place, "A JSON Schema is expected here, an object.")


def _subschemas(schema: Any, place: str) -> Iterator[tuple[str, Any]]:
    yield place, schema
    if isinstance(schema, dict):
        for steps, part in schemas.parts(schema):
            yield from _subschemas(part, _place(place, steps))


def _odd_words(schema: dict[str, Any], place: str, known: dict[str, Word]) -> Iterator[Mistake]:
    for word, value in schema.items():
        here = _place(place, [word])
        if word not in known:
            message = f"{_short(word)} is not among the words of a schema that Stepline knows: {', '.join(known)}."
            yield _mistake(here, message)
            continue
        wanted, fits = known[word]
        if not fits(value):
            yield _mistake(here, f"This must be {wanted}.")


def _anything(value: Any) -> bool:
    return True


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _is_full_list(value: Any) -> bool:
    return isinstance(value, list) and bool(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value) and len(set(value)) == len(value)


def _are_types(value: Any) -> bool:
    listed = [value] if isinstance(value, str) else value
    return _are_names(listed) and bool(listed) and set(listed) <= set(_TYPES)


def _is_pattern(value: Any) -> bool:
    if not isinstance(value, str) or patterns.steps(value) is None:
        return False
    try:
        regex.compile(value)
    except Exception:  # besides its own error the library raises whatever a hostile pattern brings about
        return False
    return True


_NUMBER = ("a number", _is_number)
_COUNT = ("a whole number, 0 or more", _is_count)
_TEXT = ("a text", _is_text)
_SCHEMAS = ("a list of schemas, at least one", _is_full_list)
# What may stand in a schema, and what of it; schemas inside it are looked at by themselves.
_WORDS: Final[dict[str, Word]] = {
    "type": (f"one of {', '.join(_TYPES)}, or a list of different ones", _are_types),
    "title": _TEXT,
    "description": _TEXT,
    "default": ("", _anything),
    "enum": ("a list of values, at least one", _is_full_list),
    "const": ("", _anything),
    "examples": ("a list", _is_list),
    "format": _TEXT,
    "properties": ("an object with a schema under each name", lambda value: isinstance(value, dict)),
    "required": ("a list of different names", _are_names),
    "additionalProperties": ("", _anything),
    "items": ("", _anything),
    "minItems": _COUNT,
    "maxItems": _COUNT,
    "minLength": _COUNT,
    "maxLength": _COUNT,
    "pattern": ("a regular expression, as docs/workflows.md describes them", _is_pattern),
    "minimum": _NUMBER,
    "maximum": _NUMBER,
    "exclusiveMinimum": _NUMBER,
    "exclusiveMaximum": _NUMBER,
    "multipleOf": ("a number above 0", lambda value: _is_number(value) and value > 0),
    "allOf": _SCHEMAS,
    "anyOf": _SCHEMAS,
    "oneOf": _SCHEMAS,
    "not": ("", _anything),
}
_ROOT_WORDS: Final[dict[str, Word]] = {
    "$schema": (
        f"one of the dialects known here: {', '.join(DIALECTS)}",
        lambda value: isinstance(value, str) and value.removesuffix("#") in DIALECTS,
    ),
    "$id": _TEXT,
    "$comment": _TEXT,
}
WORDS: Final = (*_WORDS, *_ROOT_WORDS)


# --- the inputs --------------------------------------------------------------------------------------------------


def input_mistakes(schema: dict[str, Any], inputs: dict[str, Any]) -> list[Mistake]:
    """Each place at which the inputs do not fit the schema, like `inputs.customer.email`; at most MOST_MISTAKES."""
    try:
        errors = islice(_validator(schema).iter_errors(inputs), MOST_MISTAKES)
        return list(dict.fromkeys(_mistake(_place("inputs", one.absolute_path), _said(one)) for one in errors))
    except TooLong:
        message = "These take too long to be compared with the schema; make its patterns simpler, or send less."
        return [_mistake("inputs", message)]
    except Exception as error:  # numbers that no arithmetic can hold, and what else a schema makes of inputs
        return [_failed("inputs", "These cannot be compared with the schema.", error)]


def _validator(schema: dict[str, Any]) -> Any:
    """A validator for one use. It knows the words of this module and no others, and holds none but those."""
    limits = _Limits()
    checks = {word: Draft202012Validator.VALIDATORS[word] for word in _WORDS if word in Draft202012Validator.VALIDATORS}
    del checks["format"]
    checks |= {"pattern": limits.pattern, "required": _required, "additionalProperties": _additional}
    words: Any = limits.words  # what the stubs say of it is not what the library does
    made: Any = create(Draft202012Validator.META_SCHEMA, checks, applicable_validators=words)
    return made(_bare(schema, set(checks)))


def _bare(schema: dict[str, Any], words: set[str]) -> dict[str, Any]:
    """The schema without what checks nothing. Above all without `$schema`, by which the library would take another
    validator than ours, wherever it stood."""
    bare: dict[str, Any] = {}
    for word, part in schema.items():
        if word not in words:
            continue
        if word == schemas.BY_NAME:
            bare[word] = {name: _bare(one, words) for name, one in part.items()}
        elif word in schemas.SEVERAL:
            bare[word] = [_bare(one, words) for one in part]
        elif word in schemas.ONE and isinstance(part, dict):
            bare[word] = _bare(part, words)
        else:
            bare[word] = part
    return bare


class _Limits:
    """How long one check may take, as a whole and by its patterns."""

    def __init__(self) -> None:
        self._end = time.monotonic() + SECONDS_A_CHECK
        self._left = SECONDS_OF_PATTERNS

    def words(self, schema: dict[str, Any]) -> Iterable[tuple[str, Any]]:
        """The library asks for them at each schema that it compares something with."""
        if time.monotonic() >= self._end:
            raise TooLong
        return schema.items()

    def pattern(self, validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[ValidationError]:
        """As the library's, in a time that has an end, and without holding up other threads."""
        if not isinstance(instance, str):
            return
        if self._left <= 0:
            raise TooLong
        started = time.monotonic()
        try:
            fits = regex.search(pattern, instance, timeout=self._left, concurrent=True)
        except TimeoutError:
            raise TooLong from None
        self._left -= time.monotonic() - started
        if not fits:
            yield ValidationError("")


def _required(validator: Any, names: list[str], instance: Any, schema: Any) -> Iterator[ValidationError]:
    """As the library's, with the name in the place."""
    if isinstance(instance, dict):
        missing = (name for name in names if name not in instance)
        yield from (ValidationError("", path=[name]) for name in islice(missing, MOST_MISTAKES))


def _additional(validator: Any, wanted: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    """As the library's, with the name in the place."""
    if not isinstance(instance, dict) or wanted is True:
        return
    others = (name for name in instance if name not in schema.get(schemas.BY_NAME, {}))
    if wanted is False:
        yield from (ValidationError("", path=[name]) for name in islice(others, MOST_MISTAKES))
    else:
        for name in others:
            yield from validator.descend(instance[name], wanted, path=name)


def _said(error: ValidationError) -> str:
    """In words of ours: the library's quote the value."""
    limit: Any = error.validator_value
    match error.validator:
        case "required":
            return "This is required."
        case "additionalProperties":
            return "The schema knows no such input."
        case "type":
            return f"This must be {' or '.join(_TYPES[one] for one in ([limit] if isinstance(limit, str) else limit))}."
        case "enum":
            return "This is none of the values that the schema allows."
        case "const":
            return "This is not the one value that the schema allows."
        case "minimum":
            return f"This must be at least {limit}."
        case "maximum":
            return f"This must be at most {limit}."
        case "exclusiveMinimum":
            return f"This must be more than {limit}."
        case "exclusiveMaximum":
            return f"This must be less than {limit}."
        case "multipleOf":
            return f"This must be a multiple of {limit}."
        case "minLength":
            return f"This must have at least {limit} characters."
        case "maxLength":
            return f"This may have at most {limit} characters."
        case "pattern":
            return "This does not fit the schema's pattern."
        case "minItems":
            return f"This must hold at least {limit}."
        case "maxItems":
            return f"This may hold at most {limit}."
        case "oneOf" if not error.context:
            return "This fits several of the ways of which the schema allows one."
        case "anyOf" | "oneOf":
            return "This fits none of the ways that the schema allows."
        case "not":
            return "This fits what the schema rules out."
        case _:
            return "This does not fit the schema."


# ------------------------------------------------------------------------------------------------------------------


def _place(root: str, path: Iterable[str | int]) -> str:
    return root + "".join(f"[{step}]" if isinstance(step, int) else f".{_short(step)}" for step in path)


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_STEP else f"{name[:LONGEST_STEP]}…"


def _mistake(place: str, message: str) -> Mistake:
    return Mistake(place=place, task=None, message=message)


def _failed(place: str, message: str, error: Exception) -> Mistake:
    logger.warning("%s: %s (%s)", place, message, type(error).__name__)  # its text may quote a secret
    return _mistake(place, message)
