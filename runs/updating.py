"""An update without Django's making of its SQL, which is most of what a small one costs."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from django.db import connection
from django.db.models import Func, Model


def update(model: type[Model], values: Mapping[str, Any], **where: Any) -> int:
    """`filter(**where).update(**values)`. Returns how many rows there were.

    `where`: columns that equal a value. `values`: plain ones, or a function of the database without arguments.
    """
    quote, table = connection.ops.quote_name, model._meta.db_table
    assigned, params = [], list[Any]()
    for name, value in values.items():
        field = _field(model, name)
        if isinstance(value, Func):
            called = getattr(value, f"as_{connection.vendor}")(None, connection)[0]
            assigned.append(f"{quote(field.column)} = {called}")
        else:
            assigned.append(f"{quote(field.column)} = %s")
            params.append(field.get_db_prep_save(value, connection))
    found = " AND ".join(f"{quote(_field(model, name).column)} = %s" for name in where)
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE {quote(table)} SET {', '.join(assigned)} WHERE {found}", [*params, *where.values()])
        return int(cursor.rowcount)


@cache
def _field(model: type[Model], name: str) -> Any:
    return model._meta.get_field(name)
