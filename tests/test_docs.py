"""The documentation names every setting and every command as they are, and its links lead somewhere."""

import ast
import re
from argparse import SUPPRESS, ArgumentParser
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.apps import apps
from django.core.management import find_commands, get_commands, load_command_class
from django.core.management.base import BaseCommand

from api.health import CHECKS
from api.metrics import METRICS

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
SETTINGS_PAGE = (ROOT / "docs" / "settings.md").read_text()
COMMANDS_PAGE = (ROOT / "docs" / "commands.md").read_text()
OPERATIONS_PAGE = (ROOT / "docs" / "operations.md").read_text()
INDEX = (ROOT / "docs" / "README.md").read_text()
NOT_SETTINGS = "## For make and the tests"  # the part of the page about variables that settings.py does not read


def variables_read() -> set[str]:
    """What dashboard/settings.py reads: the first argument of env.text("NAME") and its like."""
    tree = ast.parse((ROOT / "dashboard" / "settings.py").read_text())
    return {
        node.args[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "env"
        and node.args
        and isinstance(node.args[0], ast.Constant)
        and isinstance(node.args[0].value, str)
    }


def variables_documented() -> set[str]:
    return set(re.findall(r"^\| `([A-Z][A-Z0-9_]*)` \|", SETTINGS_PAGE.split(NOT_SETTINGS)[0], re.MULTILINE))


def defaults_read() -> dict[str, str]:
    """The defaults that dashboard/settings.py gives as constants, as the page writes them."""
    found = {}
    for node in ast.walk(ast.parse((ROOT / "dashboard" / "settings.py").read_text())):
        match node:
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id="env"), attr=reader),
                args=[ast.Constant(value=str(name)), ast.Constant(value=default), *_],
            ) if reader in ("text", "boolean", "integer", "number", "choice"):
                if isinstance(default, bool):
                    found[name] = "on" if default else "off"
                else:
                    found[name] = f"`{default:g}`" if isinstance(default, int | float) else f"`{default}`"
    return found


def our_commands() -> dict[str, str]:
    """Command name -> app, of the apps that stand in this folder."""
    return {
        name: config.name
        for config in apps.get_app_configs()
        if Path(config.path).is_relative_to(ROOT) and ".venv" not in Path(config.path).parts
        for name in find_commands(str(Path(config.path) / "management"))
    }


COMMANDS = our_commands()


def commands_documented() -> dict[str, str]:
    """Command name -> its section of the page: the headings of the third level."""
    parts = re.split(r"^### +(\S+) *$", COMMANDS_PAGE, flags=re.MULTILINE)
    return {name: text.split("\n## ")[0] for name, text in zip(parts[1::2], parts[2::2], strict=True)}


def parser_of(name: str) -> ArgumentParser:
    return load_command_class(COMMANDS[name], name).create_parser("manage.py", name)


def own_options(parser: ArgumentParser) -> Iterator[str]:
    """The long names of the options that the command adds to Django's own, and its required arguments."""
    django_own = {option for action in BaseCommand().create_parser("", "")._actions for option in action.option_strings}
    for action in parser._actions:
        if action.help == SUPPRESS or set(action.option_strings) & django_own:
            continue
        yield (max(action.option_strings, key=len) if action.option_strings else str(action.metavar or action.dest))


def links(page: Path) -> Iterator[str]:
    """Relative links and pictures of a page, without what stands in code."""
    text = re.sub(r"^(```.*?^```|    .*?$)", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"`[^`\n]*`", "code", text)
    for target in re.findall(r"!?\[[^\]]*\]\(([^)\s]+)\)", text):
        if not re.match(r"[a-z]+:", target):
            yield target


def anchors(page: Path) -> set[str]:
    """The anchors that the usual renderers make of a page's headings."""
    headings = re.findall(r"^#+ +(.+?) *$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_setting_is_documented() -> None:
    assert variables_read() - variables_documented() == set()


def test_no_setting_is_documented_that_is_not_read() -> None:
    assert variables_documented() - variables_read() == set()


def test_the_reader_of_settings_finds_those_that_are_known_to_be_there() -> None:
    assert {"DATA_DIR", "PORT", "SECRET_KEY", "DATABASE_URL"} <= variables_read()


def test_settings_are_read_in_one_place_by_their_names() -> None:
    """So that the tests above see all of them."""
    readers = {
        str(path.relative_to(ROOT))
        for folder in (
            *{app.split(".")[0] for app in COMMANDS.values()},
            "dashboard",
            "outgoing",
            "telemetry",
            "dropin",
        )
        for path in (ROOT / folder).rglob("*.py")
        if re.search(r"\benviron(\.get|\[)|\bgetenv\b|import env\b", path.read_text())
    }
    assert readers == {"dashboard/env.py", "dashboard/settings.py", "dashboard/checks.py"}
    settings = (ROOT / "dashboard" / "settings.py").read_text()
    assert re.findall(r"\benv\.[a-z]+\((?!\s*\"[A-Z_]+\")", settings) == []


def test_the_defaults_of_settings_are_documented_as_they_are() -> None:
    documented = dict(re.findall(r"^\| `([A-Z][A-Z0-9_]*)` \| ([^|]*) \|", SETTINGS_PAGE, re.MULTILINE))
    read = defaults_read()
    assert len(read) > 10
    assert {name: documented[name] for name in read} == read


def test_variables_named_anywhere_in_the_documentation_are_settings() -> None:
    others = {"HTTPS_PROXY", "SSL_CERT_FILE", "OTEL_RESOURCE_ATTRIBUTES"}  # what every program knows
    unknown = {
        f"{page.name}: {name}"
        for page in PAGES
        for code in re.findall(r"`[^`\n]+`", page.read_text())
        for name in re.findall(r"\b[A-Z][A-Z0-9]*_[A-Z0-9_]*[A-Z0-9]\b", code)
        if name not in variables_read() | others
    }
    assert unknown == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_and_make_targets_in_a_page_exist(page: Path) -> None:
    text, known = page.read_text(), get_commands().keys()
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for line in text.splitlines():
        for name, rest in re.findall(r"(?:manage\.py|^    run|`run) ([a-z_]+)([^`]*)", line):
            assert name in known, f"there is no command {name}"
            parser = load_command_class(get_commands()[name], name).create_parser("manage.py", name)
            options = {option for action in parser._actions for option in action.option_strings}
            assert set(re.findall(r"(?<![\w-])--[a-z-]+", rest.split("#")[0])) <= options, line
        for target in re.findall(r"(?:`|^    )make ([a-z-]+)", line):
            assert target in targets, f"there is no make {target}"


def test_every_make_target_is_documented() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)`", COMMANDS_PAGE)) == targets


def test_what_pages_call_parts_of_the_site_stands_there() -> None:
    """Names in *italics*, as in *Alerts › Channels*: each is a text of a template, a script or the code."""
    sources = [
        *ROOT.glob("templates/**/*.html"),
        *ROOT.glob("static/js/*.js"),
        *(
            path
            for app in {app.split(".")[0] for app in COMMANDS.values()} | {"alerts"}
            for path in ROOT.glob(f"{app}/**/*.py")
        ),
    ]
    there = re.sub(r"\s+", " ", " ".join(path.read_text() for path in sources)).lower()
    missing = set()
    for page in set(ROOT.glob("docs/*.md")) - {ROOT / "docs" / "comparison.md"} | {ROOT / "README.md"}:
        text = re.sub(r"^    .*$", "", page.read_text(), flags=re.MULTILINE)
        text = re.sub(r"`[^`\n]*\*[^`\n]*`", "", text)  # a star in code
        for names in re.findall(r"(?<![*\w])\*([^*\n]+(?:\n[^*\n]+)?)\*(?!\*)", text):
            for name in names.split(" › "):
                if " ".join(name.split()).strip("… ").lower() not in there:
                    missing.add(f"{page.name}: {name}")
    assert missing == set()


def test_every_page_is_in_the_index_once_with_a_line_of_its_own() -> None:
    rows = re.findall(r"^\| \[[^\]]+\]\(([^)]+)\) \| (\S.*\S) \|$", INDEX, re.MULTILINE)
    listed = [name for name, _ in rows]
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert sorted(listed) == sorted(pages | {"decisions/README.md"})


def test_every_decision_is_in_the_list_of_decisions() -> None:
    folder = ROOT / "docs" / "decisions"
    listed = re.findall(r"^\| \[\d{4}\]\((\d{4}[^)]+)\) \|", (folder / "README.md").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(path.name for path in folder.glob("[0-9]*.md"))


def test_the_index_has_the_four_kinds() -> None:
    kinds = re.findall(r"^## .*: (?:an? )?(\S+)$", INDEX, re.MULTILINE)
    assert kinds == ["tutorial", "how-to", "reference", "explanation"]


def test_every_metric_is_documented_with_its_labels_and_no_other_is() -> None:
    rows = re.findall(r"^\| `(stepline_\w+)` \|([^|]*)\|", OPERATIONS_PAGE, re.MULTILINE)
    documented = {name: tuple(re.findall(r"`(\w+)`", labels)) for name, labels in rows}
    assert documented == {name: labels for name, (_, _, labels) in METRICS.items()}
    assert set(re.findall(r"stepline_\w+", OPERATIONS_PAGE)) == METRICS.keys()


def test_every_check_of_readiness_is_documented() -> None:
    table = OPERATIONS_PAGE.split("| check |")[1].split("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == CHECKS.keys()


def test_every_step_of_an_upgrade_is_documented() -> None:
    table = OPERATIONS_PAGE.split("| step | does | waits |")[1].split("\n\n")[0]
    steps = {
        f"{path.parents[1].name}.{path.name[:4]}"
        for path in ROOT.glob("*/migrations/0*.py")
        if not path.name.startswith("0001")
    }
    assert set(re.findall(r"`(\w+\.\d{4})`", "".join(re.findall(r"^\|([^|]*)\|", table, re.MULTILINE)))) == steps


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_a_command_is_documented_with_its_options(name: str) -> None:
    section = commands_documented().get(name)
    assert section is not None, f"docs/commands.md has no heading '### {name}'"
    missing = [option for option in own_options(parser_of(name)) if option.lower() not in section.lower()]
    assert not missing, f"docs/commands.md does not say what these of {name} are: {', '.join(missing)}"


def test_no_command_or_option_is_documented_that_does_not_exist() -> None:
    for name, section in commands_documented().items():
        assert name in COMMANDS, f"docs/commands.md describes {name}, which does not exist"
        known = {option for action in parser_of(name)._actions for option in action.option_strings}
        unknown = set(re.findall(r"(?<![\w-])--[a-z-]+", section)) - known
        assert not unknown, f"docs/commands.md gives {name} options that it does not have: {', '.join(unknown)}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    broken = []
    for target in links(page):
        path, _, anchor = target.partition("#")
        goal = (page.parent / path).resolve() if path else page
        if not goal.exists() or (anchor and goal.suffix == ".md" and anchor not in anchors(goal)):
            broken.append(target)
    assert not broken, f"{page.name} has links that lead nowhere: {', '.join(broken)}"


@pytest.mark.parametrize("target", re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
def test_a_make_target_says_what_it_does(target: str) -> None:
    assert re.search(rf"^{target}:.*## \S", (ROOT / "Makefile").read_text(), re.MULTILINE)
