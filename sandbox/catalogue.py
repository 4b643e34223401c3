"""The workflows that come with the sandbox: the files of sandbox/workflows/, as the studio API shows them."""

import json
import uuid
from functools import cache
from pathlib import Path
from typing import Any

from sandbox.access import DUMMY_API_KEY

FOLDER = Path(__file__).resolve().parent / "workflows"
CREATED_AT = "2026-11-24T09:00:00Z"


@cache
def items() -> tuple[dict[str, Any], ...]:
    """{flow_id, flow_name, flow_data, api_key, created_at, updated_at}, by file name."""
    return tuple(_item(json.loads(path.read_text(encoding="utf-8"))) for path in sorted(FOLDER.glob("*.json")))


def item(flow_id: str) -> dict[str, Any] | None:
    return next((each for each in items() if each["flow_id"] == flow_id), None)


def _item(definition: dict[str, Any]) -> dict[str, Any]:
    return {
        # The same at every start: others keep it.
        "flow_id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"sandbox/{definition['flow_name']}")),
        "flow_name": definition["flow_name"],
        "flow_data": definition,
        "api_key": DUMMY_API_KEY,
        "created_at": CREATED_AT,
        "updated_at": CREATED_AT,
    }
