"""What cannot work is refused at the start, in one line that says what to do."""

import pytest

from tests.process.fixtures import MakeHome
from tests.servers import free_port


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "eighty"),
        ("DATABASE_URL", "nonsense"),
        ("REDIS_URL", "http://127.0.0.1:6379"),
        ("LINGER_SECONDS", "-1"),
        ("DEBUG", "perhaps"),
        ("FERNET_KEYS", "short"),
        ("UPSTREAM_API_URL", "127.0.0.1"),
        ("UPSTREAM_SOCKET_URL", "ws://127.0.0.1:9"),
        ("SANDBOX_REPLAY", "some"),
        ("LOG_FORMAT", "xml"),
        ("MASK_PATTERNS", "(open"),
        ("MASK_PATTERNS", "fine,x*"),
        ("MASK_NAMES", "fine,---"),
        ("EMBED_ORIGINS", "wiki.example.com"),
        ("EMBED_ORIGINS", "*"),
        ("EMBED_ORIGINS", "https://wiki.example.com; script-src *"),
    ],
)
def test_a_variable_that_cannot_be_used_is_named_in_one_line(home: MakeHome, name: str, value: str) -> None:
    refused = home(**{name: value}).manage("serve", "--port", str(free_port()))
    assert refused.returncode != 0
    (line,) = (refused.stdout + refused.stderr).strip().splitlines()
    assert name in line
    assert "Traceback" not in line


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "nonsense://stepline:hunter2@db/stepline"),
        ("REDIS_URL", "http://:hunter2@cache:6379"),
        ("FERNET_KEYS", "hunter2"),
        ("UPSTREAM_API_URL", "ftp://hunter2@orchestrator.example"),
    ],
)
def test_a_refusal_does_not_repeat_what_may_be_a_secret(home: MakeHome, name: str, value: str) -> None:
    refused = home(**{name: value}).manage("check")
    assert refused.returncode != 0
    assert name in refused.stderr
    assert "hunter2" not in refused.stdout + refused.stderr


async def test_a_second_site_on_the_same_data_folder_is_refused(home: MakeHome) -> None:
    here = home()
    first, api = await here.serve()
    second = here.manage("serve", "--port", str(free_port()))
    assert second.returncode == 1
    assert f"Another Stepline uses {here.folder}" in second.stderr
    assert first.process.poll() is None
    assert (await api.call("GET", "/runs"))["items"] == []


async def test_a_port_that_is_taken_is_refused(home: MakeHome) -> None:
    _, api = await home().serve()
    refused = home().manage("serve", "--port", str(api.port))
    assert refused.returncode == 1
    assert f"Nothing can listen on 127.0.0.1:{api.port}" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_worker_of_its_own_is_refused_without_redis_and_on_sqlite(home: MakeHome) -> None:
    refused = home().manage("worker")
    assert refused.returncode == 1
    assert "needs REDIS_URL" in refused.stderr
    refused = home(REDIS_URL="redis://127.0.0.1:1/0").manage("worker")
    assert refused.returncode == 1
    assert "SQLite cannot be shared" in refused.stderr


def test_a_site_without_a_worker_is_refused_without_redis(home: MakeHome) -> None:
    refused = home().manage("serve", "--no-worker", "--port", str(free_port()))
    assert refused.returncode == 1
    assert "--no-worker needs REDIS_URL" in refused.stderr
