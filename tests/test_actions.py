"""What a person may do, and how it is refused: before anything is stored, and with the place of each mistake."""

import json
from typing import Any

import pytest

from runs import actions, store, vault
from runs.models import Launch, Run, Stream, Task, Upstream, Workflow
from tests.factories import make_definition, make_run, make_upstream, make_user, make_workflow

pytestmark = pytest.mark.django_db

SECRET = "sk-live-0123456789abcdefghij"


@pytest.fixture
def upstream() -> Upstream:
    return make_upstream(name="default")


def body(run: Run) -> dict[str, Any]:
    """What will be sent to the upstream."""
    found: dict[str, Any] = vault.unseal(run.launch.sealed)
    return found


def places(refused: "pytest.ExceptionInfo[actions.Refused]") -> list[str]:
    return [mistake.place for mistake in refused.value.mistakes]


# --- launching ----------------------------------------------------------------------------------------------------


def test_a_workflow_is_launched_by_name_with_inputs_over_its_defaults(upstream: Upstream) -> None:
    workflow = make_workflow(upstream=upstream, flow_name="Nightly")
    user = make_user("operator")
    run = actions.launch(flow_name="Nightly", inputs={"limit": 3}, user=user)
    assert (run.status, run.workflow, run.created_by, run.upstream) == ("queued", workflow, user, upstream)
    assert body(run)["default_inputs"] == {"query": "x", "limit": 3}
    assert (body(run)["flow_name"], body(run)["run_name"]) == ("Nightly", run.run_name)
    assert body(run)["edges"] == []


def test_minted_run_names_differ(upstream: Upstream) -> None:
    make_workflow(upstream=upstream, flow_name="Nightly")
    names = {actions.launch(flow_name="Nightly").run_name for _ in range(20)}
    assert len(names) == 20


def test_what_only_the_canvas_knows_is_not_sent(upstream: Upstream) -> None:
    definition = make_definition("a")
    definition["tasks"].append({"name": "inputs", "function": "default_inputs"})
    definition["edges"] = [{"source": "inputs", "target": "a"}]
    run = actions.launch(flow_name="F", definition=definition)
    assert [task["name"] for task in body(run)["tasks"]] == ["a"]
    assert body(run)["edges"] == []
    assert run.tasks_total == 1


def test_secrets_are_sent_and_never_shown(upstream: Upstream) -> None:
    definition = make_definition("a")
    definition["tasks"][0]["params"]["config"]["api_key"] = SECRET
    definition["tasks"][0]["tag"] = f"calls with {SECRET}"
    run = actions.launch(flow_name="F", definition=definition, inputs={"password": "hunter22hunter"})
    assert body(run)["tasks"][0]["params"]["config"]["api_key"] == SECRET
    assert body(run)["default_inputs"]["password"] == "hunter22hunter"
    shown = json.dumps([*Launch.objects.values("definition", "inputs"), *Task.objects.values(), *Run.objects.values()],
                       default=str)  # fmt: skip
    assert SECRET not in shown
    assert "hunter22hunter" not in shown
    assert store.rebuild(run.pk) == []


def test_a_description_with_a_secret_in_it_is_kept_masked(upstream: Upstream) -> None:
    definition = {**make_definition("a", flow_name="F"), "description": f"use {SECRET}"}
    saved = actions.save_workflow(upstream=upstream, definition=definition)
    assert SECRET not in saved.description
    assert saved.description.startswith("use ")


def test_an_unknown_workflow_is_refused(upstream: Upstream) -> None:
    with pytest.raises(actions.Refused, match="no workflow named 'Nowhere'") as refused:
        actions.launch(flow_name="Nowhere")
    assert places(refused) == ["flow_name"]


def test_where_several_upstreams_have_the_workflow_the_default_one_is_meant(upstream: Upstream) -> None:
    other = make_upstream()
    make_workflow(upstream=other, flow_name="Nightly")
    assert actions.launch(flow_name="Nightly").upstream == other
    make_workflow(upstream=upstream, flow_name="Nightly")
    assert actions.launch(flow_name="Nightly").upstream == upstream
    assert actions.launch(flow_name="Nightly", upstream=other).upstream == other


def test_without_any_upstream_it_says_who_can_add_one(db: None) -> None:
    with pytest.raises(actions.Refused, match="no upstream yet"):
        actions.launch(flow_name="F", definition=make_definition("a"))


def test_a_run_name_that_is_taken_is_refused_with_the_run_that_has_it(upstream: Upstream) -> None:
    first = actions.launch(flow_name="F", run_name="tonight", definition=make_definition("a"))
    with pytest.raises(actions.Taken, match=rf"run {first.pk}") as refused:
        actions.launch(flow_name="F", run_name="tonight", definition=make_definition("a"))
    assert places(refused) == ["run_name"]
    other = make_upstream()
    actions.launch(flow_name="F", run_name="tonight", definition=make_definition("a"), upstream=other)
    assert Run.objects.count() == 2


GOOD_NAMES = ["a", "x" * 300, "ü 漢字 🦉", "50 % # ? / \\ & +", "..a", "a..", " inner space ", "'; DROP TABLE--", "<b>"]
BAD_NAMES = ["x" * 301, ".", "..", "a\nb", "tab\t", "nul\x00", "\x7f", "half\ud800"]


@pytest.mark.parametrize("name", GOOD_NAMES)
def test_odd_names_are_taken_as_they_are(upstream: Upstream, name: str) -> None:
    run = actions.launch(flow_name=name, run_name=name, definition=make_definition("a"))
    run.refresh_from_db()
    assert (run.flow_name, run.run_name) == (name, name)
    assert (body(run)["flow_name"], body(run)["run_name"]) == (name, name)


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize("place", ["flow_name", "run_name"])
def test_names_that_cannot_be_addresses_are_refused_at_their_place(upstream: Upstream, name: str, place: str) -> None:
    names = {"flow_name": "F", "run_name": "r", place: name}
    with pytest.raises(actions.Refused) as refused:
        actions.launch(**names, definition=make_definition("a"))
    assert places(refused) == [place]
    with pytest.raises(actions.Refused) as refused:
        actions.attach(**names)
    assert places(refused) == [place]
    assert not Run.objects.exists()


def loop() -> dict[str, Any]:
    definition = make_definition("a", "b", "c")
    definition["tasks"][0]["params"]["body"] = {"depends": "c"}
    return definition


def missing() -> dict[str, Any]:
    definition = make_definition("a", "b")
    definition["tasks"][1]["params"]["body"] = {"depends": "ghost"}
    return definition


BAD_DEFINITIONS: dict[str, tuple[Any, str]] = {
    "a circle": (loop(), "a"),
    "a missing task": (missing(), "ghost"),
    "a name twice": (make_definition("a", "a"), "'a'"),
    "no task": ({"tasks": []}, "no task"),
    "no tasks": ({}, "tasks are missing"),
    "no object": ([], "JSON object"),
    "a nameless task": ({"tasks": [{"function": "api_call"}]}, "no name"),
    "inputs that are no object": ({**make_definition("a"), "default_inputs": ["x"]}, "default_inputs"),
}


@pytest.mark.parametrize("what", BAD_DEFINITIONS)
def test_a_definition_that_cannot_run_is_refused_before_anything_is_stored(upstream: Upstream, what: str) -> None:
    definition, words = BAD_DEFINITIONS[what]
    with pytest.raises(actions.Refused) as refused:
        actions.launch(flow_name="F", definition=definition)
    assert words in f"{refused.value.message} {refused.value.mistakes}"
    assert refused.value.mistakes
    with pytest.raises(actions.Refused):
        actions.save_workflow(upstream=upstream, definition=definition, flow_name="F")
    assert not Run.objects.exists()
    assert not Workflow.objects.exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [1, {"deep": float("-inf")}]])
def test_numbers_that_json_does_not_have_are_refused(upstream: Upstream, value: Any) -> None:
    with pytest.raises(actions.Refused) as refused:
        actions.launch(flow_name="F", definition=make_definition("a"), inputs={"x": value})
    assert places(refused) == ["inputs"]
    assert not Run.objects.exists()


def test_odd_values_are_sent_exactly(upstream: Upstream) -> None:
    odd = {"nul": "\x00", "half": "\ud800", "huge": 10**100, "text": "🦉"}
    definition = make_definition("a")
    definition["tasks"][0] |= {"tag": "a \x00 tag \ud800", "function": "f\x00", "note": odd}
    run = actions.launch(flow_name="F", definition=definition, inputs=odd)
    assert body(run)["default_inputs"] == {"query": "x", **odd}
    assert body(run)["tasks"][0]["tag"] == "a \x00 tag \ud800"
    assert Launch.objects.get(run=run).inputs == {"query": "x", **odd}


def test_a_launch_that_is_too_large_is_refused(upstream: Upstream) -> None:
    with pytest.raises(actions.Refused, match="larger than 8 MiB"):
        actions.launch(flow_name="F", definition=make_definition("a"), inputs={"x": "x" * 9 * 1024 * 1024})


@pytest.mark.parametrize("depth", [60, 300, 20_000])
def test_what_is_nested_too_deeply_is_refused(upstream: Upstream, depth: int) -> None:
    nested: Any = 1
    for _ in range(depth):
        nested = [nested]
    if depth == 60:
        run = actions.launch(flow_name="F", definition=make_definition("a"), inputs={"x": nested})
        assert body(run)["default_inputs"]["x"] == nested
        return
    with pytest.raises(actions.Refused, match="nested deeper than 64") as refused:
        actions.launch(flow_name="F", definition=make_definition("a"), inputs={"x": nested})
    assert places(refused) == ["inputs"]
    with pytest.raises(actions.Refused, match="nested deeper than 64") as refused:
        actions.launch(flow_name="F", definition={**make_definition("a"), "note": nested})
    assert places(refused) == ["definition"]
    assert not Run.objects.exists()


def test_a_name_as_long_as_a_book_is_refused(upstream: Upstream) -> None:
    with pytest.raises(actions.Refused, match="a name of more than 1,000 characters") as refused:
        actions.launch(flow_name="F", definition=make_definition("a"), inputs={"x": [{"k" * 1001: [1, 2]}]})
    assert places(refused) == ["inputs"]
    actions.launch(flow_name="F", definition=make_definition("a"), inputs={"k" * 1000: [1, 2]})


# --- masked values that come back ---------------------------------------------------------------------------------


@pytest.fixture
def secretive(upstream: Upstream) -> Workflow:
    definition = make_definition("a", flow_name="Nightly")
    definition["default_inputs"] = {"api_key": SECRET, "query": "x"}
    return actions.save_workflow(upstream=upstream, definition=definition)


def test_a_masked_input_stands_for_the_default_that_it_masks(secretive: Workflow) -> None:
    shown = secretive.definition["default_inputs"]["api_key"]
    assert "masked" in shown
    run = actions.launch(flow_name="Nightly", inputs={"api_key": shown, "query": "y"})
    assert body(run)["default_inputs"] == {"api_key": SECRET, "query": "y"}
    assert SECRET not in json.dumps(run.launch.inputs)


def test_a_masked_input_at_another_place_is_refused(secretive: Workflow) -> None:
    shown = secretive.definition["default_inputs"]["api_key"]
    with pytest.raises(actions.Refused, match="enter the secret itself") as refused:
        actions.launch(flow_name="Nightly", inputs={"other": shown})
    assert places(refused)[0].startswith("inputs.other")
    assert not Run.objects.exists()


def test_a_workflow_saved_again_as_it_was_shown_keeps_its_secrets(secretive: Workflow) -> None:
    shown = json.loads(json.dumps(secretive.definition))
    shown["tasks"][0]["tag"] = "changed"
    saved = actions.save_workflow(upstream=secretive.upstream, definition=shown, workflow=secretive)
    assert vault.unseal(saved.sealed)["default_inputs"]["api_key"] == SECRET
    assert vault.unseal(saved.sealed)["tasks"][0]["tag"] == "changed"
    assert SECRET not in json.dumps(saved.definition)


def test_a_masked_secret_that_was_moved_is_refused_with_its_place(secretive: Workflow) -> None:
    shown = json.loads(json.dumps(secretive.definition))
    shown["tasks"][0]["params"]["config"]["key"] = shown["default_inputs"]["api_key"]
    with pytest.raises(actions.Refused) as refused:
        actions.save_workflow(upstream=secretive.upstream, definition=shown, workflow=secretive)
    assert places(refused)[0].startswith("tasks[0].params.config")
    secretive.refresh_from_db()
    assert vault.unseal(secretive.sealed)["default_inputs"]["api_key"] == SECRET


def test_a_workflow_name_that_is_taken_is_refused(secretive: Workflow) -> None:
    with pytest.raises(actions.Taken):
        actions.save_workflow(upstream=secretive.upstream, definition=make_definition("a"), flow_name="Nightly")
    assert Workflow.objects.count() == 1


def test_a_description_in_broken_text_is_kept_readable(upstream: Upstream) -> None:
    saved = actions.save_workflow(upstream=upstream, definition=make_definition("a"), description="a\x00b\ud800c")
    saved.refresh_from_db()
    assert saved.description.startswith("a")
    assert saved.description.endswith("c")


def test_a_workflow_that_is_removed_leaves_its_runs(secretive: Workflow) -> None:
    run = actions.launch(flow_name="Nightly")
    actions.delete_workflow(secretive)
    run.refresh_from_db()
    assert run.workflow is None
    assert body(run)["default_inputs"]["api_key"] == SECRET


# --- attaching, retrying, stopping --------------------------------------------------------------------------------


def test_a_run_started_elsewhere_is_followed_and_nothing_is_launched(upstream: Upstream) -> None:
    run = actions.attach(flow_name="F", run_name="elsewhere")
    assert (run.attached, run.status, run.planned) == (True, "queued", False)
    assert not Launch.objects.filter(run=run).exists()
    with pytest.raises(actions.Taken):
        actions.attach(flow_name="F", run_name="elsewhere")


def test_a_retry_is_a_new_run_of_the_same_linked_to_the_old(secretive: Workflow) -> None:
    first = actions.launch(flow_name="Nightly", inputs={"query": "first", "extra": 1})
    actions.save_workflow(
        upstream=secretive.upstream, definition=make_definition("other", flow_name="Nightly"), workflow=secretive
    )
    second = actions.retry(first, inputs={"query": "second"})
    assert (second.retry_of, second.flow_name, second.workflow) == (first, "Nightly", secretive)
    assert second.run_name != first.run_name
    assert body(second)["default_inputs"] == {"api_key": SECRET, "query": "second", "extra": 1}
    assert [task["name"] for task in body(second)["tasks"]] == ["a"]


def test_a_retry_takes_inputs_back_as_they_were_shown(secretive: Workflow) -> None:
    first = actions.launch(flow_name="Nightly", inputs={"password": "hunter22hunter"})
    second = actions.retry(first, inputs=first.launch.inputs)
    assert body(second)["default_inputs"] == body(first)["default_inputs"]


def test_a_retry_under_the_same_name_is_refused(secretive: Workflow) -> None:
    first = actions.launch(flow_name="Nightly")
    with pytest.raises(actions.Taken):
        actions.retry(first, run_name=first.run_name)


def test_what_was_started_elsewhere_cannot_be_retried(upstream: Upstream) -> None:
    run = actions.attach(flow_name="F", run_name="elsewhere")
    with pytest.raises(actions.Refused, match="started elsewhere"):
        actions.retry(run)


def test_stopping_asks_the_follower_and_changes_no_state(upstream: Upstream) -> None:
    run = actions.attach(flow_name="F", run_name="elsewhere")
    run = actions.stop_watching(run)
    assert (run.stop_requested, run.status) == (True, "queued")
    assert Stream.objects.get(run=run).active


@pytest.mark.parametrize("status", Run.ENDED)
def test_a_run_that_has_ended_cannot_be_stopped(upstream: Upstream, status: str) -> None:
    run = make_run(upstream=upstream, status=status)
    with pytest.raises(actions.Refused, match=f"has ended \\({status}\\)"):
        actions.stop_watching(run)
    run.refresh_from_db()
    assert not run.stop_requested


# --- upstreams ----------------------------------------------------------------------------------------------------

ADDRESSES = {"api_url": "https://api.example.com/v1/", "socket_url": "wss://ws.example.com"}


def test_an_upstreams_key_is_sealed_kept_and_cleared(db: None) -> None:
    saved = actions.save_upstream(upstream=None, name=" live ", **ADDRESSES, api_key=SECRET)
    assert (saved.name, saved.api_url, saved.key_hint) == ("live", "https://api.example.com/v1", SECRET[-4:])
    assert SECRET not in saved.key_sealed
    assert vault.upstream_key(saved) == SECRET
    saved = actions.save_upstream(upstream=saved, name="live", **ADDRESSES)
    assert vault.upstream_key(saved) == SECRET
    saved = actions.save_upstream(upstream=saved, name="live", **ADDRESSES, api_key="")
    assert (vault.upstream_key(saved), saved.key_hint) == ("", "")


def test_a_short_key_gives_no_hint_away(db: None) -> None:
    assert actions.save_upstream(upstream=None, name="live", **ADDRESSES, api_key="elevenchars").key_hint == ""


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"name": "  "}, "name"),
        ({"name": "n" * 101}, "name"),
        ({"name": "nul\x00"}, "name"),
        ({"name": "half\ud800"}, "name"),
        ({"api_url": "ftp://x"}, "api_url"),
        ({"api_url": "https://x/?key=1"}, "api_url"),
        ({"api_url": "https://user:pass@x"}, "api_url"),
        ({"api_url": "https://[::1"}, "api_url"),
        ({"api_url": "https://x:99999"}, "api_url"),
        ({"api_url": "https://x/" + "a" * 500}, "api_url"),
        ({"api_url": "https://x/\x00"}, "api_url"),
        ({"socket_url": "https://x"}, "socket_url"),
        ({"socket_url": ""}, "socket_url"),
        ({"studio_url": "nonsense"}, "studio_url"),
        ({"api_key": "schlüssel"}, "api_key"),
        ({"api_key": "two\nlines"}, "api_key"),
    ],
)
def test_an_upstream_that_cannot_work_is_refused_at_the_place(db: None, fields: dict[str, str], place: str) -> None:
    with pytest.raises(actions.Refused) as refused:
        actions.save_upstream(**{"upstream": None, "name": "live", **ADDRESSES, **fields})  # type: ignore[arg-type]
    assert places(refused) == [place]
    assert not Upstream.objects.exists()


@pytest.mark.parametrize("host", ["127.0.0.1", "10.0.0.8", "localhost", "a.localhost", "[::1]", "169.254.169.254"])
def test_private_addresses_are_refused_where_they_are_not_allowed(db: None, settings: Any, host: str) -> None:
    settings.ALLOW_PRIVATE_UPSTREAMS = False
    with pytest.raises(actions.Refused, match="") as refused:
        actions.save_upstream(upstream=None, name="live", api_url=f"http://{host}", socket_url="wss://x.example.com")
    assert places(refused) == ["api_url"]


def test_an_upstream_name_that_is_taken_is_refused(db: None) -> None:
    actions.save_upstream(upstream=None, name="live", **ADDRESSES)
    with pytest.raises(actions.Taken):
        actions.save_upstream(upstream=None, name="live", **ADDRESSES)


def test_an_upstream_goes_only_while_nothing_belongs_to_it(upstream: Upstream) -> None:
    workflow = make_workflow(upstream=upstream)
    with pytest.raises(actions.Refused):
        actions.delete_upstream(upstream)
    actions.delete_workflow(workflow)
    actions.delete_upstream(upstream)
    assert not Upstream.objects.exists()
