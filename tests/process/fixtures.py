"""Fixtures of tests with real processes: a prepared data folder to copy, and private servers that several tests share.

The conftest of each folder of such tests imports them.
"""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.process.programs import Home
from tests.scripted import ScriptedUpstream
from tests.servers import NotInstalled, Postgres, Redis, private_postgres, private_redis

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A migrated data folder with static files, and a token of an operator in it."""
    empty = tmp_path_factory.mktemp("empty")
    folder = tmp_path_factory.mktemp("prepared") / "data"
    home = Home(empty, folder, "")
    collected = home.manage("collectstatic", "--noinput", "--verbosity", "0")
    assert collected.returncode == 0, collected.stderr
    return folder, migrate(home)


def migrate(home: Home) -> str:
    """Bring the home's database up to date; the token of a new operator."""
    done = home.manage("migrate", "--noinput", "--verbosity", "0")
    assert done.returncode == 0, done.stderr
    made = home.manage("create_token", "operator", "--role", "operator")
    assert made.returncode == 0, made.stderr
    return made.stdout.strip()


type MakeHome = Callable[..., Home]


@pytest.fixture
def home(prepared: tuple[Path, str], tmp_path: Path) -> Iterator[MakeHome]:
    """A data folder of its own: `home(SANDBOX_SPEED=40)`. What is started in it ends with the test."""
    made: list[Home] = []

    def make(**environment: Any) -> Home:
        one = Home(prepared[0], tmp_path / f"data-{len(made)}", prepared[1], **environment)
        made.append(one)
        return one

    yield make
    for one in made:
        one.end()


@pytest_asyncio.fixture
async def upstream() -> Any:
    started = ScriptedUpstream()
    await started.start()
    yield started
    await started.stop()


def addresses(upstream: ScriptedUpstream) -> dict[str, str]:
    """The environment that makes this the default upstream."""
    return {"UPSTREAM_API_URL": upstream.api_url, "UPSTREAM_SOCKET_URL": upstream.socket_url}


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    try:
        with private_postgres() as server:
            yield server
    except NotInstalled as missing:
        pytest.skip(f"PostgreSQL cannot be started here: {missing}")


@pytest.fixture(scope="session")
def redis() -> Iterator[Redis]:
    try:
        with private_redis() as server:
            yield server
    except NotInstalled as missing:
        pytest.skip(f"Redis cannot be started here: {missing}")


@pytest.fixture
def deploy(
    prepared: tuple[Path, str], tmp_path: Path, postgres: Postgres, redis: Redis, upstream: ScriptedUpstream
) -> Iterator[MakeHome]:
    """A home on PostgreSQL and Redis whose default upstream is the scripted one: `deploy(RUN_DEADLINE_SECONDS=900)`."""
    made: list[Home] = []

    def make(**environment: Any) -> Home:
        number = next(_numbers)
        servers = {"DATABASE_URL": postgres.make(f"test_{number}"), "REDIS_URL": redis.url}
        one = Home(prepared[0], tmp_path / f"deployed-{number}", "", **addresses(upstream), **servers, **environment)
        made.append(one)
        one.token = migrate(one)
        return one

    yield make
    for one in made:
        one.end()
