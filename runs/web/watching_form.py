"""The part of a workflow's form that says how its runs are watched: a deadline, and what is launched again."""

from typing import Any

from django import forms

from runs.models import Run, Workflow
from runs.web import durations

PAUSE = 30.0  # seconds before the first retry, where nobody says otherwise
LAST_FAILED = 50  # runs of a workflow that tell which errors it has met


class SecondsField(forms.Field):
    """A duration as people type it; None for nothing."""

    def __init__(self, **options: Any) -> None:
        widget = forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"})
        super().__init__(required=False, widget=widget, **options)

    def to_python(self, value: Any) -> float | None:
        text = str(value or "").strip()
        if not text:
            return None
        try:
            return durations.read(text)
        except ValueError:
            raise forms.ValidationError(
                f"“{text[:40]}” is no duration. Write it like 90 s, 15 m or 1 h 30 m."
            ) from None

    def prepare_value(self, value: Any) -> Any:
        return durations.write(value) if isinstance(value, int | float) else value


class LinesField(forms.Field):
    """One text a line; empty lines are left out."""

    widget = forms.Textarea

    def to_python(self, value: Any) -> list[str]:
        lines = str(value or "").splitlines()
        return list(dict.fromkeys(line.strip() for line in lines if line.strip()))

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(value) if isinstance(value, list) else value


class WatchingForm(forms.Form):
    deadline_seconds = SecondsField(
        label="Deadline",
        help_text="A run that has not ended so long after its launch is shown as overdue, and followed all the same. "
        "Like 15 m or 1 h 30 m; empty for none.",
    )
    retry_limit = forms.IntegerField(
        label="Retries",
        required=False,
        min_value=0,
        help_text="How often a run that failed is launched again by itself, as a new run. Empty or 0: never.",
        widget=forms.TextInput(attrs={"inputmode": "numeric", "autocomplete": "off"}),
    )
    retry_pause = SecondsField(
        label="Pause before the first retry",
        help_text="Doubled before each further one. Like 30 s or 2 m; empty for 30 s.",
    )
    retry_on = LinesField(
        label="Errors to retry on",
        required=False,
        help_text="Types of errors, one a line, exactly as the upstream names them, such as TimeoutError. A run is "
        "launched again when it or one of its tasks failed with one of these.",
        widget=forms.Textarea(attrs={"class": "code", "rows": 3, "spellcheck": "false"}),
    )

    def clean_retry_limit(self) -> int:
        return self.cleaned_data["retry_limit"] or 0

    def clean_retry_pause(self) -> float:
        pause: float | None = self.cleaned_data["retry_pause"]
        return PAUSE if pause is None else pause


def watching_values(workflow: Workflow | None) -> dict[str, Any]:
    """What the form's fields begin with."""
    if workflow is None:
        return {"retry_limit": 0, "retry_pause": PAUSE}
    return {name: getattr(workflow, name) for name in WatchingForm.base_fields}


def errors_met(workflow: Workflow | None) -> list[str]:
    """The types of the errors with which the last failed runs of a workflow ended, most frequent first."""
    if workflow is None:
        return []
    failed = Run.objects.filter(workflow=workflow, status=Run.Status.FAILED).order_by("-pk")
    types = [error.get("type") for error in failed.values_list("error", flat=True)[:LAST_FAILED] if error]
    return sorted({one for one in types if one}, key=lambda one: (-types.count(one), one))


def pauses(workflow: Workflow) -> list[str]:
    """The pause before each retry, in words; the first few."""
    return [durations.write(workflow.retry_pause * 2**number) for number in range(min(4, workflow.retry_limit))]
