"""What `check` says of settings that are wrong, and that it says nothing of a documented deployment."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

from dashboard import checks

ROOT = Path(__file__).resolve().parent.parent


def ids(found: list[Any]) -> list[str]:
    return [one.id for one in found]


def check(folder: Path, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "manage.py", "check", *arguments],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "DATA_DIR": str(folder), **environment},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.fixture
def deployment() -> dict[str, str]:
    """The environment that docs/security.md gives for a deployment."""
    text = (ROOT / "docs" / "security.md").read_text()
    block = text.split("## A deployment")[1].split("\n\n    ")[1].split("\n\n")[0]
    lines = [line.strip() for line in block.splitlines() if "=" in line]
    made = dict(line.split("=", 1) for line in lines)
    assert {"SECRET_KEY", "FERNET_KEYS", "ALLOWED_HOSTS", "HTTPS", "DATABASE_URL", "REDIS_URL"} <= made.keys()
    return made | {"SECRET_KEY": "q7Zm-w2Lx" * 8, "FERNET_KEYS": Fernet.generate_key().decode()}


def test_the_documented_deployment_has_nothing_to_complain_of(tmp_path: Path, deployment: dict[str, str]) -> None:
    done = check(tmp_path, "--deploy", "--fail-level", "WARNING", **deployment)
    assert done.returncode == 0, done.stderr
    assert "no issues" in done.stdout
    assert list(tmp_path.iterdir()) == [], "no key was generated"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"ALLOWED_HOSTS": "*"}, "stepline.E001"),
        ({"ALLOWED_HOSTS": "runs.example.com,*"}, "stepline.E001"),
        ({"SECRET_KEY": ""}, "stepline.W003"),
        ({"FERNET_KEYS": ""}, "stepline.W003"),
        ({"DATABASE_URL": ""}, "stepline.W002"),
        ({"HTTPS": "off"}, "security.W008"),
        ({"DEBUG": "on"}, "security.W018"),
        (
            {
                "UPSTREAM_API_URL": "http://lao.example.com",
                "UPSTREAM_API_KEY": "k-1",
                "UPSTREAM_SOCKET_URL": "ws://s.example",
            },
            "stepline.W004",
        ),
    ],
)
def test_a_deployment_with_a_mistake_does_not_pass(
    tmp_path: Path, deployment: dict[str, str], wrong: dict[str, str], said: str
) -> None:
    done = check(tmp_path, "--deploy", "--fail-level", "WARNING", **{**deployment, **wrong})
    assert done.returncode == 1
    assert said in done.stderr


def test_the_embedded_default_has_nothing_to_complain_of(tmp_path: Path) -> None:
    done = check(tmp_path, "--fail-level", "WARNING")
    assert done.returncode == 0, done.stderr
    assert {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {
        "secret_key": 0o600,
        "fernet_keys": 0o600,
    }
    kept = (tmp_path / "fernet_keys").read_text()
    assert check(tmp_path).returncode == 0
    assert (tmp_path / "fernet_keys").read_text() == kept


def test_a_key_file_that_others_can_read_is_told_of(tmp_path: Path) -> None:
    check(tmp_path)
    (tmp_path / "fernet_keys").chmod(0o644)
    done = check(tmp_path)
    assert "stepline.W001" in done.stderr
    assert f"chmod 600 {tmp_path / 'fernet_keys'}" in done.stderr
    assert "secret_key" not in done.stderr


def test_an_empty_key_file_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "fernet_keys").touch()
    done = check(tmp_path)
    assert done.returncode != 0
    assert "fernet_keys is empty" in done.stderr


@pytest.mark.parametrize("hosts", [["*"], ["a.example", "*"]])
def test_any_host_is_an_error(settings: Any, hosts: list[str]) -> None:
    settings.ALLOWED_HOSTS = hosts
    assert ids(checks.hosts(None)) == ["stepline.E001"]
    settings.ALLOWED_HOSTS = ["a.example", ".b.example"]
    assert checks.hosts(None) == []
