"""Small reads and writes without Django's making of their SQL, which is most of what they cost."""

from collections.abc import Callable, Mapping
from functools import cache, cached_property
from typing import Any, NamedTuple

from django.db import DEFAULT_DB_ALIAS, connection
from django.db.models import Func, Model, QuerySet
from django.db.models.sql.compiler import SQLCompiler

_STAND_INS = tuple(range(2_000_000_001, 2_000_000_009))  # no other constant of a query looks like these


class _Made[Row: Model](NamedTuple):
    model: type[Row]
    sql: str
    places: list[int]  # which value stands at each of the SQL's
    names: list[str]  # of the columns
    compiler: SQLCompiler
    converters: Any  # as the compiler makes and takes them


class Prepared[Row: Model]:
    """`make` builds the query from whole numbers; a call with such numbers gives its rows, without related ones."""

    def __init__(self, make: Callable[..., QuerySet[Row]], values: int) -> None:
        self._make, self._values = make, values

    def __call__(self, *values: int) -> list[Row]:
        made = self._made
        with connection.cursor() as cursor:
            cursor.execute(made.sql, [values[place] for place in made.places])
            rows = made.compiler.apply_converters(cursor.fetchall(), made.converters)
        return [made.model.from_db(DEFAULT_DB_ALIAS, made.names, row) for row in rows]

    @cached_property
    def _made(self) -> _Made[Row]:
        query = self._make(*_STAND_INS[: self._values])
        compiler = query.query.get_compiler(DEFAULT_DB_ALIAS)
        sql, params = compiler.as_sql()
        columns = [column for column, _, _ in compiler.select or ()]
        return _Made(
            model=query.model,
            sql=sql,
            places=[_STAND_INS.index(value) for value in params],
            names=[column.target.attname for column in columns],
            compiler=compiler,
            converters=compiler.get_converters(columns),
        )


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
