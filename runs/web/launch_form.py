"""The form of a launch, made from the inputs of a definition and from the JSON Schema that it may carry."""

from collections.abc import Mapping
from typing import Any

from django import forms

from runs.core import schema as schemas
from runs.web import jsontext
from runs.web.inputs import ABSENT, KEEP, JSONField, input_field

NAME_LENGTH = 300
INPUT = "input."  # what the names of input fields begin with, in a form and in a link that prefills it


class LaunchForm(forms.Form):
    """One field for each input, and all of them as JSON beside.

    `inputs`: name -> default, secrets masked. `schema`: of the inputs, masked; it may know of more. `link`: what the
    address prefills, `input.NAME` -> text; `strangers` are the names in it that do not fit. `mode` says which of the
    two sides counts.
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

    def __init__(
        self,
        inputs: Mapping[str, Any],
        schema: Mapping[str, Any] | None,
        *args: Any,
        link: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.has_schema = schema is not None
        self.given = {**schemas.defaults(schema), **inputs}
        specs, needed = schemas.properties(schema), schemas.required(schema)
        names = dict.fromkeys([*inputs, *specs])
        # A name that no page can carry gets no field: its default stands, and the JSON side can still change it.
        self.defaults = {name: self.given.get(name, ABSENT) for name in names if jsontext.is_plain(name)}
        for number, (name, default) in enumerate(self.defaults.items()):
            field = input_field(name, default, specs.get(name, {}), required=name in needed)
            field.widget.attrs |= {"id": f"input-{number}", "data-input": name}
            if default is ABSENT:
                field.widget.attrs["data-optional"] = ""
            self.fields[INPUT + name] = field
        self.strangers = [] if link is None else self._prefill(link)
        self.fields["inputs"].initial = jsontext.pretty(self.given)
        self.fields["inputs"].help_text = "Masked values may stay as they are: what they stand for is kept."
        self.fields["mode"].initial = "form"

    def _prefill(self, link: Mapping[str, str]) -> list[str]:
        """Puts in what a link says. Returns the names in it that are no inputs, or whose values do not fit them."""
        strangers = []
        for key, text in link.items():
            name = key.removeprefix(INPUT)
            if name == key:
                continue
            field = self.fields.get(key)
            if field is None:
                strangers.append(name)
            elif isinstance(field, forms.BooleanField):
                field.initial = self.given[name] = text.lower() in ("1", "true", "yes", "on")
            elif not isinstance(field.widget, forms.PasswordInput) and (text or self.defaults[name] is not ABSENT):
                try:  # a secret has no place in a link
                    self.given[name] = field.clean(text)
                    field.initial = text
                except forms.ValidationError:
                    strangers.append(name)
        return strangers

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
        """The inputs to launch with. A secret that was left alone is not among them, for the stored one stands; nor is
        what has no default and was left empty."""
        if self.by_json:
            return dict(self.cleaned_data["inputs"])
        values = {
            name: self.cleaned_data[INPUT + name]
            for name, default in self.defaults.items()
            if default is not ABSENT or self.data.get(INPUT + name)
        }
        return {name: value for name, value in values.items() if value is not KEEP}

    def field_at(self, place: str) -> tuple[str, str] | None:
        """The field that a place such as `inputs.customer.email` belongs to, and the place within that field."""
        head, _, tail = place.partition(".")
        if head not in ("inputs", "default_inputs"):
            return None
        if self.by_json:
            return "inputs", tail
        # A name of an input may itself hold dots: the longest that fits is meant.
        fitting = [name for name in self.defaults if tail == name or tail.startswith((f"{name}.", f"{name}["))]
        if not fitting:
            return None
        name = max(fitting, key=len)
        return INPUT + name, tail.removeprefix(name).lstrip(".")
