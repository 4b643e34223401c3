"""The API against its own description: every call, with all that the description allows and all that it forbids."""

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.process.fixtures import MakeHome

CONFIGURATION = Path(__file__).with_name("schemathesis.toml")
CASES = 6  # invented for each call, besides those at the edges of its schema
SECONDS = 280


@pytest.mark.timeout(320)
async def test_the_api_does_what_its_description_says(home: MakeHome) -> None:
    here = home(SANDBOX_SPEED=50)
    _, api = await here.serve()
    token = here.manage("create_token", "root", "--role", "admin").stdout.strip()
    address = f"http://127.0.0.1:{api.port}/api/v1/openapi.json"
    calls = [
        f"{method.upper()} {path}"
        for path, methods in httpx.get(address, trust_env=False).json()["paths"].items()
        for method in methods
    ]
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIGURATION), "run", address),
        *("-H", f"Authorization: Bearer {token}", "--seed", "1", "-n", str(CASES), "--no-color"),
    ]
    done = await asyncio.to_thread(
        subprocess.run,
        command,
        cwd=here.folder,
        env=here.environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-1000:]
    assert re.search(rf"Tested:\s+{len(calls)}\b", done.stdout), done.stdout[-2000:]
    assert "Traceback" not in (here.folder / "serve.log").read_text()
