"""Text columns that are the same on SQLite and PostgreSQL: one holds JSON, one is searched by an index of trigrams."""

import json
from typing import TYPE_CHECKING, Any

import msgspec
from django.db import models
from django.db.models import Lookup


def dumps(value: Any) -> str:
    """Compact JSON that any database takes: NUL is always escaped, and where half a character stands, all is ASCII."""
    try:
        return msgspec.json.encode(value).decode()
    except UnicodeEncodeError:  # half a character
        return json.dumps(value, separators=(",", ":"))


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


class SearchField(Text):
    """Searched by `holds=(needle, …)`, each of three characters or more: all of them stand in it somewhere.

    On SQLite its table is one of FTS5, see runs/migrations/0007; on PostgreSQL pg_trgm has an index on it.
    """


@SearchField.register_lookup
class Holds(Lookup):
    lookup_name = "holds"
    prepare_rhs = False

    def as_sqlite(self, compiler: Any, connection: Any) -> tuple[str, tuple[Any, ...]]:
        column, params = self.process_lhs(compiler, connection)
        phrases = ['"{}"'.format(needle.replace('"', '""')) for needle in self.rhs]
        return f"{column} MATCH %s", (*params, " AND ".join(phrases))

    def as_postgresql(self, compiler: Any, connection: Any) -> tuple[str, tuple[Any, ...]]:
        column, params = self.process_lhs(compiler, connection)
        patterns = [f"%{connection.ops.prep_for_like_query(needle)}%" for needle in self.rhs]
        return f"({' AND '.join([f'{column} LIKE %s'] * len(patterns))})", (*(params * len(patterns)), *patterns)
