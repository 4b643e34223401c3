"""Which run another is compared with, and what the comparison reads. No payload is read for the tasks."""

from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple

from django.db.models import Func, IntegerField, QuerySet

from runs.core.changes import Changes, changes
from runs.core.comparison import Pair, Side, pairs
from runs.core.difference import Difference, differences
from runs.core.plan import as_sent
from runs.models import Launch, Run, Task

MOST_PLACES = 1000  # of one value that are told, or counted

# The names of the run and of the flow are no changes, and the defaults are in the inputs.
_NO_CHANGES = ("run_name", "flow_name", "default_inputs")


class ListLength(Func):
    """How many elements a column of JSON text holds that is a list."""

    function = "json_array_length"
    output_field = IntegerField()

    def as_postgresql(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        return self.as_sql(compiler, connection, template="%(function)s((%(expressions)s)::json)", **extra)


# --- with which ----------------------------------------------------------------------------------------------


def of_flow(run: Run) -> QuerySet[Run]:
    """The runs of its flow at its upstream, newest first."""
    same = Run.objects.filter(flow_name=run.flow_name, upstream_id=run.upstream_id)
    return same.order_by("-created_at", "-id")


def last_good(run: Run) -> Run | None:
    """The last one of the flow that succeeded before this one."""
    return of_flow(run).filter(status=Run.Status.SUCCEEDED, created_at__lt=run.created_at).first()


def partner(run: Run) -> Run | None:
    """With what a run is compared unless somebody says otherwise: the last good one before it, else the one before."""
    return last_good(run) or of_flow(run).filter(created_at__lt=run.created_at).first()


# --- tasks ---------------------------------------------------------------------------------------------------


def task_pairs(before: Run, after: Run) -> list[Pair]:
    """The tasks of both, in the order of the plan. Two queries, whatever their number."""
    return pairs(_sides(before), _sides(after))


def _sides(run: Run) -> Iterator[Side]:
    tasks = Task.objects.filter(run=run).annotate(tries=ListLength("attempts")).order_by("position", "pk")
    columns = tasks.values_list("key", "name", "position", "status", "inferred", "tries", "duration")
    return (Side(*row) for row in columns.iterator(chunk_size=5000))


# --- what they were launched with ----------------------------------------------------------------------------


class Launched(NamedTuple):
    """What differs of what two runs were launched with, masked: equal secrets have equal marks."""

    inputs: list[Difference]
    definition: Changes


def launched(before: Run, after: Run) -> Launched | None:
    """None where not both were launched here. Reads two launches, whole."""
    both = _launches(before, after)
    if both is None:
        return None
    (inputs_before, old), (inputs_after, new) = both
    # One more of everything than is told or counted, where there is more.
    inputs = list(islice(differences(inputs_before, inputs_after), MOST_PLACES + 1))
    return Launched(inputs, changes(old, new, MOST_PLACES + 1))


def launch_differences(before: Run, after: Run) -> Iterator[Difference] | None:
    """The same, place by place: inputs, then tasks and what else is in the definition."""
    both = _launches(before, after)
    if both is None:
        return None
    (inputs_before, old), (inputs_after, new) = both
    return differences({"inputs": inputs_before, **old}, {"inputs": inputs_after, **new})


def _launches(before: Run, after: Run) -> tuple[tuple[Any, dict[str, Any]], tuple[Any, dict[str, Any]]] | None:
    """(inputs, definition) of both."""
    found = {one.run_id: one for one in Launch.objects.filter(run__in=(before, after)).only("inputs", "definition")}
    if len(found) < 2:
        return None
    old, new = found[before.pk], found[after.pk]
    return (old.inputs, _definition(old)), (new.inputs, _definition(new))


def _definition(launch: Launch) -> dict[str, Any]:
    """As it was sent: a retry has no more than that, and what was not sent changed nothing."""
    whole = as_sent(launch.definition) if isinstance(launch.definition, dict) else {}
    return {name: part for name, part in whole.items() if name not in _NO_CHANGES}
