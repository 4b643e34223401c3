"""What the fault tests injected and what they found: the rows of the table that `make test-faults` prints.

A row that injected less than it set out to is a failure like a lost event: a fault that never fired proves nothing.
"""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

FULL = os.environ.get("FAULTS") == "full"
TABLE = "FAULTS_TABLE"  # the environment variable that names the file to which rows are added


def size[T](quick: T, full: T) -> T:
    """How much of a fault test to do: the first in `make test`, the second in `make test-faults`."""
    return full if FULL else quick


class Row(msgspec.Struct):
    """`times`: how often the fault was to strike; `injected`: how often it did. `lost`, `doubled`: events."""

    case: str
    where: str  # SQLite, PostgreSQL…
    times: int
    injected: int
    lost: int
    doubled: int
    failed: int = 0  # tests of this case that failed, for whatever reason

    @property
    def verdict(self) -> str:
        if self.failed or self.lost or self.doubled:
            return "FAILED"
        return "ok" if self.injected >= self.times else "no fault fired"


class Ledger:
    """One test's way to the table. `enter` fails the test when its row is no good one."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.row: Row | None = None

    def enter(self, case: str, *, times: int, injected: int, lost: int = 0, doubled: int = 0) -> None:
        """Call it once, after everything else was asserted."""
        self.row = Row(case, self.where, times, injected, lost, doubled)
        assert self.row.verdict == "ok", f"{case}: {self.row.verdict}: {self.row}"


def merged(rows: Iterable[Row]) -> list[Row]:
    """One row for each case and place, in order of first appearance."""
    found: dict[tuple[str, str], Row] = {}
    for row in rows:
        seen = found.setdefault((row.case, row.where), Row(row.case, row.where, 0, 0, 0, 0))
        for name in ("times", "injected", "lost", "doubled", "failed"):
            setattr(seen, name, getattr(seen, name) + getattr(row, name))
    return list(found.values())


def table(rows: Iterable[Row]) -> list[str]:
    """The lines of a Markdown table."""
    heads = ("case", "on", "times", "injected", "lost", "doubled", "verdict")
    cells = [
        (row.case, row.where, *(str(n) for n in (row.times, row.injected, row.lost, row.doubled)), row.verdict)
        for row in merged(rows)
    ]
    widths = [max(map(len, column)) for column in zip(heads, *cells, strict=True)]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
        for line in (heads, *cells)
    ]
    return [lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]]


def keep(rows: Iterable[Row]) -> None:
    """Add rows to the file that the environment names, if it names one."""
    if path := os.environ.get(TABLE):
        with Path(path).open("a") as file:
            file.writelines(json.dumps(msgspec.structs.asdict(row)) + "\n" for row in rows)


def kept(path: Path) -> list[Row]:
    rows: list[dict[str, Any]] = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [Row(**row) for row in rows]
