"""`launch` and `attach` from the terminal: options, exit codes, JSON, the progress line."""

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from msgspec import structs

from runs import actions, vault
from runs.core.progress import Forecast
from runs.management import following
from runs.management.following import closing_lines, progress_line
from runs.models import EpochNow, Run, Upstream, Worker
from tests.factories import START, make_definition, make_event, make_run, make_upstream

pytestmark = pytest.mark.django_db


@pytest.fixture
def upstream() -> Upstream:
    return make_upstream(name="sandbox")


@pytest.fixture
def nightly(upstream: Upstream) -> None:
    actions.save_workflow(upstream=upstream, definition=make_definition("a", "b", flow_name="Nightly"))


def call(*arguments: str) -> str:
    out = io.StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()


def inputs(run: Run) -> dict[str, Any]:
    found: dict[str, Any] = vault.unseal(run.launch.sealed)["default_inputs"]
    return found


type Play = Callable[..., None]


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Iterator[Play]:
    """`play({...}, {...})`: at each look the newest run gets the next of these fields, as from a worker."""
    steps: list[dict[str, Any]] = []

    def sleep(seconds: float) -> None:
        assert steps, "it looks again, and nothing is left to happen"
        Run.objects.filter(pk=Run.objects.latest("pk").pk).update(**steps.pop(0))

    monkeypatch.setattr(following.time, "sleep", sleep)

    def script(*fields: dict[str, Any]) -> None:
        steps.extend(fields)

    yield script
    assert not steps, "it stopped looking too early"


# --- launching ----------------------------------------------------------------------------------------------------


def test_it_launches_and_says_which_run_it_is(nightly: None) -> None:
    said = call("launch", "Nightly", "--run-name", "tonight")
    run = Run.objects.get()
    assert said == f"Run {run.pk}: Nightly / tonight\n"
    assert (run.status, run.created_by) == ("queued", None)


def test_inputs_come_as_json_or_as_text_and_override_those_of_the_file(nightly: None, tmp_path: Path) -> None:
    file = tmp_path / "inputs.json"
    file.write_text('{"from": "file", "limit": 1}')
    given = ["limit=20", "text=plain words", "equals=a=b", 'list=[1, {"x": null}]', "empty=", 'quoted="7"', "on=true"]
    options = [part for pair in given for part in ("--input", pair)]
    call("launch", "Nightly", "--inputs", str(file), *options)
    assert inputs(Run.objects.get()) == {
        "query": "x", "from": "file", "limit": 20, "text": "plain words", "equals": "a=b", "list": [1, {"x": None}],
        "empty": "", "quoted": "7", "on": True,
    }  # fmt: skip


def test_the_upstream_can_be_named(nightly: None) -> None:
    other = make_upstream(name="live")
    actions.save_workflow(upstream=other, definition=make_definition("z", flow_name="Nightly"))
    call("launch", "Nightly", "--upstream", "live")
    assert Run.objects.get().upstream == other


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["Nowhere"], "There is no workflow named 'Nowhere'"),
        (["Nightly", "--upstream", "moon"], "There is no upstream named 'moon'. Known: sandbox."),
        (["Nightly", "--input", "novalue"], "--input 'novalue': expected NAME=VALUE"),
        (["Nightly", "--input", "=x"], "expected NAME=VALUE"),
        (["Nightly", "--input", "x=NaN"], "NaN"),
        (["Nightly", "--inputs", "/no/such/file"], "--inputs /no/such/file: No such file"),
        (["Nightly", "--inputs", "{folder}"], "directory"),
        (["Nightly", "--inputs", "{broken}"], "not JSON"),
        (["Nightly", "--inputs", "{binary}"], "not JSON"),
        (["Nightly", "--inputs", "{deep}"], "not JSON"),
        (["Nightly", "--inputs", "{list}"], "expected a JSON object"),
        (["Nightly", "--run-name", ".."], "address"),
        (["Nightly", "--run-name", "x" * 301], "301 characters"),
    ],
)
def test_what_cannot_be_launched_as_asked_exits_with_64(
    nightly: None, tmp_path: Path, arguments: list[str], words: str
) -> None:
    (tmp_path / "broken").write_text('{"a": ')
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "deep").write_text('{"a":' * 100_000 + "1" + "}" * 100_000)
    (tmp_path / "list").write_text("[1]")
    paths = {name: str(tmp_path / name) for name in ("broken", "binary", "list", "deep")}
    filled = [part.format(folder=tmp_path, **paths) if "{" in part else part for part in arguments]
    with pytest.raises(CommandError) as error:
        call("launch", *filled)
    assert error.value.returncode == 64
    assert words in str(error.value)
    assert not Run.objects.exists()


def test_a_name_that_is_taken_exits_with_64_and_says_by_which_run(nightly: None) -> None:
    call("launch", "Nightly", "--run-name", "tonight")
    with pytest.raises(CommandError, match=rf"already \(run {Run.objects.get().pk}\)") as error:
        call("launch", "Nightly", "--run-name", "tonight")
    assert error.value.returncode == 64


@pytest.mark.parametrize("arguments", [[], ["Nightly", "--nonsense"], ["Nightly", "more"], ["Nightly", "--run-name"]])
@pytest.mark.parametrize("command", ["launch", "attach"])
def test_options_that_make_no_sense_exit_with_64_and_the_usage(
    command: str, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        call(command, *arguments)
    assert ended.value.code == 64
    assert capsys.readouterr().err.startswith("usage: ")


def test_json_alone_gives_the_run_as_it_stands(nightly: None) -> None:
    told = json.loads(call("launch", "Nightly", "--json"))
    run = Run.objects.get()
    assert (told["id"], told["run_name"], told["status"]) == (run.pk, run.run_name, "queued")


# --- following ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "code"), [("succeeded", 0), ("failed", 1), ("rejected", 1), ("lost", 2), ("stopped", 2)]
)
def test_following_exits_as_the_run_has_ended(nightly: None, play: Play, status: str, code: int) -> None:
    play({"status": "launching"}, {"status": "running"}, {"status": status})
    with pytest.raises(SystemExit) as ended:
        call("launch", "Nightly", "--follow")
    assert ended.value.code == code


def test_the_progress_goes_to_the_error_stream_and_the_end_to_the_output(
    nightly: None, play: Play, capsys: pytest.CaptureFixture[str]
) -> None:
    error = {"type": "Timeout", "message": "too slow", "code": "T1"}
    play(
        {"status": "running", "tasks_pending": 1, "tasks_running": 1, "current_task": "a"},
        {"tasks_pending": 0, "tasks_succeeded": 1, "current_task": "b"},
        {"status": "failed", "tasks_running": 0, "tasks_failed": 1, "error": error, "execution_time": 9.0},
    )
    out = io.StringIO()
    with pytest.raises(SystemExit):
        call_command("launch", "Nightly", "--follow", stdout=out)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("  [")[0].lstrip("█░") for line in lines] == [
        "  step 0 of 2  queued", "  step 1 of 2  running  a", "  step 2 of 2  running  b", "  step 2 of 2  failed"
    ]  # fmt: skip
    run = Run.objects.get()
    assert out.getvalue().splitlines() == [
        f"Run {run.pk}: Nightly / {run.run_name}",
        "Timeout: too slow (T1)",
        f"failed: http://127.0.0.1:8000/runs/{run.pk}/",
    ]


def test_json_with_follow_prints_the_ended_run_and_nothing_else(
    nightly: None, play: Play, capsys: pytest.CaptureFixture[str]
) -> None:
    play({"status": "running"}, {"status": "succeeded", "output_seq": 1})
    out = io.StringIO()

    def with_output(*_: Any) -> Any:
        return {"answer": 42}

    run_before = following._output
    following._output = with_output  # type: ignore[assignment]
    try:
        with pytest.raises(SystemExit) as ended:
            call_command("launch", "Nightly", "--follow", "--json", stdout=out)
    finally:
        following._output = run_before
    assert ended.value.code == 0
    told = json.loads(out.getvalue())
    assert (told["status"], told["output"]) == ("succeeded", {"answer": 42})
    assert capsys.readouterr().err == ""


def test_the_output_that_json_shows_is_that_of_the_last_event(upstream: Upstream) -> None:
    run = make_run(upstream=upstream)
    event = make_event(run, "flow_completed", {"event_type": "flow_completed", "output": {"n": 10**30}})
    run.output_seq = event.seq
    assert following._output(run) == {"n": 10**30}
    run.output_seq = None
    assert following._output(run) is None


@pytest.mark.parametrize("alive", [False, True])
def test_where_no_worker_runs_it_says_so_once(
    nightly: None, play: Play, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], alive: bool
) -> None:
    if alive:
        Worker.objects.create(name="w", started_at=0, beat_at=0)
        Worker.objects.update(beat_at=EpochNow())
    ticks = iter(range(0, 1000, 2))
    monkeypatch.setattr(following.time, "monotonic", lambda: next(ticks))
    play({}, {}, {}, {}, {"status": "succeeded"})
    err = io.StringIO()
    with pytest.raises(SystemExit):
        call_command("launch", "Nightly", "--follow", stderr=err)
    assert err.getvalue().count("No worker is running") == (0 if alive else 1)


# --- attaching ----------------------------------------------------------------------------------------------------


def test_attach_follows_and_launches_nothing(upstream: Upstream) -> None:
    call("attach", "sandbox", "F / 1", "run % 2")
    run = Run.objects.get()
    assert (run.attached, run.flow_name, run.run_name, run.upstream) == (True, "F / 1", "run % 2", upstream)
    assert not hasattr(run, "launch")


@pytest.mark.parametrize(("arguments", "words"), [(["moon", "F", "r"], "moon"), (["sandbox", "F", ".."], "address")])
def test_attaching_to_what_cannot_be_exits_with_64(upstream: Upstream, arguments: list[str], words: str) -> None:
    with pytest.raises(CommandError, match=words) as error:
        call("attach", *arguments)
    assert error.value.returncode == 64


# --- the words ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"status": "queued", "planned": True, "tasks_total": 3}, "░" * 30 + "  step 0 of 3  queued  [0 s]"),
        (
            {"planned": True, "tasks_total": 3, "tasks_succeeded": 1, "tasks_running": 1, "current_task": "b"},
            "█" * 10 + "░" * 20 + "  step 2 of 3  running  b  [0 s]",
        ),
        (
            {"planned": True, "tasks_total": 3, "tasks_succeeded": 2, "tasks_skipped": 1, "status": "succeeded",
             "execution_time": 75.4, "current_task": "b"},
            "█" * 30 + "  step 3 of 3  succeeded  [1 m 15 s]",
        ),
        ({"tasks_total": 2, "tasks_succeeded": 1, "tasks_running": 1, "current_task": "x"},
         "░" * 30 + "  step 1 done  running  x  [0 s]"),
        (
            {"planned": True, "tasks_total": 3, "tasks_succeeded": 1, "tasks_running": 1, "current_task": "b",
             "forecast": structs.asdict(Forecast(START, 0.2, 0.0, 0.9, START + 95, START + 105, 40, 45, None))},
            "█" * 6 + "░" * 24 + "  step 2 of 3  running  b  [0 s, about 1 m 40 s left]",
        ),
        ({"tasks_total": 0, "status": "lost", "execution_time": 0.0}, "░" * 30 + "  step 0 done  lost  [0 s]"),
    ],
    ids=["queued", "in the middle", "ended", "without a plan", "foreseen", "nothing came"],
)  # fmt: skip
def test_a_run_as_one_line(monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], line: str) -> None:
    monkeypatch.setattr(following.time, "time", lambda: START)
    assert progress_line(make_run(**fields)) == line


def test_the_last_words_tell_what_a_person_must_know(upstream: Upstream) -> None:
    run = make_run(
        upstream=upstream,
        status="failed",
        error={"type": "E", "message": "m", "code": ""},
        notice="Launch unconfirmed.",
        gap_count=2,
        conflict=True,
    )
    first, notice, gaps, conflict, last = closing_lines(run)
    assert (first, notice) == ("E: m", "Launch unconfirmed.")
    assert gaps.startswith("2 gap(s)")
    assert "both that it succeeded and that it failed" in conflict
    assert last == f"failed: http://127.0.0.1:8000/runs/{run.pk}/"
