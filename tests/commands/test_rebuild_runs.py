"""`rebuild_runs`: exit code 1 and a sentence for each difference; `--fix` mends them."""

import io
import json
from collections.abc import Callable

import pytest
from django.core.management import CommandError, call_command

from runs import store
from runs.models import Run
from tests.factories import make_upstream
from tests.store.conftest import Hand, completed, flow_completed, started

pytestmark = pytest.mark.django_db


@pytest.fixture
def ended() -> Callable[[], int]:
    upstream = make_upstream()

    def make() -> int:
        run = store.create_run(upstream=upstream, flow_name="F", run_name=f"r{Run.objects.count()}", user_id=None)
        Hand(store.claim("me", 1)[0]).write(started("a"), completed("a"), flow_completed(), done=True)
        return run.pk

    return make


def rebuild(*arguments: str) -> tuple[int, str]:
    out = io.StringIO()
    try:
        call_command("rebuild_runs", *arguments, stdout=out)
    except SystemExit as ended:
        return int(ended.code or 0), out.getvalue()
    return 0, out.getvalue()


def test_runs_that_are_as_their_events_say_exit_with_0(ended: Callable[[], int]) -> None:
    ended(), ended()
    assert rebuild() == (0, "2 runs checked, 0 different\n")


def test_a_difference_is_told_and_exits_with_1(ended: Callable[[], int]) -> None:
    good, bad = ended(), ended()
    Run.objects.filter(pk=bad).update(status="failed", tasks_succeeded=7)
    code, said = rebuild()
    assert code == 1
    assert f"run {bad}: status is 'failed', the events say 'succeeded'" in said
    assert f"run {bad}: tasks_succeeded is 7, the events say 1" in said
    assert f"run {good}" not in said
    assert said.endswith("2 runs checked, 1 different\n")
    assert rebuild(str(good))[0] == 0


def test_differences_are_told_as_json(ended: Callable[[], int]) -> None:
    ended()
    bad = ended()
    Run.objects.filter(pk=bad).update(tasks_succeeded=7)
    code, said = rebuild("--json")
    assert code == 1
    assert json.loads(said) == {
        "checked": 2,
        "different": 1,
        "runs": [{"run": bad, "differences": ["tasks_succeeded is 7, the events say 1"]}],
    }


def test_fix_writes_what_the_events_say(ended: Callable[[], int]) -> None:
    bad = ended()
    Run.objects.filter(pk=bad).update(status="failed")
    assert rebuild("--fix")[1].endswith("1 runs checked, 1 fixed\n")
    assert rebuild() == (0, "1 runs checked, 0 different\n")


def test_a_run_that_does_not_exist_is_an_error(ended: Callable[[], int]) -> None:
    with pytest.raises(CommandError, match="no run 4711"):
        call_command("rebuild_runs", str(ended()), "4711")
