"""The documentation names every setting and every command as they are, and its links lead somewhere."""

import ast
import re
from argparse import SUPPRESS, ArgumentParser
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.apps import apps
from django.core.management import find_commands, load_command_class
from django.core.management.base import BaseCommand

from api.health import CHECKS
from api.metrics import METRICS

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
SETTINGS_PAGE = (ROOT / "docs" / "settings.md").read_text()
COMMANDS_PAGE = (ROOT / "docs" / "commands.md").read_text()
OPERATIONS_PAGE = (ROOT / "docs" / "operations.md").read_text()
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


def test_every_metric_is_documented_with_its_labels_and_no_other_is() -> None:
    rows = re.findall(r"^\| `(stepline_\w+)` \|([^|]*)\|", OPERATIONS_PAGE, re.MULTILINE)
    documented = {name: tuple(re.findall(r"`(\w+)`", labels)) for name, labels in rows}
    assert documented == {name: labels for name, (_, _, labels) in METRICS.items()}
    assert set(re.findall(r"stepline_\w+", OPERATIONS_PAGE)) == METRICS.keys()


def test_every_check_of_readiness_is_documented() -> None:
    table = OPERATIONS_PAGE.split("| check |")[1].split("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == CHECKS.keys()


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
        usage = next(line for line in section.splitlines() if f"manage.py {name}" in line)
        unknown = set(re.findall(r"--[a-z-]+", usage)) - known
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
