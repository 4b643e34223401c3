"""The row of a fold, and those inside it, are what a fresh page has, whichever way the reader came there."""

import re
from typing import Any

import pytest

from runs.models import Run, Task
from runs.web import render
from runs.web.kept import MOST_TASKS, Kept
from runs.web.view import Asked
from tests.factories import START, make_run
from tests.web.live_page import INPUT

pytestmark = pytest.mark.django_db

ROW = re.compile(r'<li id="((?:task|fold)-\d+)".*?</li>', re.DOTALL)
ORDER = re.compile(r' data-order="([^"]*)"')


class Reader:
    """A page that says what it has; `rows`: what it shows, by id."""

    def __init__(self, run: Run) -> None:
        self.run, self.kept, self.rows = run, Kept(run.pk), dict[str, str]()
        self.said: dict[str, str] = {"rev": "-1", "ground": "", "shape": ""}

    def see(self, view: str) -> dict[str, str]:
        """The rows under this view, after what the server sends of it."""
        asked = Asked(view, shape=self.said["shape"], wants=True)
        run = Run.objects.get(pk=self.run.pk)
        found = render.run_changes(run.pk, run.last_seq, int(self.said["rev"]), self.said["ground"], asked, self.kept)
        assert found
        self.said = dict(INPUT.findall(found[0]))
        came = {row[1]: row[0] for row in ROW.finditer(found[0])}
        order = ORDER.search(found[0])
        names = order[1].split() if order else list(self.rows)
        self.rows = {name: came.get(name) or self.rows[name] for name in names}
        return self.rows


def make(names: str, **fields: Any) -> Run:
    run = make_run(status="running", rev=1, started_at=START, tasks_total=len(names), **fields)
    Task.objects.bulk_create(
        Task(run=run, key=f"k{n}", name=name, position=n, status="running", rev=1, started_at=START)
        for n, name in enumerate(names)
    )
    return run


def change(run: Run, keys: list[str], **fields: Any) -> None:
    Run.objects.filter(pk=run.pk).update(rev=Run.objects.get(pk=run.pk).rev + 1)
    Task.objects.filter(run=run, key__in=keys).update(rev=Run.objects.get(pk=run.pk).rev, **fields)


@pytest.mark.parametrize(
    "views",
    [
        ["state=running", "state=running"],
        ["", "open=s", "", "open=s"],
        ["open=s", "open=s&fold=0", "open=s"],
        ["", "find=s", "state=running", ""],
    ],
    ids=["one leaves the filter", "opened and closed", "folding off and on", "filters"],
)
def test_rows_are_those_of_a_fresh_page(views: list[str]) -> None:
    run = make("assssssss")
    reader = Reader(run)
    for number, view in enumerate(views):
        reader.see(view)
        change(run, [f"k{number + 2}"], status="succeeded", finished_at=START + 1)
        assert without_clock(reader.see(view)) == without_clock(Reader(run).see(view)), (number, view)


def test_a_sibling_too_many_makes_rows_of_the_open_fold_of_the_others() -> None:
    run = make("sssss")
    reader = Reader(run)
    assert not any("child" in row for row in reader.see("open=s").values())
    Task.objects.create(run=run, key="k9", name="s", position=9, status="running", rev=2, started_at=START)
    Run.objects.filter(pk=run.pk).update(rev=2, tasks_total=6)
    rows = reader.see("open=s")
    assert len(rows) == 7
    assert without_clock(rows) == without_clock(Reader(run).see("open=s"))


def test_more_changes_than_a_window_has_rows() -> None:
    run = make("ab" * MOST_TASKS)
    reader = Reader(run)
    reader.see("fold=0")
    change(run, [f"k{n}" for n in range(2 * MOST_TASKS)], status="succeeded", finished_at=START + 1)
    rows = reader.see("fold=0")
    assert all('data-state="succeeded"' in row for row in rows.values())
    assert without_clock(rows) == without_clock(Reader(run).see("fold=0"))


def without_clock(rows: dict[str, str]) -> dict[str, str]:
    """What says how long something has run up to now is left out, and how wide the drawing is by now."""
    changing = re.compile(r'(?<=<span data-since=)"[^<]*|viewBox="[^"]*"')
    return {name: changing.sub("", row) for name, row in rows.items()}
