"""What people fill in: the filters of the list, attaching, workflows and upstreams. Launches: runs/web/launch_form.py.

A form reads and words; whether something may be done is decided in runs/actions.py, whose refusals are put back at
their fields by `show_refusal`.
"""

import re
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.http import QueryDict
from django.utils import timezone

from runs.actions import Refused
from runs.listing import Filters
from runs.models import Run, Upstream
from runs.templatetags.rows import STATE_WORDS
from runs.web.inputs import JSONField
from runs.web.launch_form import NAME_LENGTH, LaunchForm
from runs.web.watching_form import WatchingForm

MOST_QUERY = 2000  # characters of an address' filters that are kept or sent
_RUN_NAMED = re.compile(r"#?([0-9]{1,18})|[^?#]*/runs/([0-9]{1,18})(?:/[^?#]*)?(?:[?#].*)?")

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
    failed = forms.CharField(required=False, max_length=NAME_LENGTH, strip=False)
    failure = forms.IntegerField(required=False, min_value=1, max_value=2**63 - 1)

    def __init__(self, query: QueryDict) -> None:
        super().__init__(query)
        self._asked = query

    def asked(self, now: datetime) -> Filters:
        """What is wanted; a filter that is not valid lets every run through. `now`: what `within` counts back from."""
        self.is_valid()
        chosen = self.cleaned_data
        since, within = chosen.get("since"), chosen.get("within")
        if within:
            recent = now - WITHIN[within][1]
            since = max(since, recent) if since else recent
        return Filters(
            statuses=tuple(chosen.get("state") or ()),
            flow_name=chosen.get("flow", ""),
            text=chosen.get("q", ""),
            since=since,
            until=chosen.get("until"),
            failed_task=chosen.get("failed", ""),
            failure=chosen.get("failure"),
        )

    def query(self) -> str:
        """The filters as they stand behind the ? of an address, without empty ones and without a page."""
        pairs = [(name, value) for name in self.fields for value in self._asked.getlist(name) if value.strip()]
        return urlencode(pairs)

    def is_set(self) -> bool:
        """Whether any filter is, valid or not."""
        return any(self.data.get(name) for name in self.fields)


def filters_in(query: str) -> Filters:
    """Those of a list with this behind the ? of its address, as they are now."""
    return ListFilter(QueryDict(query[:MOST_QUERY])).asked(timezone.now())


# --- comparing --------------------------------------------------------------------------------------------------


class RunField(forms.CharField):
    """A run by its number, or by the address of its page."""

    widget = forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false", "inputmode": "url"})
    default_error_messages = {
        "invalid": "“%(text)s” names no run. Enter its number, or the address of its page: …/runs/12/",
        "missing": "There is no run %(number)s. It may have been removed; choose another.",
    }

    def to_python(self, value: Any) -> Any:
        text = (super().to_python(value) or "").replace("\0", "")
        if not text:
            return None
        found = _RUN_NAMED.fullmatch(text)
        if found is None:
            raise forms.ValidationError(self.error_messages["invalid"], "invalid", {"text": text[:60]})
        run_id = int(found[1] or found[2])
        run = Run.objects.listed().filter(pk=run_id).first()
        if run is None:
            raise forms.ValidationError(self.error_messages["missing"], "missing", {"number": run_id})
        return run


class CompareForm(forms.Form):
    """Which two runs are compared. One may be left out: it is then found."""

    a = RunField(label="Run A", required=False, help_text="The one that came first, or went well.")
    b = RunField(label="Run B", required=False, help_text="The one that is looked into.")

    def clean(self) -> dict[str, Any]:
        chosen = super().clean() or self.cleaned_data
        if chosen.get("a") is not None and chosen.get("a") == chosen.get("b"):
            self.add_error("b", "This is run A, too. Choose another one.")
        return chosen


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


class WorkflowForm(WatchingForm):
    seen = forms.IntegerField(required=False, widget=forms.HiddenInput)  # the version that is being changed
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
        help_text="tasks, default_inputs and edges, as JSON; an input_schema (JSON Schema) makes the form of a launch.",
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
    if rest or not form.errors:
        form.add_error(None, [refused.message, *rest] if refused.message not in rest else rest)


def _place_mistakes(form: forms.Form, refused: Refused) -> Iterable[str]:
    for mistake in refused.mistakes:
        field, inside = _field_at(form, mistake.place) or (None, mistake.place)
        message = f"{inside}: {mistake.message}" if inside else mistake.message
        if field is not None:
            form.add_error(field, message)
        elif mistake.message not in refused.message:
            yield message


def _field_at(form: forms.Form, place: str) -> tuple[str, str] | None:
    """The field that a place belongs to, and the place within that field."""
    if isinstance(form, LaunchForm) and (found := form.field_at(place)):
        return found
    unseen = isinstance(form, LaunchForm) and place == "inputs"  # the JSON side, while the other one counts
    return (place, "") if place in form.fields and not unseen else None
