"""Who may import whom, who may ring and who may write: read from the source, so that a slip fails here."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
OURS = ("accounts", "alerts", "api", "dashboard", "dropin", "outgoing", "runs", "sandbox", "telemetry")

WATCHED = ("runs", "api", "dropin", "dashboard", "alerts", "telemetry")  # where nobody rings or writes by the way

# Layer -> the layers that it may import besides itself. A module belongs to the longest name here that it
# starts with. A module that fits no row fails: give it a row, and think twice about what stands in it.
MAY_IMPORT: dict[str, set[str]] = {
    "runs.core": set(),  # pure: see CORE_LIBRARIES
    "runs.fields": set(),
    "runs.models": {"runs.core", "runs.fields"},
    "runs.vault": {"runs.core", "runs.models"},
    "runs.store": {"runs.core", "runs.fields", "runs.models", "runs.updating", "runs.vault"},
    "runs.facts": {"runs.core", "runs.fields", "runs.models"},
    "runs.listing": {"runs.core", "runs.models"},
    "runs.comparing": {"runs.core", "runs.fields", "runs.models"},
    "runs.sharing": {"accounts", "runs.models"},
    "runs.archive": {"runs.core", "runs.models"},
    "runs.keeping": {"accounts", "runs.core", "runs.fields", "runs.models", "runs.store"},
    "runs.history": {"runs.core", "runs.models", "runs.store"},
    "runs.replay": {"runs.core", "runs.history", "runs.models", "runs.store"},
    "runs.publish": set(),
    "runs.prepared": set(),
    "runs.updating": set(),  # for the store alone
    "runs.threads": set(),
    "runs.about": set(),
    "runs.upstream": {"outgoing", "runs.core"},
    "runs.input_schema": {"runs.core"},
    "runs.catalogue": {
        "accounts", "outgoing", "runs.core", "runs.fields", "runs.input_schema", "runs.models", "runs.vault",
    },
    "runs.actions": {
        "accounts", "runs.archive", "runs.catalogue", "runs.core", "runs.fields", "runs.input_schema", "runs.keeping",
        "runs.models", "runs.publish", "runs.store", "runs.vault",
    },
    "runs.importing": {
        "accounts", "runs.actions", "runs.catalogue", "runs.core", "runs.fields", "runs.models", "runs.upstream",
        "runs.vault",
    },
    "runs.worker": {
        "runs.about", "runs.core", "runs.fields", "runs.models", "runs.publish", "runs.store", "runs.threads",
        "runs.upstream", "runs.vault",
    },
    "runs.web": {
        "accounts", "runs.actions", "runs.archive", "runs.comparing", "runs.core", "runs.facts", "runs.fields",
        "runs.history", "runs.importing", "runs.listing", "runs.models", "runs.prepared", "runs.publish", "runs.replay",
        "runs.sharing", "runs.templatetags",
    },
    "runs.templatetags": {"runs.core", "runs.facts", "runs.models"},
    "runs.management": {
        "accounts", "alerts", "runs.actions", "runs.archive", "runs.catalogue", "runs.core", "runs.facts",
        "runs.fields", "runs.keeping", "runs.models", "runs.publish", "runs.store", "runs.threads", "runs.upstream",
        "runs.vault", "runs.web", "runs.worker", "telemetry",
    },
    "runs.migrations": {"runs.core", "runs.fields", "runs.models"},
    "runs.apps": set(),
    "api": {
        "accounts", "runs.actions", "runs.comparing", "runs.core", "runs.facts", "runs.fields", "runs.listing",
        "runs.models", "runs.publish", "runs.sharing",
    },
    # Looks at everything that is to be watched, and is looked at by Prometheus alone.
    "api.metrics": {"alerts", "api", "runs.core", "runs.facts", "runs.models", "runs.web"},
    "dropin": {
        "accounts", "runs.actions", "runs.catalogue", "runs.core", "runs.models", "runs.publish", "runs.web",
    },
    # What happened it reads, and has the store remove; nothing in runs knows of it but the commands that start workers.
    "alerts": {
        "accounts", "outgoing", "runs.about", "runs.core", "runs.fields", "runs.models", "runs.store", "runs.threads",
        "runs.vault",
    },
    # As alerts: it takes up what the store has noted. The row of an unsent trace is its own from then on.
    "telemetry": {"runs.about", "runs.core", "runs.models", "runs.threads"},
    "accounts": set(),
    "sandbox": {"outgoing"},  # it meets the rest over sockets only
    "outgoing": set(),  # the one way out, for whoever calls an address that somebody entered
    "dashboard": {"accounts", "alerts", "api", "api.metrics", "dropin", "runs.about", "runs.actions", "runs.core",
                  "runs.models", "runs.publish", "runs.web", "runs.worker", "sandbox"},
}  # fmt: skip

CORE_LIBRARIES = {*sys.stdlib_module_names, "msgspec"}
# A core that reads a clock, draws a number or waits is no longer a function of what it is given.
NOT_IN_CORE = set("asyncio random secrets socket ssl subprocess threading time urllib.request".split())

# Calls that open a connection without asking where to, and who may make them: a command goes where its user says,
# traces go where the environment says.
UNGUARDED = set(
    """httpx.AsyncClient httpx.Client httpx.AsyncHTTPTransport httpx.HTTPTransport httpx.get httpx.post httpx.put
    httpx.request httpx.stream connect websockets.connect urlopen request.urlopen urllib.request.urlopen
    open_connection asyncio.open_connection create_connection socket.create_connection loop.create_connection""".split()
)
MAY_CALL_UNGUARDED = {"sandbox.management.commands.play_recording", "telemetry.sending"}

RUN_MODELS = {
    "Run", "Launch", "Task", "Event", "Gap", "Rejected", "Stream", "Worker", "Happening", "Failure", "SearchText",
    "UsualTimes",
}  # fmt: skip
CONFIGURATION_MODELS = {"Upstream", "Workflow", "WorkflowVersion"}
STORES = {"runs.store", "runs.keeping", "runs.updating"}
CONFIGURATION_WRITER = "runs.catalogue"
RELATED = {"events", "tasks", "gaps", "rejected", "runs", "retries", "stream", "launch", "happenings", "versions"}
WRITES = {
    "create", "bulk_create", "get_or_create", "update", "bulk_update", "update_or_create", "delete",
    "acreate", "abulk_create", "aget_or_create", "aupdate", "abulk_update", "aupdate_or_create", "adelete",
}  # fmt: skip
SAVES = {"save", "asave", "delete", "adelete"}
OWN_MODELS = {"SavedView"}  # what a person keeps for themselves, and a page may write
# What has a save() or a delete() and is no row of ours.
NO_ROWS = {"session", "cache", "file", "storage", "path", "router", "client"}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def sources() -> dict[str, Path]:
    """Every module of ours by its dotted name."""
    return {module_name(path): path for top in OURS for path in sorted((ROOT / top).rglob("*.py"))}


SOURCES = sources()


def imports(tree: ast.AST, module: str, is_package: bool = False) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of everything imported, wherever it stands.

    `from a import b` gives a.b where that is one of our modules, else a.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = module.split(".")[: None if is_package and node.level == 1 else -(node.level - is_package)]
                base = ".".join([*above, *([base] if base else [])])
            for alias in node.names:
                full = f"{base}.{alias.name}"
                yield node.lineno, full if full in SOURCES else base


def layer(module: str) -> str | None:
    """The row of MAY_IMPORT that a module belongs to; None where there is none."""
    fitting = [row for row in MAY_IMPORT if module == row or module.startswith(row + ".")]
    return max(fitting, key=len, default=None)


def forbidden_imports(source: str, module: str, is_package: bool = False) -> list[str]:
    mine = layer(module)
    if mine is None:
        return [f"{module} stands in no row of MAY_IMPORT"] if source.strip() and module != "runs" else []
    wrong = []
    for line, target in imports(ast.parse(source), module, is_package):
        top = target.split(".")[0]
        if top not in OURS:
            if mine == "runs.core" and (top not in CORE_LIBRARIES or top in NOT_IN_CORE or target in NOT_IN_CORE):
                wrong.append(f"{module}:{line} the core imports {target}")
            continue
        theirs = layer(target)
        if theirs != mine and (theirs is None or theirs not in MAY_IMPORT[mine]):
            wrong.append(f"{module}:{line} {mine} imports {target}")
    return wrong


def rings(source: str, module: str) -> list[str]:
    return [
        f"{module}:{node.lineno} calls group_send"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute) and node.attr == "group_send"
    ]


def chain(node: ast.expr) -> list[str]:
    """The names of `a.b.c(…).d` in order: a, b, c, d."""
    names: list[str] = []
    while True:
        match node:
            case ast.Attribute(value=value, attr=attr):
                names.append(attr)
                node = value
            case ast.Call(func=func):
                node = func
            case ast.Subscript(value=value):
                node = value
            case ast.Await(value=value):
                node = value
            case ast.Name(id=name):
                return [*names, name][::-1]
            case _:
                return names[::-1]


def writes(source: str, module: str) -> list[str]:
    """Calls that look as if they wrote a row that this module may not write.

    A queryset kept in a variable escapes; what is written in one expression does not.
    """
    configures = module == CONFIGURATION_WRITER
    models = RUN_MODELS if configures else RUN_MODELS | CONFIGURATION_MODELS
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if node.value.lstrip().startswith(("INSERT ", "UPDATE ", "DELETE FROM ")):
                found.append(f"{module}:{node.lineno} writes by SQL")
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            method, before = node.func.attr, chain(node.func.value)
            if not before or before[0] in OWN_MODELS:
                continue
            owner = before[-1].lower()
            own_rows = configures or module.startswith(
                ("alerts.", "api.idempotency", "telemetry.")
            )  # what it may delete is told by its name
            on_row = any(model.lower() == owner for model in models) if own_rows else not NO_ROWS & {owner}
            on_queryset = ("objects" in before and before[0] in models) or bool(RELATED & set(before[1:]))
            if (method in WRITES and on_queryset) or (method in SAVES and on_row):
                found.append(f"{module}:{node.lineno} {'.'.join(before)}.{method}()")
    return found


def test_nobody_imports_what_their_layer_may_not() -> None:
    wrong = [
        line
        for module, path in SOURCES.items()
        for line in forbidden_imports(path.read_text(), module, path.name == "__init__.py")
    ]
    assert not wrong, "\n".join(["", *wrong])


def test_the_core_reads_no_clock() -> None:
    clocks = {"now", "utcnow", "today", "localtime", "perf_counter", "monotonic"}
    wrong = [
        f"{module}:{node.lineno} calls {node.func.attr}()"
        for module, path in SOURCES.items()
        if layer(module) == "runs.core"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in clocks
    ]
    assert not wrong, "\n".join(["", *wrong])


def test_only_the_guard_opens_connections() -> None:
    """An address that somebody entered is called through outgoing/, never by a client that asks no questions."""
    wrong = [
        f"{module}:{node.lineno} uses {name}"
        for module, path in SOURCES.items()
        if layer(module) != "outgoing" and module not in MAY_CALL_UNGUARDED
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and (name := ".".join(chain(node.func))) in UNGUARDED
    ]
    assert not wrong, "\n".join(["", *wrong])


def test_only_publish_rings() -> None:
    wrong = [
        line
        for module, path in SOURCES.items()
        if module.split(".")[0] in WATCHED and module != "runs.publish"
        for line in rings(path.read_text(), module)
    ]
    assert not wrong, "\n".join(["", *wrong])


def test_only_the_store_writes_run_state() -> None:
    wrong = [
        line
        for module, path in SOURCES.items()
        if module.split(".")[0] in WATCHED and module not in STORES and ".migrations" not in module
        for line in writes(path.read_text(), module)
    ]
    assert not wrong, "\n".join(["", *wrong])


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("runs.core.state", "import django"),
        ("runs.core.state", "from time import time"),
        ("runs.core.state", "from runs import models"),
        ("runs.store", "from runs import publish"),
        ("runs.web.views", "def view():\n    from runs.store import append"),
        ("runs.upstream.api", "from ..models import Run"),
        ("api.runs", "import runs.worker.follow"),
        ("sandbox.engine", "from runs.core import decode"),
        ("runs.worker.follow", "from sandbox import engine"),
        ("accounts.views", "from runs.models import Run"),
        ("runs.worker.supervisor", "from alerts import delivering"),
        ("runs.worker.follow", "from telemetry import sending"),
        ("runs.brand_new", "import os"),
    ],
)
def test_a_forbidden_import_is_noticed(module: str, source: str) -> None:
    assert forbidden_imports(source, module)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("runs.core.state", "import msgspec\nfrom collections import Counter\nfrom runs.core import events"),
        ("runs.worker.writer", "from runs import publish, store\nfrom .db import on_thread"),
        ("dashboard.asgi", "from runs.web import routing\nimport sandbox.routing"),
    ],
)
def test_an_allowed_import_passes(module: str, source: str) -> None:
    assert forbidden_imports(source, module) == []


@pytest.mark.parametrize(
    "source",
    [
        "Run.objects.create(flow_name='x')",
        "Event.objects.filter(run_id=1).delete()",
        "Task.objects.filter(a=1).exclude(b=2).update(status='failed')",
        "await Stream.objects.filter(pk=1).aupdate(owner='')",
        "run.events.all().delete()",
        "run.save(update_fields=['status'])",
        "cursor.execute('UPDATE runs_run SET status = 1')",
    ],
)
def test_a_write_outside_the_store_is_noticed(source: str) -> None:
    assert writes(source, "runs.web.views")


def test_the_catalogue_writes_configuration_and_no_run() -> None:
    configuration = "Workflow.objects.create()\nupstream.save()\nrow.delete()"
    assert not writes(configuration, CONFIGURATION_WRITER)
    assert len(writes(configuration, "runs.actions")) == 3
    assert writes("Run.objects.create()", CONFIGURATION_WRITER)
    assert writes("run.save()", CONFIGURATION_WRITER)


def test_alerts_write_their_own_rows_and_no_others() -> None:
    assert not writes("Rule.objects.filter(pk=1).delete()\nDelivery.objects.update(state='x')", "alerts.outbox")
    for source in (
        "run.save()",
        "workflow.delete()",
        "Happening.objects.filter(pk=1).delete()",
        "run.happenings.all().delete()",
    ):
        assert writes(source, "alerts.outbox"), source


def test_reading_is_no_writing() -> None:
    source = "Run.objects.filter(pk=1).first()\nseen.update(a=1)\nrequest.session.save()\nrun.events.count()"
    assert writes(source, "runs.web.views") == []
