"""A text column that holds JSON: the same on SQLite and PostgreSQL, with integers of any size kept exactly."""

import json
from typing import TYPE_CHECKING, Any

from django.db import models


def dumps(value: Any) -> str:
    """Compact JSON in ASCII only, so that no database meets a NUL or a lone surrogate."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=True)


if TYPE_CHECKING:
    Text = models.Field[Any, Any]
else:
    Text = models.TextField


class JSONText(Text):
    """Not Django's JSONField: jsonb refuses NUL, and would be parsed again for rows that only pass through."""

    def from_db_value(self, value: str | None, expression: object, connection: object) -> Any:
        return None if value is None else json.loads(value)

    def to_python(self, value: Any) -> Any:
        return value

    def get_prep_value(self, value: Any) -> str | None:
        return None if value is None else dumps(value)
