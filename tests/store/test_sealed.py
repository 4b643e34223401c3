"""What is sealed under a key that is gone is refused with what to do, not with a crash."""

from typing import Any

import pytest
from cryptography.fernet import Fernet

from runs import actions
from tests.factories import make_workflow

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
