"""A run exported on SQLite, imported and exported on PostgreSQL, and back on SQLite: the same bytes each time."""

import json

import pytest

from tests.process.fixtures import MakeHome
from tests.process.programs import Home


def came_in(home: Home, text: str) -> int:
    """Import this file; the run's number there."""
    path = home.folder / "run.ndjson"
    path.write_text(text)
    done = home.manage("import_run", str(path), "--json")
    assert done.returncode == 0, done.stderr
    return int(json.loads(done.stdout)["id"])


def went_out(home: Home, run: int) -> str:
    done = home.manage("export_run", str(run))
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.postgres
async def test_a_run_goes_from_sqlite_to_postgresql_and_back_unchanged(home: MakeHome, deploy: MakeHome) -> None:
    first = home(SANDBOX_SPEED=50)
    program, api = await first.serve()
    run = await api.launch(flow_name="Refund_Triage")
    await api.ended(run)
    text = went_out(first, run)
    assert len(text.splitlines()) > 20

    there = deploy()
    number = came_in(there, text)
    assert went_out(there, number) == text
    assert there.manage("rebuild_runs").stdout.startswith("1 runs checked, 0 different")

    back = home()
    assert went_out(back, came_in(back, went_out(there, number))) == text
    assert program.process.poll() is None
