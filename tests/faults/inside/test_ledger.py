"""The ledger itself: a fault that did not fire, a loss and a double are failures."""

from pathlib import Path

import pytest

from tests.faults import ledger
from tests.faults.ledger import Ledger, Row


@pytest.mark.parametrize("found", [{"injected": 2}, {"injected": 3, "lost": 1}, {"injected": 3, "doubled": 1}])
def test_a_row_that_is_no_good_one_fails_its_test(found: dict[str, int]) -> None:
    with pytest.raises(AssertionError, match="a case"):
        Ledger("SQLite").enter("a case", times=3, **found)


def test_the_rows_of_a_case_are_added_up() -> None:
    rows = [Row("cut", "SQLite", 1, 1, 0, 0), Row("cut", "SQLite", 2, 2, 0, 0), Row("cut", "PostgreSQL", 1, 0, 0, 0)]
    assert ledger.table(rows)[2:] == [
        "| cut  | SQLite     | 3     | 3        | 0    | 0       | ok             |",
        "| cut  | PostgreSQL | 1     | 0        | 0    | 0       | no fault fired |",
    ]


def test_rows_come_back_from_the_file_that_the_environment_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [Row("cut", "SQLite", 1, 1, 0, 0)]
    monkeypatch.delenv(ledger.TABLE, raising=False)
    ledger.keep(rows)
    monkeypatch.setenv(ledger.TABLE, str(tmp_path / "rows"))
    ledger.keep(rows)
    assert ledger.kept(tmp_path / "rows") == rows
