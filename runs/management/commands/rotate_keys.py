"""`rotate_keys`: put all that is sealed under the first of FERNET_KEYS, so that the others can be thrown away."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from alerts import channels
from alerts.models import Channel
from runs import catalogue, store, vault
from runs.models import Launch, Upstream, Workflow, WorkflowVersion

type Row = tuple[int, str, str]  # id, what it is called, what is sealed
type Write = Callable[[int, str, str], bool]


class Command(BaseCommand):
    help = (
        "Encrypt all upstream keys, workflows with their versions, launches and channels anew with the first of "
        "FERNET_KEYS. Each is written by itself, so it may be interrupted and run again, also while the site is up. "
        "Exit 1 where something cannot be opened."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        unreadable = [
            *self._rotate("upstream keys", _upstreams(), catalogue.reseal_upstream),
            *self._rotate("workflows", _workflows(), catalogue.reseal_workflow),
            *self._rotate("versions of workflows", _versions(), catalogue.reseal_version),
            *self._rotate("launches", _launches(), store.reseal_launch),
            *self._rotate("channels of alerts", _channels(), channels.reseal),
        ]
        if unreadable:
            shown = ", ".join(unreadable[:20]) + (f" and {len(unreadable) - 20} more" if len(unreadable) > 20 else "")
            raise CommandError(
                f"{len(unreadable)} cannot be opened with any of FERNET_KEYS and stay as they are: {shown}. Put the "
                "key that they were stored under behind the others and run this again; keep every key until then."
            )
        if len(settings.FERNET_KEYS) > 1:
            self.stdout.write(
                "Everything is under the first key. The others can be taken out of FERNET_KEYS once every process has "
                "been started with the first one; keep them as long as backups that need them."
            )

    def _rotate(self, what: str, rows: Iterable[Row], write: Write) -> list[str]:
        """Says what was done. Returns what could not be opened."""
        rotated = already = 0
        unreadable = []
        for number, name, before in rows:
            try:
                after = vault.reseal(before)
            except vault.Unreadable:
                unreadable.append(name)
                continue
            if after == before:
                already += 1
            elif write(number, before, after):
                rotated += 1  # else somebody has saved it anew meanwhile, and that is under the first key
        words = f", {len(unreadable)} cannot be opened" if unreadable else ""
        self.stdout.write(f"{what}: {rotated} encrypted anew, {already} were under the first key{words}")
        return unreadable


def _upstreams() -> Iterable[Row]:
    rows = list(Upstream.objects.exclude(key_sealed="").order_by("pk").values_list("pk", "name", "key_sealed"))
    return ((pk, f"the key of upstream {name}", sealed) for pk, name, sealed in rows)


def _workflows() -> Iterable[Row]:
    rows = list(Workflow.objects.order_by("pk").values_list("pk", "flow_name", "sealed"))
    return ((pk, f"workflow {name}", sealed) for pk, name, sealed in rows)


def _versions() -> Iterable[Row]:
    rows = WorkflowVersion.objects.order_by("pk").values_list("pk", "sealed", "number", "workflow__flow_name")
    for pk, sealed, number, name in _in_pages(rows):
        yield pk, f"version {number} of workflow {name}", sealed


def _launches() -> Iterable[Row]:
    launches = Launch.objects.exclude(sealed="").order_by("pk")  # an imported run has none
    for pk, sealed in _in_pages(launches.values_list("pk", "sealed")):
        yield pk, f"the launch of run {pk}", sealed


def _in_pages(rows: Any) -> Iterator[Any]:
    """Read a hundred at a time by their ids: there may be many, and no cursor stays open while others are written."""
    last = 0
    while page := list(rows.filter(pk__gt=last)[:100]):
        yield from page
        last = page[-1][0]


def _channels() -> Iterable[Row]:
    rows = list(Channel.objects.order_by("pk").values_list("pk", "name", "sealed"))
    return ((pk, f"the channel {name}", sealed) for pk, name, sealed in rows)
