"""Queries whose SQL is put together once. For a small read Django's making of the text is most of the cost."""

from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple

from django.db import DEFAULT_DB_ALIAS, connection
from django.db.models import Model, QuerySet
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
