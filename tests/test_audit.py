"""What `make lint` makes of the advisory service's answers: a hole fails, silence is told and does not."""

import importlib.machinery
import importlib.util
from pathlib import Path
from typing import Any

import pytest

PATH = Path(__file__).resolve().parent.parent / "bin" / "audit"
_loader = importlib.machinery.SourceFileLoader("audit", str(PATH))
_spec = importlib.util.spec_from_loader("audit", _loader)
assert _spec is not None
audit: Any = importlib.util.module_from_spec(_spec)
_loader.exec_module(audit)

FINE = {"name": "a", "version": "1", "vulns": []}
UNKNOWN = {"name": "b", "skip_reason": "not found"}
HOLE = {"name": "c", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2.1"]}]}


@pytest.mark.parametrize(
    ("answer", "status", "words"),
    [
        ({"dependencies": [FINE, FINE]}, 0, "2 dependencies have no known hole"),
        ({"dependencies": [FINE, UNKNOWN]}, 0, "does not know b"),
        ({"dependencies": [UNKNOWN, UNKNOWN]}, 0, "could not ask"),
        ({"dependencies": [FINE, UNKNOWN, HOLE]}, 1, "c 2: PYSEC-1, mended in 2.1"),
        ("no network", 0, "could not ask the advisory service, so nothing is known of the dependencies: no network"),
    ],
)
def test_only_a_known_hole_fails(answer: Any, status: int, words: str) -> None:
    found, said = audit.judge(answer)
    assert found == status
    assert words in said


def test_without_a_network_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    status, said = audit.judge(audit.ask("requirements.txt"))
    assert status == 0
    assert "could not ask" in said
