"""The sandbox plays a foreign machine: it knows nothing of the product."""

import ast
from pathlib import Path

import sandbox

PRODUCT = {"runs", "accounts", "api", "alerts", "dashboard"}


def test_the_sandbox_imports_nothing_of_the_product() -> None:
    files = sorted(Path(sandbox.__file__).parent.rglob("*.py"))
    assert len(files) > 10
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                continue
            assert not PRODUCT & {name.split(".")[0] for name in names}, file
