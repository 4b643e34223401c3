"""From what happened to what is to be said: happenings go through the rules into the outbox, each exactly once.

A batch is one transaction: its happenings are locked, the deliveries written, the happenings removed. Whoever comes
second waits for the first and finds the rest. The number of statements does not depend on the number of happenings.
"""

import uuid
from collections import defaultdict
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Any

from django.conf import settings
from django.db import transaction

from alerts.messages import compose
from alerts.models import Alert, Delivery, FailingFlow, Kind, KnownFailure, Rule, Said
from runs import store
from runs.core.fingerprints import fingerprint
from runs.models import EpochNow, Happening, Task

BATCH = 200

type Place = tuple[int, int, str, str]  # rule id, upstream id, flow name, kind

_GENERAL: dict[str, Kind] = {
    Happening.Kind.TASK_FAILED: Kind.TASK_FAILED,
    Happening.Kind.FAILED: Kind.RUN_FAILED,
    Happening.Kind.REFUSED: Kind.RUN_FAILED,
    Happening.Kind.LOST: Kind.RUN_LOST,
    Happening.Kind.SILENT: Kind.SILENT,
    Happening.Kind.OVERDUE: Kind.OVERDUE,
}
_NO_SUCCESS = (Happening.Kind.FAILED, Happening.Kind.REFUSED, Happening.Kind.LOST)


def site() -> str:
    """Where people find the pages, without a slash at the end."""
    host = f"[{settings.HOST}]" if ":" in settings.HOST else settings.HOST
    return settings.SITE_URL or f"http://{host}:{settings.PORT}"


def fan_out() -> int:
    """Take up one batch. Returns how many happenings it had."""
    if not Happening.objects.exists():
        return 0
    with transaction.atomic():
        waiting = Happening.objects.select_for_update(of=("self",)).select_related("run__upstream")
        happenings = list(waiting.annotate(now=EpochNow()).order_by("id")[:BATCH])
        if happenings:
            _Batch(happenings, happenings[0].now).write()
            store.forget_happenings([happening.pk for happening in happenings])
    return len(happenings)


def matches(rule: Rule, flow_name: str) -> bool:
    """Whether the rule is about this flow. * stands for anything, and nothing else is special."""
    return not rule.flows or any(_fits(flow_name, pattern) for pattern in rule.flows)


def _fits(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern.replace("[", "[[]").replace("?", "[?]"))


class _Batch:
    """The happenings of one transaction: what there is to know, read at once, and what comes of it, written at once."""

    def __init__(self, happenings: Sequence[Happening], now: float) -> None:
        """`now`: epoch seconds by the database's clock."""
        self.happenings, self.now = happenings, now
        self.rules = list(Rule.objects.filter(enabled=True).order_by("id").prefetch_related("channels"))
        names = {happening.run.flow_name for happening in happenings}
        self.failing = set(
            FailingFlow.objects.filter(flow_name__in=names).values_list("upstream_id", "flow_name")
        )  # as it was, and below as it becomes
        self.was_failing = frozenset(self.failing)
        self.tasks = self._read_tasks()
        self.prints = {happening.pk: self._fingerprint(happening) for happening in happenings}
        self.known = set(
            KnownFailure.objects.filter(fingerprint__in=set(filter(None, self.prints.values()))).values_list(
                "upstream_id", "flow_name", "fingerprint"
            )
        )
        self.was_known = frozenset(self.known)
        self.said: dict[Place, Said] = {}
        if self.rules:
            for row in Said.objects.filter(flow_name__in=names):
                self.said[row.rule_id, row.upstream_id, row.flow_name, row.kind] = row
        self.changed: dict[Place, Said] = {}
        self.alerts: list[tuple[Alert, Rule]] = []

    def _read_tasks(self) -> dict[int, dict[str, Task]]:
        """run -> key -> its task, of the tasks that failed or are spoken of, in the order of the page."""
        failed = (Happening.Kind.TASK_FAILED, Happening.Kind.FAILED)
        runs = {happening.run_id for happening in self.happenings if happening.kind in failed}
        found: dict[int, dict[str, Task]] = defaultdict(dict)
        if runs:
            keys = {happening.task_key for happening in self.happenings} - {""}
            for status in ({"status": Task.Status.FAILED}, {"key__in": keys}):
                tasks = Task.objects.filter(run_id__in=runs, **status).order_by("run_id", "position")
                for task in tasks.only("run_id", "key", "name", "status", "error"):
                    found[task.run_id].setdefault(task.key, task)
        return found

    def _fingerprint(self, happening: Happening) -> str:
        """'' for what is no failure of its own: a run fails of its tasks."""
        match happening.kind:
            case Happening.Kind.TASK_FAILED:
                return fingerprint(happening.task_key, happening.error)
            case Happening.Kind.FAILED if not happening.run.tasks_failed:
                return fingerprint("", happening.error)
            case Happening.Kind.REFUSED:
                return fingerprint("", {"type": "refused", "message": happening.run.notice})
        return ""

    # --- deciding ---------------------------------------------------------------------------------------------

    def write(self) -> None:
        for happening in self.happenings:
            kinds = self._kinds(happening)
            for rule in self.rules:
                wanted = next((kind for kind in kinds if kind in rule.kinds), None)
                if wanted and matches(rule, happening.run.flow_name):
                    self._say(rule, wanted, happening)
        self._remember()
        self._post()

    def _kinds(self, happening: Happening) -> list[Kind]:
        """What this is to a rule, the special before the general: a rule that asks for both gets one message."""
        flow = (happening.run.upstream_id, happening.run.flow_name)
        kinds = []
        if (mark := self.prints[happening.pk]) and (*flow, mark) not in self.known:
            self.known.add((*flow, mark))
            kinds.append(Kind.NEW_FAILURE)
        if happening.kind in _NO_SUCCESS:
            self.failing.add(flow)
        elif happening.kind == Happening.Kind.SUCCEEDED and flow in self.failing:
            self.failing.remove(flow)
            kinds.append(Kind.RECOVERED)
        if general := _GENERAL.get(happening.kind):
            kinds.append(general)
        return kinds

    def _say(self, rule: Rule, kind: Kind, happening: Happening) -> None:
        channels = list(rule.channels.all())
        if not channels:
            return
        run = happening.run
        place = (rule.pk, run.upstream_id, run.flow_name, kind.value)
        said = self.said.get(place)
        if said and self.now - said.said_at < rule.debounce_minutes * 60:
            said.held_back += 1
            self.changed[place] = said
            return
        held_back, since = (said.held_back, said.said_at) if said else (0, None)
        self.said[place] = self.changed[place] = Said(
            rule=rule, upstream_id=run.upstream_id, flow_name=run.flow_name, kind=kind, said_at=self.now
        )
        task = self._task(happening)
        body = compose(
            kind=kind,
            rule=rule.name,
            happening=happening,
            run=run,
            task=task,
            error=happening.error,
            held_back=held_back,
            since=since,
            site=site(),
        )
        self.alerts.append((Alert(rule=rule, rule_name=rule.name, run=run, kind=kind, body=body), rule))

    def _task(self, happening: Happening) -> tuple[str, str] | None:
        """The task that the message leads to: the one that failed; of a failed run the first that did."""
        tasks = self.tasks.get(happening.run_id, {})
        if key := happening.task_key:
            return key, tasks[key].name if key in tasks else key
        if happening.kind != Happening.Kind.FAILED:
            return None
        failed = (task for task in tasks.values() if task.status == Task.Status.FAILED)
        return next(((task.key, task.name) for task in failed), None)

    # --- writing ----------------------------------------------------------------------------------------------

    def _remember(self) -> None:
        FailingFlow.objects.bulk_create(
            [FailingFlow(upstream_id=one, flow_name=name) for one, name in self.failing - self.was_failing],
            ignore_conflicts=True,
        )
        for one, name in self.was_failing - self.failing:
            FailingFlow.objects.filter(upstream_id=one, flow_name=name).delete()
        KnownFailure.objects.bulk_create(
            [
                KnownFailure(upstream_id=one, flow_name=name, fingerprint=mark)
                for one, name, mark in self.known - self.was_known
            ],
            ignore_conflicts=True,
        )
        Said.objects.bulk_create(
            [_copy(said) for said in self.changed.values()],
            update_conflicts=True,
            unique_fields=["rule", "upstream", "flow_name", "kind"],
            update_fields=["said_at", "held_back"],
        )

    def _post(self) -> None:
        Alert.objects.bulk_create([alert for alert, _ in self.alerts])
        Delivery.objects.bulk_create(
            [
                Delivery(
                    alert=alert, channel=channel, channel_name=channel.name, key=str(uuid.uuid4()), next_at=self.now
                )
                for alert, rule in self.alerts
                for channel in rule.channels.all()
            ]
        )


def _copy(said: Said) -> Said:
    """Without the id, by which the database would see another conflict than the one that is meant."""
    names: Iterable[str] = ("rule_id", "upstream_id", "flow_name", "kind", "said_at", "held_back")
    values: dict[str, Any] = {name: getattr(said, name) for name in names}
    return Said(**values)
