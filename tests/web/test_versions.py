"""The versions of a workflow: kept, told apart, restored; and who saves over whom."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from accounts.models import AuditEntry
from runs import actions, catalogue, vault
from runs.models import Run, Workflow
from tests.factories import make_definition, make_upstream, make_user, make_workflow

ClientAs = Callable[[str], Client]
pytestmark = pytest.mark.django_db
SECRET = "sk-" + "live-0123456789abcdefghij"


def saved(*names: str, workflow: Workflow | None = None, **more: Any) -> Workflow:
    definition = make_definition(*names)
    definition["tasks"][0]["params"]["config"]["api_key"] = SECRET
    upstream = workflow.upstream if workflow else make_upstream()
    return actions.save_workflow(upstream=upstream, definition=definition | more, workflow=workflow)


def test_each_change_of_the_definition_is_a_version(client_as: ClientAs) -> None:
    ann = make_user("operator", username="ann")
    workflow = saved("a", "b")
    actions.save_workflow(upstream=workflow.upstream, definition=make_definition("a", "c"), workflow=workflow, user=ann)
    found = list(workflow.versions.order_by("number"))
    assert [(one.number, one.saved_by, one.change) for one in found] == [
        (1, None, ""), (2, ann, "added “c”; removed “b”; changed “a”"),
    ]  # fmt: skip
    assert vault.unseal(found[0].sealed)["tasks"][0]["params"]["config"]["api_key"] == SECRET
    assert SECRET not in json.dumps(found[0].definition)
    page = client_as("viewer").get(f"/workflows/{workflow.pk}/").content.decode()
    assert "added “c”; removed “b”" in page
    assert page.index("Version 2") < page.index("Version 1")
    assert "ann" in page


def test_what_changes_no_definition_makes_no_version() -> None:
    workflow = saved("a")
    actions.save_workflow(
        upstream=workflow.upstream,
        definition=workflow.definition,
        description="other",
        workflow=workflow,
        deadline_seconds=60.0,
    )
    assert (workflow.version, workflow.versions.count(), workflow.description) == (1, 1, "other")


@pytest.mark.parametrize(("before", "after"), [(1, True), (1, 1.0), ([1, 2], [2, 1]), ("a", "A")])
def test_what_only_python_takes_for_equal_is_a_change(before: Any, after: Any) -> None:
    workflow = saved("a", default_inputs={"x": before})
    saved("a", default_inputs={"x": after}, workflow=workflow)
    assert workflow.version == 2


def test_the_order_of_names_is_no_change() -> None:
    workflow = saved("a")
    definition = vault.unseal(workflow.sealed)
    backwards = dict(reversed(definition.items()))
    actions.save_workflow(upstream=workflow.upstream, definition=backwards, workflow=workflow)
    assert workflow.version == 1


def test_only_so_many_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "MOST_VERSIONS", 3)
    workflow = saved("a")
    for name in "bcdef":
        saved(name, workflow=workflow)
    assert list(workflow.versions.order_by("number").values_list("number", flat=True)) == [4, 5, 6]


def test_a_version_shows_what_it_changed_and_compares_with_any_other(client_as: ClientAs) -> None:
    viewer = client_as("viewer")
    workflow = saved("a", "b")
    saved("a", "c", workflow=workflow)
    saved("a", "c", workflow=workflow, default_inputs={"query": "y"})
    path = f"/workflows/{workflow.pk}/versions/3/"
    answer = viewer.get(path)
    assert (answer.context["against"], answer.context["compared"].words) == (2, "changed default_inputs")
    [part] = answer.context["compared"].parts
    assert [(one.place, one.before, one.after) for one in part.fields.shown] == [("default_inputs.query", '"x"', '"y"')]
    other = viewer.get(path, {"against": "1"})
    assert [(one.name, one.kind) for one in other.context["compared"].parts] == [
        ("b", "removed"), ("c", "added"), ("", "changed"),
    ]  # fmt: skip
    assert SECRET not in other.content.decode()
    assert "Restore" not in other.content.decode()
    for wrong in ("9", "x", "3", "²", "1" * 400):
        assert "There is no version" in viewer.get(path, {"against": wrong}).content.decode()
    assert "oldest version that is kept" in viewer.get(f"/workflows/{workflow.pk}/versions/1/").content.decode()
    assert viewer.get(f"/workflows/{workflow.pk}/versions/9/").status_code == 404
    assert viewer.get(f"/workflows/{workflow.pk}/versions/{10**30}/").status_code == 404
    assert viewer.get("/workflows/999/versions/1/").status_code == 404


def test_a_changed_secret_is_a_change_that_shows_no_secret(client_as: ClientAs) -> None:
    workflow = saved("a")
    definition = vault.unseal(workflow.sealed)
    definition["tasks"][0]["params"]["config"]["api_key"] = SECRET.upper()
    actions.save_workflow(upstream=workflow.upstream, definition=definition, workflow=workflow)
    answer = client_as("viewer").get(f"/workflows/{workflow.pk}/versions/2/")
    [part] = answer.context["compared"].parts
    assert part.fields.shown[0].place == "params.config.api_key"
    assert "[masked:" in part.fields.shown[0].before
    assert part.fields.shown[0].before != part.fields.shown[0].after


def test_a_restored_version_is_a_new_one_with_its_secrets(client_as: ClientAs) -> None:
    operator = client_as("operator")
    workflow = saved("a", "b")
    first = vault.unseal(workflow.sealed)
    saved("c", workflow=workflow)
    answer = operator.post(f"/workflows/{workflow.pk}/versions/1/restore/", follow=True)
    assert "Restored version 1 of Nightly as version 3." in answer.content.decode()
    workflow.refresh_from_db()
    assert (workflow.version, vault.unseal(workflow.sealed)) == (3, first)
    assert workflow.versions.get(number=3).change.startswith("restored from version 1; added “a”, “b”")
    assert AuditEntry.objects.latest("pk").detail == "version 3, restored from version 1"


def test_a_restored_version_keeps_the_present_name(client_as: ClientAs) -> None:
    workflow = saved("a")
    actions.save_workflow(
        upstream=workflow.upstream, definition=make_definition("b"), flow_name="Renamed", workflow=workflow
    )
    client_as("operator").post(f"/workflows/{workflow.pk}/versions/1/restore/")
    workflow.refresh_from_db()
    assert (workflow.flow_name, workflow.definition["flow_name"], workflow.tasks_total) == ("Renamed", "Renamed", 1)
    assert workflow.definition["tasks"][0]["name"] == "a"


def test_what_is_there_already_is_not_restored(client_as: ClientAs) -> None:
    workflow = saved("a")
    answer = client_as("operator").post(f"/workflows/{workflow.pk}/versions/1/restore/", follow=True)
    assert "there was nothing to restore" in answer.content.decode()
    assert workflow.versions.count() == 1


def test_a_version_whose_secrets_cannot_be_opened_is_not_restored(client_as: ClientAs) -> None:
    workflow = saved("a")
    saved("b", workflow=workflow)
    workflow.versions.filter(number=1).update(sealed="nonsense")
    answer = client_as("operator").post(f"/workflows/{workflow.pk}/versions/1/restore/", follow=True)
    assert "Version 1 was not restored: A stored secret cannot be decrypted" in answer.content.decode()


def test_a_viewer_restores_nothing(client_as: ClientAs) -> None:
    workflow = saved("a")
    assert client_as("viewer").post(f"/workflows/{workflow.pk}/versions/1/restore/").status_code == 403


def test_two_who_edit_at_once_do_not_overwrite_each_other(client_as: ClientAs) -> None:
    operator = client_as("operator")
    workflow = saved("a")
    path = f"/workflows/{workflow.pk}/edit/"
    form = operator.get(path).context["form"]
    assert form["seen"].value() == 1
    saved("theirs", workflow=Workflow.objects.get())
    mine = {"upstream": workflow.upstream_id, "definition": json.dumps(make_definition("mine")), "seen": "1"}
    answer = operator.post(path, mine)
    assert answer.status_code == 409
    page = answer.content.decode()
    assert "it has version 2 now, and what you changed was version 1" in page
    assert "&quot;mine&quot;" in page, "what was typed is not lost"
    assert Workflow.objects.get().definition["tasks"][0]["name"] == "theirs"


def test_saving_what_was_deleted_meanwhile_makes_no_new_one(client_as: ClientAs) -> None:
    workflow = saved("a")
    Workflow.objects.filter(pk=workflow.pk).delete()
    with pytest.raises(actions.Overtaken, match="deleted by somebody else"):
        saved("b", workflow=workflow)
    assert not Workflow.objects.exists()


def test_a_run_says_which_version_launched_it(client_as: ClientAs) -> None:
    workflow = saved("a")
    saved("a", "b", workflow=workflow)
    run = actions.launch(workflow=Workflow.objects.get())
    saved("c", workflow=workflow)
    assert run.workflow_version == 2
    assert actions.retry(run).workflow_version == 2
    page = client_as("viewer").get(f"/runs/{run.pk}/").content.decode()
    assert f'href="/workflows/{workflow.pk}/versions/2/"' in page
    own = actions.launch(definition=make_definition(), flow_name="Own", upstream=workflow.upstream)
    assert Run.objects.get(pk=own.pk).workflow_version is None


def test_a_workflow_that_goes_takes_its_versions_along() -> None:
    workflow = make_workflow()
    actions.delete_workflow(workflow)
    assert not workflow.versions.model.objects.exists()
