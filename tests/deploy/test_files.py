"""What is shipped for a deployment fits what there is: settings, commands, limits, paths; and its readers take it."""

import configparser
import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.fernet import Fernet
from django.core.management import load_command_class

from runs.web.limits import MOST
from runs.worker.supervisor import DRAIN_SECONDS
from tests.servers import free_port
from tests.test_architecture import OURS
from tests.test_docs import COMMANDS, variables_documented

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
NOT_OURS = re.compile(r"PATH|PYTHON\w+|POSTGRES_\w+")
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
OF_STEPLINE = ("migrate", "web-1", "web-2", "worker")
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def unit(path: Path) -> dict[str, str]:
    """The [Service] part; of a name that stands there twice the last."""
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(path.read_text())
    return dict(parser["Service"])


def env_file(path: Path) -> dict[str, str]:
    lines = (line for line in path.read_text().splitlines() if line and not line.startswith("#"))
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


def settings_named() -> dict[str, set[str]]:
    """File -> the environment variables that it sets or names."""
    found = {"stepline.env.example": set(env_file(DEPLOY / "stepline.env.example"))}
    found["compose.yaml"] = {name for service in SERVICES.values() for name in service.get("environment", {})}
    (variables,) = re.findall(r"^ENV ((?:.*\\\n)*.*)$", DOCKERFILE, re.MULTILINE)
    found["Dockerfile"] = set(re.findall(r"(\w+)=", variables))
    for path in UNITS:
        found[path.name] = set(re.findall(r"(\w+)=", unit(path)["Environment"]))
    found["nginx.conf"] = set(re.findall(r"([A-Z]+(?:_[A-Z]+)*)=\d", (DEPLOY / "nginx.conf").read_text()))
    return found


@pytest.mark.parametrize(
    ("file", "names"), settings_named().items(), ids=lambda one: one if isinstance(one, str) else ""
)
def test_every_setting_that_is_named_exists(file: str, names: set[str]) -> None:
    ours = {name for name in names if not NOT_OURS.fullmatch(name)}
    assert ours, "none was found: is the file read right?"
    assert ours <= variables_documented()


def commands_run() -> list[tuple[str, list[str]]]:
    """Every call of manage.py: (where, its words)."""
    found = [(path.name, shlex.split(unit(path)["ExecStart"])) for path in UNITS]
    for line in (ROOT / "Procfile").read_text().splitlines():
        name, _, call = line.partition(": ")
        found += [(f"Procfile {name}", shlex.split(part)) for part in call.split(" && ")]
    for name in OF_STEPLINE:
        command = SERVICES[name]["command"]
        calls = command[2].split(" && ") if command[:2] == ["sh", "-c"] else [shlex.join(command)]
        found += [(f"compose.yaml {name}", shlex.split(call)) for call in calls]
    (command,) = re.findall(r"^CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)
    return [*found, ("Dockerfile", json.loads(command))]


@pytest.mark.parametrize(("where", "words"), commands_run(), ids=lambda one: one if isinstance(one, str) else "")
def test_every_command_that_is_run_takes_these_arguments(where: str, words: list[str]) -> None:
    place = words.index("manage.py")
    assert Path(words[place - 1]).name == "python"
    name, *options = words[place + 1 :]
    app = COMMANDS.get(name) or {"migrate": "django.core", "collectstatic": "django.contrib.staticfiles"}[name]
    values = [option.replace("%i", "8001").replace("$PORT", "8001") for option in options]
    load_command_class(app, name).create_parser("manage.py", name).parse_args(values)


# --- the environment ----------------------------------------------------------------------------------------------


def test_the_example_filled_in_is_a_deployment_without_a_warning(tmp_path: Path) -> None:
    example = env_file(DEPLOY / "stepline.env.example")
    filled = {
        "SECRET_KEY": "x1y2z3" * 12,
        "FERNET_KEYS": Fernet.generate_key().decode(),
        "DATABASE_URL": "postgres://stepline:secret@127.0.0.1:5432/stepline",
    }
    assert filled.keys() <= example.keys()
    environment = {"PATH": os.environ["PATH"], "DATA_DIR": str(tmp_path), **example, **filled}
    checked = subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr


def test_no_file_holds_a_secret_and_what_will_is_kept_out_of_git_and_of_the_image(tmp_path: Path) -> None:
    empty = env_file(DEPLOY / "stepline.env.example")
    assert not any(value for name, value in empty.items() if name.endswith(("KEY", "KEYS", "HEADERS", "DATABASE_URL")))
    for secret in ("deploy/stepline.env", "deploy/postgres.env", "deploy/tls/stepline.key", ".env"):
        ignored = subprocess.run(["git", "check-ignore", "-q", secret], cwd=ROOT, check=False)
        assert ignored.returncode == 0, f"git would take {secret}"
        assert not in_image(secret)


# --- the image ----------------------------------------------------------------------------------------------------


def in_image(path: str) -> bool:
    """Whether .dockerignore lets this file in: the last line that fits it, or a folder above it, decides."""
    kept = True
    above = [path, *(str(parent) for parent in Path(path).parents if str(parent) != ".")]
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if line and not line.startswith("#"):
            pattern = line.removeprefix("!")
            anywhere = pattern.removeprefix("**/")
            names = [Path(one).name for one in above] if anywhere != pattern else above
            if any(fnmatch.fnmatchcase(name, anywhere) for name in names):
                kept = line.startswith("!")
    return kept


def test_the_image_holds_what_the_site_needs_and_nothing_else(tmp_path: Path) -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    inside = [path for path in tracked.stdout.splitlines() if in_image(path)]
    assert {path.partition("/")[0] for path in inside} == {
        *OURS,
        "manage.py",
        "requirements.txt",
        "static",
        "templates",
    }
    for path in inside:
        (tmp_path / "site" / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, tmp_path / "site" / path)
    environment = {"PATH": os.environ["PATH"], "DATA_DIR": str(tmp_path / "data")}
    for command in (["check"], ["migrate", "--noinput"], ["collectstatic", "--noinput"]):
        ran = subprocess.run(
            [sys.executable, "manage.py", *command],
            cwd=tmp_path / "site",
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr[-3000:]
    assert (tmp_path / "data" / "static" / "staticfiles.json").exists()


def test_the_image_runs_as_nobody_in_particular() -> None:
    last = DOCKERFILE.split("\nFROM ")[-1]
    assert re.search(r"^USER 10001:10001$", last, re.MULTILINE)
    assert "HEALTHCHECK" in last
    wanted = (ROOT / ".python-version").read_text().strip()
    assert set(re.findall(r"python:([\d.]+)-slim", DOCKERFILE)) == {wanted}


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False), (None, False)])
def test_the_probe_of_the_image_tells_a_site_that_answers(status: int | None, healthy: bool) -> None:
    from http.server import BaseHTTPRequestHandler, HTTPServer
    from threading import Thread

    class Site(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status or 0 if self.path == "/healthz" else 404)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None: ...

    (probe,) = re.findall(r"^    CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)
    port = free_port()
    server = HTTPServer(("127.0.0.1", port), Site) if status else None
    if server:
        Thread(target=server.serve_forever, daemon=True).start()
    words = [sys.executable, *json.loads(probe)[1:]]
    probed = subprocess.run(words, env={"PORT": str(port)}, capture_output=True, check=False)
    assert (probed.returncode == 0) == healthy, probed.stderr
    if server:
        server.shutdown()
        server.server_close()


# --- compose ------------------------------------------------------------------------------------------------------


def test_the_services_are_wired_to_each_other() -> None:
    for name, service in SERVICES.items():
        assert set(service.get("depends_on", {})) <= SERVICES.keys()
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            if source.startswith("./deploy/nginx"):
                assert (ROOT / source).exists()
            elif not source.startswith("./"):
                assert source in COMPOSE["volumes"]
        assert {"healthcheck", "build"} & service.keys(), f"{name} has no probe: neither its own nor the image's"
    for name in ("web-1", "web-2", "worker"):
        assert SERVICES[name]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
    upstreams = (DEPLOY / "nginx-upstreams.compose.conf").read_text()
    assert re.findall(r"server (\S+?):8000 ", upstreams) == ["web-1", "web-2"]
    assert SERVICES["worker"]["deploy"]["replicas"] == 2
    assert int(SERVICES["worker"]["stop_grace_period"].removesuffix("s")) > DRAIN_SECONDS + 10


def test_compose_reads_the_file(tmp_path: Path) -> None:
    compose = next(
        (
            command
            for command in (["docker", "compose"], ["docker-compose"])
            if shutil.which(command[0])
            and subprocess.run([*command, "version"], capture_output=True, check=False).returncode == 0
        ),
        None,
    )
    if compose is None:
        pytest.skip("neither docker's compose plugin nor docker-compose is on this machine")
    (tmp_path / "deploy").mkdir()
    shutil.copy(ROOT / "compose.yaml", tmp_path)
    shutil.copy(DEPLOY / "stepline.env.example", tmp_path / "deploy" / "stepline.env")
    (tmp_path / "deploy" / "postgres.env").write_text("POSTGRES_PASSWORD=x\n")
    read = subprocess.run([*compose, "config"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert read.returncode == 0, read.stderr
    services = yaml.safe_load(read.stdout)["services"]
    assert services.keys() == SERVICES.keys()
    for name in OF_STEPLINE:
        assert services[name]["environment"]["ALLOWED_HOSTS"] == "runs.example.com,127.0.0.1"
        assert services[name]["read_only"] is True


# --- systemd ------------------------------------------------------------------------------------------------------


def test_a_unit_gives_a_worker_the_time_to_hand_over_and_starts_it_again() -> None:
    assert [path.name for path in UNITS] == ["stepline-web@.service", "stepline-worker@.service"]
    for path in UNITS:
        service = unit(path)
        assert (service["KillSignal"], service["KillMode"], service["Restart"]) == ("SIGTERM", "mixed", "always")
        assert int(service["TimeoutStopSec"]) > DRAIN_SECONDS + 10
        assert "[Service]\nType=exec\n" in path.read_text()


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_systemd_takes_the_unit(path: Path, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not on this machine")
    instance = tmp_path / path.name.replace("@", "@8001")
    here = path.read_text().replace("/opt/stepline/.venv/bin/python", sys.executable)
    instance.write_text(here.replace("/opt/stepline", str(ROOT)))
    verified = subprocess.run(["systemd-analyze", "verify", instance], capture_output=True, text=True, check=False)
    assert verified.returncode == 0, verified.stderr
    assert path.name.partition("@")[0] not in verified.stderr, (
        verified.stderr
    )  # it only warns of names it does not know


# --- nginx --------------------------------------------------------------------------------------------------------


def test_nginx_cuts_bodies_where_the_site_would() -> None:
    (most,) = re.findall(r"client_max_body_size (\d+)m;", (DEPLOY / "nginx.conf").read_text())
    assert int(most) * 1024**2 == MOST


def test_nginx_knows_the_ports_that_the_units_are_started_on() -> None:
    ports = re.findall(r"server 127\.0\.0\.1:(\d+) ", (DEPLOY / "nginx-upstreams.conf").read_text())
    page = (ROOT / "docs" / "deploy.md").read_text()
    assert ports == ["8001", "8002"]
    assert all(f"stepline-web@{port}" in page for port in ports)
    assert "StateDirectory=stepline\n" in UNITS[0].read_text()
    assert "alias /var/lib/stepline/static/;" in (DEPLOY / "nginx.conf").read_text()
