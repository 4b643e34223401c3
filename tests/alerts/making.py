"""Channels, rules and happenings, each as a plain one would be; name only what the test is about."""

import itertools
from typing import Any

from alerts import channels
from alerts.channels import Opened
from alerts.fanning import fan_out
from alerts.models import Alert, Channel, Kind, Rule
from runs.models import Happening, Run
from tests.factories import START, make_run, make_upstream

SECRET = "whsec_of-the-tests-0123456789"
ERROR = {"type": "TimeoutError", "message": "no answer within 30 s", "code": ""}
_numbers = itertools.count(1)


def make_channel(url: str = "http://127.0.0.1:9/hooks/secret-part", means: str = "webhook", **fields: Any) -> Channel:
    """A webhook whose address answers nothing."""
    fields.setdefault("name", f"channel-{next(_numbers)}")
    sealed = channels.sealed(Opened(url, SECRET if means == "webhook" else ""))
    return Channel.objects.create(means=means, sealed=sealed, hint=channels.hint(means, url), **fields)


def make_rule(*kinds: Kind, to: list[Channel] | None = None, **fields: Any) -> Rule:
    """An enabled rule for all flows that says every one of these kinds; all kinds when none is named."""
    fields.setdefault("name", f"rule-{next(_numbers)}")
    fields.setdefault("debounce_minutes", 0)
    rule = Rule.objects.create(kinds=[kind.value for kind in kinds or Kind], **fields)
    rule.channels.set(to if to is not None else [make_channel()])
    return rule


def happen(run: Run, kind: str, **fields: Any) -> Happening:
    """What a follower's transaction leaves when this befalls the run."""
    fields.setdefault("at", START + 60)
    if kind in (Happening.Kind.TASK_FAILED, Happening.Kind.FAILED):
        fields.setdefault("error", ERROR)
    return Happening.objects.create(run=run, kind=kind, **fields)


def flow(name: str = "Nightly") -> Any:
    """Makes runs of one flow at one upstream."""
    upstream = make_upstream()
    return lambda **fields: make_run(upstream=upstream, flow_name=name, **fields)


def said() -> list[tuple[str, str]]:
    """What the rules make of all that has happened: (kind, run name), in order."""
    before = set(Alert.objects.values_list("pk", flat=True))
    while fan_out():
        pass
    new = Alert.objects.exclude(pk__in=before).select_related("run").order_by("pk")
    return [(alert.kind, alert.run.run_name) for alert in new]
