"""A run fails with a secret in its error; what a mail server, a chat and a webhook then get is read, and leads back."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.alerts.mailbox import PASSWORD, USER, mailbox
from tests.browser.sites import Site
from tests.receiver import receiver
from tests.scripted import eventually

FLOW, TASK = "Nightly", "load_orders"
SECRET = "sk-" + "Kanari7Qfrom4the8upstream"  # in two parts, so that no scanner takes it for a leak
DEFINITION: dict[str, Any] = {
    "tasks": [
        {
            "name": TASK,
            "tag": "Load the orders",
            "function": "call_lyzr_agent",
            "params": {
                "sandbox": {
                    "seconds": 0.1,
                    "fail": {"type": "Refused", "message": f"the key {SECRET} has expired", "code": "E7"},
                }
            },
        }
    ],
    "default_inputs": {},
    "edges": [],
}


@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")
async def test_a_failure_arrives_by_mail_chat_and_webhook_masked_and_leads_to_its_task(
    prepared: tuple[Path, str], tmp_path: Path
) -> None:
    site = Site(prepared[0], tmp_path / "data", SANDBOX_SPEED=20, LINGER_SECONDS=0.5)
    async with mailbox() as box, receiver() as chat, receiver() as hook:
        try:
            set_up(site, box.port, chat.port, hook.url)

            async def arrived() -> bool:
                return bool(box.mails and chat.heard and hook.heard)

            path = site.launch(FLOW, "told of")
            await eventually(arrived, 60)
            ((_, mail),) = box.mails
            said = [mail.get_content(), chat.heard[0].body["message"], hook.heard[0].content.decode()]
            for one in said:
                assert "[masked:" in one, one
                assert "Kanari7Q" not in one
                assert "has expired" in one
            assert mail["Subject"] == chat.heard[0].body["title"] == f"Task failed: {TASK} · {FLOW}"
            link = mail.get_content().splitlines()[-1]
            assert link == chat.heard[0].body["message"].splitlines()[-1] == hook.heard[0].body["url"]
            assert link.startswith(f"{site.url}{path}?task=")
            page = site.client.get(link)
            assert page.status_code == 200
            assert re.search(rf'id="drawer".*{TASK}', page.text, re.DOTALL), "the failed task is open"
            assert PASSWORD not in site.log()
        finally:
            site.stop()


def set_up(site: Site, mail_port: int, chat_port: int, hook: str) -> None:
    site.start()
    ends = "from=stepline@example.com&to=oncall@example.com"
    channels = {
        "mail": f"mailto://{USER}:{PASSWORD}@127.0.0.1:{mail_port}?{ends}",
        "chat": f"ntfy://127.0.0.1:{chat_port}/runs",
    }
    for name, url in channels.items():
        assert site.post("/alerts/channels/new/apprise/", name=name, url=url).status_code == 302
    assert "whsec_" in site.post("/alerts/channels/new/webhook/", name="hook", url=hook).text
    rule = {
        "name": "all",
        "enabled": "on",
        "kinds": ["task-failed"],
        "channels": ["1", "2", "3"],
        "debounce_minutes": "0",
    }
    assert site.post("/alerts/rules/new/", **rule).status_code == 302
    site.save_workflow("sandbox", DEFINITION, FLOW)
