"""What is sealed under a key that is gone is refused with what to do, not with a crash."""

from typing import Any

import pytest
from cryptography.fernet import Fernet

from runs import actions, vault
from tests.factories import make_upstream, make_workflow

pytestmark = pytest.mark.django_db


def test_a_workflow_sealed_under_a_lost_key_is_refused_with_what_to_do(settings: Any) -> None:
    workflow = make_workflow()
    settings.FERNET_KEYS = [Fernet.generate_key().decode()]
    with pytest.raises(actions.Refused, match="FERNET_KEYS"):
        actions.launch(workflow=workflow)
    with pytest.raises(actions.Refused, match="FERNET_KEYS"):
        actions.save_workflow(upstream=workflow.upstream, definition=workflow.definition, workflow=workflow)


def test_a_key_that_moved_back_in_the_list_still_opens(settings: Any) -> None:
    workflow = make_workflow()
    settings.FERNET_KEYS = [Fernet.generate_key().decode(), *settings.FERNET_KEYS]
    assert actions.launch(workflow=workflow).status == "queued"


def test_the_keys_of_all_upstreams_are_masked_everywhere(caplog: pytest.LogCaptureFixture) -> None:
    here, there = (make_upstream(key_sealed=vault.seal(f"the-own-key-of-{name}")) for name in ("here", "there"))
    make_upstream(key_sealed="gone")
    shown = vault.masker(here).text("sent the-own-key-of-here and the-own-key-of-there")
    assert "the-own-key-of" not in shown
    assert "cannot be opened" in caplog.text
    assert "the-own-key-of" not in vault.masker().text("sent the-own-key-of-there")
    there.key_sealed = "gone"
    with pytest.raises(vault.Unreadable):
        vault.masker(there)
