"""A run's own input and output: shown at once when they are small, else fetched when somebody opens them."""

import json
from typing import Any, NamedTuple

from django.db.models import Case, F, TextField, When
from django.db.models.functions import Cast, Length
from django.utils.html import format_html
from django.utils.safestring import SafeString

from runs.fields import dumps
from runs.models import Event, Launch, Run
from runs.web.json_tree import tree

SMALL = 6000  # characters that are shown at once


class Part(NamedTuple):
    """`address`: where it is fetched from, below that of the run's page; empty where there is nothing to fetch.
    `shown`: the tree of a small one, or why there is none.
    """

    name: str
    address: str
    shown: SafeString


def io_of(run: Run) -> list[Part]:
    """Input and output for the page, in two queries; large ones are not read."""
    return [_input(run), _output(run)]


def input_of(run: Run) -> Any:
    """What the run was launched with, masked. Raises Launch.DoesNotExist."""
    return Launch.objects.only("inputs").get(run=run).inputs


def output_of(run: Run) -> Any:
    """The whole output, masked. Raises Event.DoesNotExist."""
    return _told(Event.objects.get(run=run, seq=run.output_seq or 0).payload)


def whole(value: Any) -> SafeString:
    """The tree, with a button that copies the JSON."""
    copy = '<p class="e-about"><button type="button" class="small" data-copy="{}">Copy JSON</button></p>{}'
    return format_html(copy, dumps(value), tree(value))


def _small(column: str) -> Case:
    """The text of this column where it is small, else null; so a large one never leaves the database."""
    text = Cast(F(column), TextField())
    return Case(When(size__lte=SMALL, then=text), output_field=TextField(null=True))


def _input(run: Run) -> Part:
    found = Launch.objects.filter(run=run).annotate(size=Length("inputs"), text=_small("inputs"))
    texts = list(found.values_list("text", flat=True))
    if not texts:
        return Part("Input", "", _none("It was started elsewhere; its input is not known here."))
    shown = SafeString("") if texts[0] is None else whole(json.loads(texts[0]))
    return Part("Input", "input/", shown)


def _output(run: Run) -> Part:
    if run.output_seq is None:
        why = "It ended without an output." if run.ended else "It has none before it ends."
        return Part("Output", "", _none(why))
    found = Event.objects.filter(run=run, seq=run.output_seq).annotate(size=Length("payload"), text=_small("payload"))
    text = found.values_list("text", flat=True).first()
    return Part("Output", "output/", SafeString("") if text is None else whole(_told(text)))


def _none(why: str) -> SafeString:
    return format_html('<span class="muted">{}</span>', why)


def _told(payload: str) -> Any:
    event = json.loads(payload)
    return event.get("output", event.get("results")) if isinstance(event, dict) else None
