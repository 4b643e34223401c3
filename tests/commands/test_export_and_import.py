"""A run out into a file and in again: equal, on either database; a file that is damaged stores nothing."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from accounts.models import AuditEntry
from runs import actions, store, vault
from runs.core.state import fold
from runs.models import Event, Gap, Launch, Rejected, Run, Task, Upstream
from tests.factories import START, make_definition, make_rejected, make_run, make_upstream, make_user
from tests.store.conftest import Hand, completed, flow_completed, started

pytestmark = pytest.mark.django_db
TABLES = (Run, Launch, Task, Event, Gap, Rejected)


@pytest.fixture
def ended() -> Run:
    """A run with everything that a file has to hold."""
    upstream = make_upstream(name="orchard")
    user = make_user("operator", username="olga")
    run = actions.launch(flow_name="F / 1%", run_name="r ü", definition=make_definition(), upstream=upstream, user=user)
    hand = Hand(store.claim("me", 1)[0])
    odd = {"n": 12345678901234567890123, "x": 1.5e-7, "text": "line\nbreak \u2028 ü \U0001f600", "deep": [[{}]]}
    hand.write(started("fetch", input=odd), completed("fetch", output={"api_key": "[masked:key]"}))
    hand.write(gap=store.OpenGap("disconnected", 2, START + 2, START + 3, "cut"))
    hand.write(flow_completed(output=odd), done=True, run={"connection": "closed", "connection_since": START + 20.125})
    run.refresh_from_db()
    make_rejected(run, preview="{nonsense\n", detail="ü")
    Event.objects.filter(run=run, seq=1).update(receipts=3, flags="escaped", timestamp=None)
    return Run.objects.get(pk=run.pk)


def export(run: Run, folder: Path, form: str = "ndjson") -> Path:
    path = folder / f"run.{form}"
    call_command("export_run", str(run.pk), "--format", form, "-o", str(path), stderr=io.StringIO())
    return path


def import_(path: Path, *more: str) -> str:
    out = io.StringIO()
    call_command("import_run", str(path), *more, stdout=out)
    return out.getvalue()


def forget(run: Run) -> None:
    run.delete()
    assert not any(table.objects.exists() for table in TABLES)


def rows(run: Run) -> dict[str, Any]:
    """All that is stored of a run, but for its numbers here, what only a launch needs, and how pages keep in step."""
    ours = {"id", "run", "workflow", "sealed", "rev", "added_rev", "reset_rev"}
    found = {}
    for table in TABLES:
        kept = table.objects.filter(pk=run.pk) if table is Run else table.objects.filter(run=run)
        order = {"Task": "position", "Event": "seq"}.get(table.__name__, "pk")
        names = [field.name for field in table._meta.concrete_fields if field.name not in ours]
        found[table.__name__] = list(kept.order_by(order).values(*names))
    return found


@pytest.mark.parametrize("form", ["ndjson", "json"])
def test_a_run_comes_back_equal(ended: Run, tmp_path: Path, form: str) -> None:
    path = export(ended, tmp_path, form)
    before, text = rows(ended), path.read_bytes()
    assert [len(part) for part in before.values()] == [1, 1, 3, 3, 1, 1]
    forget(ended)
    assert "imported" in import_(path)
    back = Run.objects.get()
    assert rows(back) == before
    assert back.created_at == ended.created_at
    assert export(back, tmp_path, form).read_bytes() == text
    assert store.rebuild(back.pk) == []
    assert not store.claim("me", 9), "nobody is to follow it"
    assert AuditEntry.objects.filter(deed="run-imported").count() == 1


def test_both_forms_hold_the_same(ended: Run, tmp_path: Path) -> None:
    lines = [json.loads(line) for line in export(ended, tmp_path).read_text().splitlines()]
    whole = json.loads(export(ended, tmp_path, "json").read_text())
    assert whole["end"]["sha256"] == lines[-1]["sha256"]
    assert whole["run"]["run_name"] == "r ü"
    assert [event["seq"] for event in whole["events"]] == [1, 2, 3]
    assert (whole["format"], whole["version"]) == ("stepline-run", 1)


def test_a_second_import_changes_nothing(ended: Run, tmp_path: Path) -> None:
    path = export(ended, tmp_path)
    before = rows(ended)
    assert "here already, and the same" in import_(path)
    assert rows(ended) == before
    assert Run.objects.count() == 1
    assert not AuditEntry.objects.filter(deed="run-imported").exists()


def test_another_run_of_that_name_is_left_alone(ended: Run, tmp_path: Path) -> None:
    path = export(ended, tmp_path)
    Event.objects.filter(run=ended, seq=2).update(receipts=9)
    with pytest.raises(CommandError, match="is not the same"):
        import_(path)


def test_where_the_upstream_is_not_known_it_is_made_and_nothing_can_be_launched_there(
    ended: Run, tmp_path: Path, client_as: Callable[[str], Client]
) -> None:
    path = export(ended, tmp_path)
    forget(ended)
    Upstream.objects.all().delete()
    import_(path)
    upstream = Upstream.objects.get()
    assert upstream.name == "orchard"
    with pytest.raises(actions.Refused):
        actions.attach(upstream=upstream, flow_name="F", run_name="r")
    run = Run.objects.get()
    with pytest.raises(actions.Refused, match="imported"):
        actions.retry(run)
    page = client_as("operator").get(f"/runs/{run.pk}/retry/")
    assert page.status_code == 409
    assert "holds no secrets" in page.text


def test_secrets_stay_behind(ended: Run, tmp_path: Path) -> None:
    text = export(ended, tmp_path).read_text()
    sealed = Launch.objects.get(run=ended).sealed
    assert sealed not in text
    assert vault.unseal(sealed)
    assert "sealed" not in text


def damages() -> dict[str, Callable[[bytes], bytes]]:
    def line(number: int, change: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
        def changed(text: bytes) -> bytes:
            lines = text.splitlines(keepends=True)
            lines[number] = change(lines[number])
            return b"".join(lines)

        return changed

    def swapped(text: bytes) -> bytes:
        lines = text.splitlines(keepends=True)
        lines[2], lines[3] = lines[3], lines[2]
        return b"".join(lines)

    return {
        "empty": lambda text: b"",
        "another file": lambda text: b"<!doctype html>",
        "another json": lambda text: b'{"a": 1}',
        "cut in a line": lambda text: text[: len(text) // 2],
        "cut between lines": lambda text: b"".join(text.splitlines(keepends=True)[:-1]),
        "without an event": lambda text: b"".join([*text.splitlines(keepends=True)[:-2], text.splitlines()[-1]]),
        "a value changed": lambda text: text.replace(b'"receipts":3', b'"receipts":4'),
        "a field missing": lambda text: text.replace(b'"receipts":3,', b""),
        "a field too many": lambda text: text.replace(b'"receipts":3', b'"receipts":3,"more":1'),
        "of another version": lambda text: text.replace(b'"version":1', b'"version":2', 1),
        "of another format": lambda text: text.replace(b"stepline-run", b"something", 1),
        "lines swapped": swapped,
        "the run twice": line(1, lambda one: one + one),
        "something behind the end": line(-1, lambda one: one + one),
        "broken bytes": lambda text: text.replace(b"fetch", b"\xff\xfe", 1),
        "a bomb": lambda text: text.splitlines()[0] + b"\n" + b"[" * 200_000,
    }


@pytest.mark.parametrize("damage", damages())
def test_a_damaged_file_is_told_in_a_line_and_stores_nothing(ended: Run, tmp_path: Path, damage: str) -> None:
    path = export(ended, tmp_path)
    forget(ended)
    text = path.read_bytes()
    path.write_bytes(damages()[damage](text))
    assert path.read_bytes() != text
    with pytest.raises(CommandError, match="was not imported") as told:
        import_(path)
    assert "\n" not in str(told.value)
    assert not any(table.objects.exists() for table in TABLES)


def test_a_json_document_that_was_changed_is_noticed(ended: Run, tmp_path: Path) -> None:
    path = export(ended, tmp_path, "json")
    forget(ended)
    path.write_text(path.read_text().replace('"receipts":3', '"receipts":4'))
    with pytest.raises(CommandError, match="the digest differs"):
        import_(path)
    assert not Run.objects.exists()


def test_a_run_that_goes_on_can_be_exported_and_not_imported(tmp_path: Path) -> None:
    run = make_run()
    path = export(run, tmp_path)
    run.delete()
    with pytest.raises(CommandError, match="still going on"):
        import_(path)


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="no run 999"):
        call_command("export_run", "999")
    with pytest.raises(CommandError, match="No such file"):
        import_(tmp_path / "nothing")
    with pytest.raises(CommandError, match="No such file"):
        export(make_run(), tmp_path / "nowhere")


def test_an_imported_run_is_told_as_json(ended: Run, tmp_path: Path) -> None:
    path = export(ended, tmp_path)
    forget(ended)
    found = json.loads(import_(path, "--json"))
    assert (found["flow_name"], found["status"], found["created_by"]) == ("F / 1%", "succeeded", "olga")
    assert fold(store.read_events(found["id"])).terminal is not None
