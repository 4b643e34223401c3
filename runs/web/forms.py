"""What people fill in: the filters of the list, the inputs of a launch, attaching, workflows and upstreams.

A form reads and words; whether something may be done is decided in runs/actions.py, whose refusals are put back at
their fields by `show_refusal`.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.conf import settings

from runs.actions import Refused
from runs.core.redact import Masker, has_marker, is_marker
from runs.models import Upstream
from runs.templatetags.rows import STATE_WORDS
from runs.web import jsontext

LONG_TEXT = 80  # characters from which a text gets a field of several lines
NAME_LENGTH = 300
INPUT = "input."  # what the names of input fields begin with, in a form and in a link that prefills it
KEEP = object()  # stands for a secret that was left as it is

WITHIN = {
    "1h": ("Last hour", timedelta(hours=1)),
    "24h": ("Last 24 hours", timedelta(hours=24)),
    "7d": ("Last 7 days", timedelta(days=7)),
    "30d": ("Last 30 days", timedelta(days=30)),
}


# --- the list --------------------------------------------------------------------------------------------------


class MomentField(forms.DateTimeField):
    """A time of this century, UTC where no zone is given."""

    widget = forms.DateTimeInput(attrs={"type": "datetime-local", "step": "60"}, format="%Y-%m-%dT%H:%M")
    default_error_messages = {"invalid": "Not a time. Write it as 2026-11-24T10:00 (UTC)."}

    def to_python(self, value: Any) -> datetime | None:
        moment: datetime | None = super().to_python(value)
        # What lies outside overflows when it is moved to another zone.
        if moment is not None and not 2000 <= moment.year < 2100:
            raise forms.ValidationError(self.error_messages["invalid"], code="invalid")
        return moment


class ListFilter(forms.Form):
    """The filters of the runs list, as they stand in the address."""

    state = forms.MultipleChoiceField(
        required=False,
        choices=[(status.value, word) for status, word in STATE_WORDS.items()],
        widget=forms.CheckboxSelectMultiple,
        error_messages={"invalid_choice": "There is no state “%(value)s”."},
    )
    flow = forms.CharField(required=False, max_length=NAME_LENGTH, strip=False)
    q = forms.CharField(required=False, max_length=NAME_LENGTH)
    within = forms.ChoiceField(
        required=False,
        choices=[("", "Any time"), *((key, words) for key, (words, _) in WITHIN.items())],
        error_messages={"invalid_choice": "“%(value)s” is none of the times to choose from."},
    )
    since = MomentField(required=False)
    until = MomentField(required=False)

    def bounds(self, now: datetime) -> tuple[datetime | None, datetime | None]:
        """From when (inclusive) and until when (exclusive) runs are wanted."""
        since, until, within = (self.cleaned_data.get(name) for name in ("since", "until", "within"))
        if within:
            recent = now - WITHIN[within][1]
            since = max(since, recent) if since else recent
        return since, until

    def is_set(self) -> bool:
        """Whether any filter is, valid or not."""
        return any(self.data.get(name) for name in self.fields)


# --- launching -------------------------------------------------------------------------------------------------


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


class LaunchForm(forms.Form):
    """A form made from the inputs of a definition: one field for each, and all of them as JSON beside.

    `inputs`: name -> default, secrets masked. `mode` says which of the two sides counts.
    """

    run_name = forms.CharField(
        max_length=NAME_LENGTH,
        label="Run name",
        help_text="The run's only address at the upstream, so it must be new. This one is; change it if you like.",
    )
    mode = forms.ChoiceField(choices=[("form", "Form"), ("json", "JSON")], required=False, widget=forms.RadioSelect)
    inputs = JSONField(
        kind=dict,
        required=False,
        label="All inputs as JSON",
        widget=forms.Textarea(attrs={"class": "code", "rows": 14, "spellcheck": "false"}),
    )

    def __init__(self, inputs: Mapping[str, Any], *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.given = dict(inputs)
        # A name that no page can carry gets no field: its default stands, and the JSON side can still change it.
        self.defaults = {name: default for name, default in inputs.items() if jsontext.is_plain(name)}
        for number, (name, default) in enumerate(self.defaults.items()):
            field = input_field(name, default)
            field.widget.attrs["id"] = f"input-{number}"
            field.widget.attrs["data-input"] = name
            self.fields[INPUT + name] = field
        self.fields["inputs"].initial = jsontext.pretty(self.given)
        self.fields["inputs"].help_text = "Masked values may stay as they are: what they stand for is kept."
        self.fields["mode"].initial = "form"

    def input_fields(self) -> list[forms.BoundField]:
        return [self[INPUT + name] for name in self.defaults]

    def full_clean(self) -> None:
        """Only the side that counts is looked at: a mistake on the other one must not hold a launch up."""
        super().full_clean()
        for name in [INPUT + name for name in self.defaults] if self.by_json else ["inputs"]:
            self.errors.pop(name, None)

    @property
    def by_json(self) -> bool:
        return self.is_bound and self.data.get("mode") == "json"

    def clean_inputs(self) -> Any:
        if self.by_json and not isinstance(self.cleaned_data.get("inputs"), dict):
            raise forms.ValidationError("Enter the inputs as a JSON object, {} for none.")
        return self.cleaned_data.get("inputs")

    def entered(self) -> dict[str, Any]:
        """The inputs to launch with. A secret that was left alone is not among them: the stored one stands."""
        if self.by_json:
            return dict(self.cleaned_data["inputs"])
        values = {name: self.cleaned_data[INPUT + name] for name in self.defaults}
        return {name: value for name, value in values.items() if value is not KEEP}


def input_field(name: str, default: Any) -> forms.Field:
    """The field that suits an input of this default."""
    if is_marker(default):
        return SecretField(
            label=name,
            required=False,
            strip=False,
            help_text="Kept secret. Leave it empty to use the stored value; what you type replaces it for this run.",
            widget=forms.PasswordInput(attrs={"autocomplete": "new-password", "placeholder": "•••••••• kept"}),
        )
    if isinstance(default, bool):
        return forms.BooleanField(label=name, required=False, initial=default)
    if isinstance(default, int | float):
        return NumberField(label=name, initial=str(default), widget=forms.TextInput(attrs={"inputmode": "decimal"}))
    if isinstance(default, str) and jsontext.is_plain(default):
        return _text_field(name, default)
    if default is None:
        return forms.CharField(
            label=name, required=False, empty_value=None, strip=False, help_text="Left empty, it stays null."
        )
    kind: type | None = type(default) if isinstance(default, list | dict) else None
    text = jsontext.pretty(default)
    masked = " Masked values may stay as they are." if has_marker(text) else ""
    return JSONField(
        kind=kind,
        label=name,
        initial=text,
        help_text=f"JSON{'' if kind is None else ', a list' if kind is list else ', an object'}.{masked}",
        widget=forms.Textarea(attrs={"class": "code", "rows": min(14, text.count("\n") + 2), "spellcheck": "false"}),
    )


def _text_field(name: str, default: str) -> forms.Field:
    if not default and secret_name(name):
        return TextField(
            label=name,
            required=False,
            strip=False,
            help_text="A secret by its name: it is masked before it is stored.",
            widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        )
    long = len(default) > LONG_TEXT or "\n" in default
    rows = min(10, 2 + default.count("\n") + len(default) // 90)
    widget = forms.Textarea(attrs={"rows": rows}) if long else forms.TextInput()
    masked = "The masked part may stay as it is." if has_marker(default) else ""
    return TextField(label=name, required=False, strip=False, initial=default, widget=widget, help_text=masked)


def secret_name(name: str) -> bool:
    """Whether a value under this name would be masked."""
    masked = Masker(b"names", extra_names=settings.MASK_NAMES).value({name: "probe"})
    return "probe" not in masked.values()


def prefilled(inputs: Mapping[str, Any], query: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """The defaults with what a link says instead (`input.NAME=…`), and the names in it that are no inputs."""
    values, strangers = dict(inputs), []
    for key, text in query.items():
        name = key.removeprefix(INPUT)
        if name == key:
            continue
        if name not in inputs:
            strangers.append(name)
        elif isinstance(inputs[name], bool):
            values[name] = text.lower() in ("1", "true", "yes", "on")
        elif not is_marker(inputs[name]):  # a secret has no place in a link
            try:
                values[name] = input_field(name, inputs[name]).clean(text)
            except forms.ValidationError:
                strangers.append(name)
    return values, strangers


# --- attaching, workflows, upstreams ------------------------------------------------------------------------------


def upstream_field(help_text: str) -> "forms.ModelChoiceField[Upstream]":
    return forms.ModelChoiceField(
        Upstream.objects.order_by("name"), empty_label=None, label="Upstream", help_text=help_text
    )


class AttachForm(forms.Form):
    upstream = upstream_field("The orchestrator that the run was started at.")
    flow_name = forms.CharField(
        label="Flow name",
        max_length=NAME_LENGTH,
        strip=False,
        help_text="Exactly as it was launched, capitals and spaces included.",
        widget=forms.TextInput(attrs={"list": "known-flows", "autocomplete": "off", "spellcheck": "false"}),
    )
    run_name = forms.CharField(
        label="Run name",
        max_length=NAME_LENGTH,
        strip=False,
        help_text="The name that the run was given at its launch.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )


class WorkflowForm(forms.Form):
    upstream = upstream_field("Where its runs are launched.")
    flow_name = forms.CharField(
        label="Flow name",
        required=False,
        max_length=NAME_LENGTH,
        help_text="Left empty, the definition's own flow_name is used.",
        widget=forms.TextInput(attrs={"spellcheck": "false"}),
    )
    description = forms.CharField(
        label="Description",
        required=False,
        help_text="What it does and when to launch it, for whoever is on call.",
        widget=forms.Textarea(attrs={"rows": 2}),
    )
    definition = JSONField(
        kind=dict,
        label="Definition",
        help_text="tasks, default_inputs and edges, as JSON.",
        widget=forms.Textarea(attrs={"class": "code", "rows": 26, "spellcheck": "false", "wrap": "off"}),
    )


class UpstreamForm(forms.Form):
    name = forms.CharField(label="Name", max_length=100, help_text="Short, like production.")
    api_url = forms.CharField(
        label="API address",
        max_length=500,
        help_text="http:// or https://, up to and without /run-dag/",
        widget=forms.TextInput(attrs={"inputmode": "url", "placeholder": "https://lao.example.com"}),
    )
    socket_url = forms.CharField(
        label="Socket address",
        max_length=500,
        help_text="ws:// or wss://, up to and without /ws/…",
        widget=forms.TextInput(attrs={"inputmode": "url", "placeholder": "wss://lao-socket.example.com"}),
    )
    studio_url = forms.CharField(
        label="Studio address",
        required=False,
        max_length=500,
        help_text="Only for reading saved workflows; up to and without /v3/workflows. May stay empty.",
        widget=forms.TextInput(attrs={"inputmode": "url"}),
    )
    api_key = forms.CharField(
        label="API key",
        required=False,
        max_length=2000,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )
    clear_key = forms.BooleanField(label="Remove the stored key", required=False)

    def __init__(self, *args: Any, upstream: Upstream | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        key = self.fields["api_key"]
        if upstream is not None and upstream.key_sealed:
            ends = f", ending in {upstream.key_hint}" if upstream.key_hint else ""
            key.help_text = f"A key is stored{ends}. It is never shown; leave this empty to keep it."
            key.widget.attrs["placeholder"] = f"•••••••• {upstream.key_hint}".strip()
        else:
            key.help_text = "Sent as x-api-key. Stored encrypted and never shown again. May stay empty."
            del self.fields["clear_key"]

    def key(self) -> str | None:
        """What to do with the key: a new one, '' to remove it, None to keep it."""
        return self.cleaned_data["api_key"] or ("" if self.cleaned_data.get("clear_key") else None)


# --- refusals ------------------------------------------------------------------------------------------------------


def show_refusal(form: forms.Form, refused: Refused) -> None:
    """Each mistake at its field; what fits none of them stands above the form."""
    rest = list(_place_mistakes(form, refused))
    if rest or not refused.mistakes:
        form.add_error(None, [refused.message, *rest] if refused.message not in rest else rest)


def _place_mistakes(form: forms.Form, refused: Refused) -> Iterable[str]:
    for mistake in refused.mistakes:
        field = field_at(form, mistake.place)
        if field is not None:
            form.add_error(field, mistake.message)
        elif mistake.message not in refused.message:
            yield f"{mistake.place}: {mistake.message}" if mistake.place else mistake.message


def field_at(form: forms.Form, place: str) -> str | None:
    """The field that a place such as `run_name` or `inputs.customer.email` belongs to."""
    if place in form.fields:
        return place
    head, _, tail = place.partition(".")
    if isinstance(form, LaunchForm) and head in ("inputs", "default_inputs"):
        if form.by_json:
            return "inputs"
        # A name of an input may itself hold dots: the longest that fits is meant.
        fitting = [name for name in form.defaults if tail == name or tail.startswith((f"{name}.", f"{name}["))]
        return INPUT + max(fitting, key=len) if fitting else None
    return None
