"""The field that suits one input of a launch: by what the workflow's schema says of it, else by its default."""

import json
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from django import forms
from django.conf import settings

from runs.core.redact import Masker, has_marker, is_marker
from runs.web import jsontext

LONG_TEXT = 80  # characters from which a text gets a field of several lines
LONG_LIMIT = 200  # the same of a text that may become that long
MOST_CHOICES = 200
KEEP = object()  # stands for a secret that was left as it is
ABSENT: Final = msgspec.UNSET  # the default of an input that has none: left empty, it is not sent


class NumberField(forms.CharField):
    """An integer of any size or a decimal number, kept as the kind that was typed."""

    def to_python(self, value: Any) -> Any:
        text = super().to_python(value)
        if not text:
            return None
        try:
            number = jsontext.read(text)
        except jsontext.NotJSON:
            number = None
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise forms.ValidationError(f"“{text[:40]}” is no number. Write it like 45000 or 0.5.")
        return number


class JSONField(forms.CharField):
    """A JSON text; with `kind`, only that one: list or dict."""

    widget = forms.Textarea

    def __init__(self, *, kind: type | None = None, **options: Any) -> None:
        super().__init__(strip=False, **options)
        self.kind = kind

    def validate(self, value: Any) -> None:
        """An empty list or object is a value like any other; an empty text was refused while reading."""

    def to_python(self, value: Any) -> Any:
        text = super().to_python(value) or ""
        if not text.strip():
            if self.required:
                raise forms.ValidationError(self.error_messages["required"], code="required")
            return None
        try:
            found = jsontext.read(text)
        except jsontext.NotJSON as error:
            raise forms.ValidationError(str(error)) from None
        if self.kind is list and not isinstance(found, list):
            raise forms.ValidationError("A list is expected here, like [1, 2].")
        if self.kind is dict and not isinstance(found, dict):
            raise forms.ValidationError('An object is expected here, like {"name": "value"}.')
        return found


class TextField(forms.CharField):
    """A text as it is typed, with the line ends that everybody but a browser's form uses."""

    def to_python(self, value: Any) -> str:
        return str(super().to_python(value)).replace("\r\n", "\n")


class SecretField(forms.CharField):
    """A value that is never shown. Left empty it stays what it is."""

    widget = forms.PasswordInput

    def clean(self, value: Any) -> Any:
        return super().clean(value) or KEEP


def input_field(name: str, default: Any, spec: Mapping[str, Any], *, required: bool = False) -> forms.Field:
    """`spec`: what the schema says of this input, {} where it says nothing. `default`: masked, or ABSENT."""
    field = _described(name, default, spec)
    if default is ABSENT or (spec and isinstance(field, TextField)):
        field.required = required
    words = [str(spec.get("title") or "").strip(), str(spec.get("description") or "").strip(), _limits(spec)]
    told = " ".join(one if one.endswith((".", "!", "?", ":")) else f"{one}." for one in words if one)
    field.help_text = " ".join(filter(None, (told, str(field.help_text))))
    return field


def _described(name: str, default: Any, spec: Mapping[str, Any]) -> forms.Field:
    if is_marker(default):
        return SecretField(
            label=name,
            required=False,
            strip=False,
            help_text="Kept secret. Leave it empty to use the stored value; what you type replaces it for this run.",
            widget=forms.PasswordInput(attrs={"autocomplete": "new-password", "placeholder": "•••••••• kept"}),
        )
    allowed = _allowed(spec)
    kind = _kind(spec)
    if allowed:
        return _choice_field(name, default, allowed)
    if kind == "boolean" and default is ABSENT:
        return _choice_field(name, default, [True, False])
    if kind in ("integer", "number") and default is ABSENT:
        return _number_field(name, "")
    if kind == "string" and default is ABSENT:
        return _text_field(name, "", spec)
    if default is ABSENT:
        return _json_field(name, {"array": list, "object": dict}.get(kind), "")
    return _by_default(name, default, spec)


def _by_default(name: str, default: Any, spec: Mapping[str, Any]) -> forms.Field:
    if isinstance(default, bool):
        return forms.BooleanField(label=name, required=False, initial=default)
    if isinstance(default, int | float):
        return _number_field(name, str(default))
    if isinstance(default, str) and jsontext.is_plain(default):
        return _text_field(name, default, spec)
    if default is None:
        return forms.CharField(
            label=name, required=False, empty_value=None, strip=False, help_text="Left empty, it stays null."
        )
    return _json_field(name, type(default) if isinstance(default, list | dict) else None, jsontext.pretty(default))


def _kind(spec: Mapping[str, Any]) -> str:
    """The one type that the schema allows besides null; "" where it allows several, or does not say."""
    listed = spec.get("type")
    kinds = [one for one in (listed if isinstance(listed, list) else [listed]) if one != "null"]
    return str(kinds[0]) if len(kinds) == 1 and kinds[0] is not None else ""


def _allowed(spec: Mapping[str, Any]) -> list[Any]:
    """The values to choose from; [] where there is no such choice to show."""
    values = [spec["const"]] if "const" in spec else spec.get("enum")
    if not isinstance(values, list) or len(values) > MOST_CHOICES:
        return []
    plain = all(one is None or isinstance(one, str | int | float) for one in values)
    return values if plain and not any(isinstance(one, str) and has_marker(one) for one in values) else []


def _choice_field(name: str, default: Any, values: list[Any]) -> forms.Field:
    """What a choice is called in the form and in a link is its text, where all are texts; else its JSON."""
    texts = all(isinstance(one, str) and one for one in values)
    coded = {one if texts else json.dumps(one): one for one in values}
    initial = next((code for code, one in coded.items() if one == default and type(one) is type(default)), "")
    return forms.TypedChoiceField(
        label=name,
        required=default is not ABSENT,
        choices=[*([] if initial else [("", "—")]), *((code, code) for code in coded)],
        coerce=coded.__getitem__,
        empty_value=None,
        initial=initial,
        widget=forms.Select(attrs={} if texts else {"data-json": ""}),
    )


def _number_field(name: str, initial: str) -> forms.Field:
    return NumberField(label=name, initial=initial, widget=forms.TextInput(attrs={"inputmode": "decimal"}))


def _json_field(name: str, kind: type | None, initial: str) -> forms.Field:
    masked = " Masked values may stay as they are." if has_marker(initial) else ""
    return JSONField(
        kind=kind,
        label=name,
        initial=initial,
        help_text=f"JSON{'' if kind is None else ', a list' if kind is list else ', an object'}.{masked}",
        widget=forms.Textarea(attrs={"class": "code", "rows": min(14, initial.count("\n") + 2), "spellcheck": "false"}),
    )


def _text_field(name: str, default: str, spec: Mapping[str, Any]) -> forms.Field:
    if spec.get("format") == "password" or (not default and secret_name(name)):
        return TextField(
            label=name,
            required=False,
            strip=False,
            help_text="A secret by its name: it is masked before it is stored." if secret_name(name) else "",
            widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        )
    most = spec.get("maxLength")
    long = len(default) > LONG_TEXT or "\n" in default or (isinstance(most, int) and most > LONG_LIMIT)
    rows = min(10, 2 + default.count("\n") + len(default) // 90)
    widget = forms.Textarea(attrs={"rows": rows}) if long else forms.TextInput()
    masked = "The masked part may stay as it is." if has_marker(default) else ""
    return TextField(label=name, required=False, strip=False, initial=default, widget=widget, help_text=masked)


def _limits(spec: Mapping[str, Any]) -> str:
    """The bounds that the schema sets, in words."""
    found = ["A whole number"] if spec.get("type") == "integer" else []
    for least, most, of in (
        ("minimum", "maximum", ""),
        ("minLength", "maxLength", " character"),
        ("minItems", "maxItems", " item"),
    ):
        low, high = spec.get(least), spec.get(most)
        bounds = {
            (True, True): f"from {low} to {high}",
            (True, False): f"at least {low}",
            (False, True): f"at most {high}",
        }.get((low is not None, high is not None))
        if bounds:
            many = "s" if of and (high if high is not None else low) != 1 else ""
            found.append(f"{bounds}{of}{many}")
    for word, said in (("exclusiveMinimum", "more than"), ("exclusiveMaximum", "less than")):
        if word in spec:
            found.append(f"{said} {spec[word]}")
    pattern = spec.get("pattern")
    if isinstance(pattern, str) and not has_marker(pattern):
        found.append(f"fitting {pattern[:100]}")
    text = ", ".join(found)
    return text[:1].upper() + text[1:]


def secret_name(name: str) -> bool:
    """Whether a value under this name would be masked."""
    masked = Masker(b"names", extra_names=settings.MASK_NAMES).value({name: "probe"})
    return "probe" not in masked.values()
