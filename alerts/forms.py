"""What administrators fill in: rules, and channels whose addresses go in and never come out."""

from typing import Any

from django import forms

from alerts import channels
from alerts.models import Channel, Delivery, Kind, Rule
from outgoing.addresses import Forbidden

MOST_PATTERNS = 100
LONGEST_PATTERN = 300


class RuleForm(forms.Form):
    name = forms.CharField(label="Name", max_length=100, help_text="Stands in every message that the rule sends.")
    enabled = forms.BooleanField(label="Enabled", required=False, initial=True)
    kinds = forms.MultipleChoiceField(
        label="When",
        choices=Kind.choices,
        widget=forms.CheckboxSelectMultiple,
        error_messages={"required": "Choose at least one."},
    )
    flows = forms.CharField(
        label="Of these flows",
        required=False,
        strip=False,
        widget=forms.Textarea(attrs={"rows": 3, "class": "code", "spellcheck": "false"}),
        help_text="One name a line; * stands for anything, as in nightly_*. Empty means all flows.",
    )
    channels = forms.ModelMultipleChoiceField(
        label="To",
        queryset=Channel.objects.order_by("name"),
        widget=forms.CheckboxSelectMultiple,
        error_messages={"required": "Choose at least one."},
    )
    debounce_minutes = forms.IntegerField(
        label="At most one message in so many minutes",
        min_value=0,
        max_value=7 * 24 * 60,
        initial=10,
        widget=forms.NumberInput(attrs={"inputmode": "numeric"}),
        help_text="Counted for each flow and each kind of event. The next message says how many were held back. "
        "0 sends every one.",
    )

    def clean_flows(self) -> list[str]:
        lines = [line.strip() for line in self.cleaned_data["flows"].splitlines()]
        patterns = list(dict.fromkeys(filter(None, lines)))
        if len(patterns) > MOST_PATTERNS or any(len(pattern) > LONGEST_PATTERN for pattern in patterns):
            raise forms.ValidationError(f"At most {MOST_PATTERNS} lines of {LONGEST_PATTERN} characters.")
        return patterns

    @staticmethod
    def values(rule: Rule) -> dict[str, Any]:
        """The initial values of a stored rule."""
        return {
            "name": rule.name,
            "enabled": rule.enabled,
            "kinds": rule.kinds,
            "flows": "\n".join(rule.flows),
            "channels": list(rule.channels.values_list("pk", flat=True)),
            "debounce_minutes": rule.debounce_minutes,
        }


class ChannelForm(forms.Form):
    name = forms.CharField(label="Name", max_length=100, help_text="As in “team chat” or “on call”.")
    url = forms.CharField(label="Address", max_length=channels.LONGEST_URL, widget=forms.PasswordInput())

    def __init__(self, means: str, *args: Any, channel: Channel | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.means = means
        field = self.fields["url"]
        field.widget.attrs |= {"autocomplete": "new-password", "spellcheck": "false", "inputmode": "url"}
        if means == Channel.Means.APPRISE:
            field.label = "Apprise address"
            field.help_text = "As in slack://…, mailtos://…, workflows://… (Teams) or pagerduty://…."
        else:
            field.help_text = "http:// or https://. Messages are posted there as signed JSON."
        if channel is not None:
            field.required = False
            field.widget.attrs["placeholder"] = channel.hint
            field.help_text = f"Stored, and not shown again: {channel.hint} Leave this empty to keep it."
        else:
            field.help_text += " Stored encrypted, and never shown again."

    def clean_url(self) -> str:
        url: str = self.cleaned_data["url"]
        if url:
            try:
                channels.check_url(self.means, url)
            except Forbidden as forbidden:
                raise forms.ValidationError(f"{forbidden}.") from None
        return url


class LogFilter(forms.Form):
    """The filters of the delivery log, as they stand in the address."""

    state = forms.ChoiceField(required=False, choices=[("", "Any"), *Delivery.State.choices])
    before = forms.IntegerField(required=False, min_value=0, max_value=2**63 - 1)
