"""All that is sealed comes under the first key: once, however often it is interrupted, and nothing else changes."""

import io
from typing import Any

import pytest
from cryptography.fernet import Fernet, InvalidToken
from django.core.management import CommandError, call_command

from alerts.models import Channel
from runs import actions, catalogue, vault
from runs.models import Launch, Run, Upstream, Workflow, WorkflowVersion
from tests.alerts.making import make_channel
from tests.factories import make_upstream, make_workflow

pytestmark = pytest.mark.django_db
NEW = Fernet.generate_key().decode()


def rotate() -> str:
    out = io.StringIO()
    call_command("rotate_keys", stdout=out)
    return out.getvalue()


@pytest.fixture
def old(settings: Any) -> str:
    """Two upstreams with keys, one without, two workflows, three launches and a channel, under the old key."""
    key: str = settings.FERNET_KEYS[0]
    upstream = make_upstream(name="one", key_sealed=vault.seal("key-one"))
    make_upstream(name="two", key_sealed=vault.seal("key-two"))
    make_upstream(name="none")
    for name in ("a", "b"):
        workflow = make_workflow(upstream=upstream, flow_name=name)
    for number in range(3):
        actions.launch(workflow=workflow, run_name=f"run-{number}", inputs={"query": f"secret {number}"})
    make_channel()
    settings.FERNET_KEYS = [NEW, key]
    return key


def sealed() -> list[str]:
    return [
        *Upstream.objects.exclude(key_sealed="").order_by("pk").values_list("key_sealed", flat=True),
        *Workflow.objects.order_by("pk").values_list("sealed", flat=True),
        *WorkflowVersion.objects.order_by("pk").values_list("sealed", flat=True),
        *Launch.objects.order_by("pk").values_list("sealed", flat=True),
        *Channel.objects.order_by("pk").values_list("sealed", flat=True),
    ]


def under(key: str) -> int:
    """How many of the sealed values this key alone opens."""
    count = 0
    for one in sealed():
        try:
            Fernet(key).decrypt(one.encode())
        except InvalidToken:
            continue
        count += 1
    return count


def test_everything_comes_under_the_first_key_and_says_the_same(old: str, settings: Any) -> None:
    before = [vault.unseal(one) for one in sealed()]
    assert (under(old), under(NEW)) == (10, 0)
    said = rotate()
    assert "upstream keys: 2 encrypted anew, 0 were under" in said
    assert "workflows: 2 encrypted anew" in said
    assert "versions of workflows: 2 encrypted anew" in said
    assert "launches: 3 encrypted anew" in said
    assert "channels of alerts: 1 encrypted anew" in said
    assert "can be taken out" in said
    assert (under(old), under(NEW)) == (0, 10)
    settings.FERNET_KEYS = [NEW]
    assert [vault.unseal(one) for one in sealed()] == before
    assert actions.retry(Run.objects.get(run_name="run-1"), run_name="again").status == "queued"


def test_a_second_time_nothing_is_left_to_do(old: str) -> None:
    rotate()
    after = sealed()
    said = rotate()
    assert "launches: 0 encrypted anew, 3 were under the first key" in said
    assert sealed() == after


def test_an_interruption_leaves_the_rest_for_the_next_time(old: str, monkeypatch: pytest.MonkeyPatch) -> None:
    really = catalogue.reseal_workflow
    written: list[int] = []

    def fail_at_the_second(number: int, before: str, after: str) -> bool:
        if written:
            raise KeyboardInterrupt
        written.append(number)
        return really(number, before, after)

    monkeypatch.setattr(catalogue, "reseal_workflow", fail_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        rotate()
    assert (under(old), under(NEW)) == (7, 3)
    monkeypatch.undo()
    assert "workflows: 1 encrypted anew, 1 were under the first key" in rotate()
    assert under(NEW) == 10


def test_what_is_saved_in_between_is_not_written_over(old: str, monkeypatch: pytest.MonkeyPatch) -> None:
    really = vault.reseal

    def somebody_saves(before: str) -> str:
        after = really(before)
        Upstream.objects.filter(key_sealed=before).update(key_sealed=vault.seal("entered meanwhile"))
        return after

    monkeypatch.setattr(vault, "reseal", somebody_saves)
    assert "upstream keys: 0 encrypted anew" in rotate()
    assert {vault.upstream_key(one) for one in Upstream.objects.exclude(key_sealed="")} == {"entered meanwhile"}


def test_what_cannot_be_opened_is_named_and_stays_while_the_rest_is_done(old: str, settings: Any) -> None:
    lost = Fernet(Fernet.generate_key()).encrypt(b'"gone"').decode()
    Upstream.objects.filter(name="two").update(key_sealed=lost)
    Launch.objects.filter(run__run_name="run-1").update(sealed="no token at all")
    with pytest.raises(CommandError) as refused:
        rotate()
    assert "2 cannot be opened" in str(refused.value)
    assert "the key of upstream two" in str(refused.value)
    assert f"the launch of run {Run.objects.get(run_name='run-1').pk}" in str(refused.value)
    assert Upstream.objects.get(name="two").key_sealed == lost
    assert under(NEW) == 8
