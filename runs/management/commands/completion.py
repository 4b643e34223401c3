"""`completion SHELL`: a script that makes `stepline` a command of the shell and completes its commands and options."""

import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.management import find_commands, load_command_class
from django.core.management.base import BaseCommand, CommandParser

BASH = """\
stepline() {{ {program} "$@"; }}
_stepline() {{
  local words
  if [ "$COMP_CWORD" -eq 1 ]; then
    words={commands}
  else
    case "${{COMP_WORDS[1]}}" in
{cases}
    esac
  fi
  COMPREPLY=($(compgen -W "$words" -- "${{COMP_WORDS[COMP_CWORD]}}"))
}}
complete -o default -F _stepline stepline
"""


class Command(BaseCommand):
    help = (
        "Print a script for bash, zsh or fish that makes `stepline COMMAND` short for `manage.py COMMAND`, and "
        'completes commands and options. In bash: eval "$(python manage.py completion bash)"'
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("shell", choices=["bash", "zsh", "fish"], metavar="SHELL", help="bash, zsh or fish")

    def handle(self, *args: Any, **options: Any) -> None:
        program = shlex.join([sys.executable, str(Path(settings.BASE_DIR) / "manage.py")])
        if options["shell"] == "fish":
            self.stdout.write("\n".join(fish(program)))
            return
        if options["shell"] == "zsh":  # which knows bash's way, once asked to
            self.stdout.write("autoload -U +X compinit bashcompinit && compinit && bashcompinit")
        known = commands()
        cases = "\n".join(
            f"      {name}) words={shlex.quote(' '.join(switches))} ;;" for name, (_, switches) in known.items()
        )
        self.stdout.write(BASH.format(program=program, commands=shlex.quote(" ".join(known)), cases=cases))


def commands() -> dict[str, tuple[str, list[str]]]:
    """Our commands by name, each with what it is for and its long options."""
    found = {}
    for config in apps.get_app_configs():
        if Path(config.path).parent != Path(settings.BASE_DIR):
            continue  # another's
        for name in find_commands(str(Path(config.path) / "management")):
            command = load_command_class(config.name, name)
            parser = command.create_parser("manage.py", name)
            switches = [switch for action in parser._actions for switch in action.option_strings if switch[:2] == "--"]
            found[name] = (str(command.help).split(". ")[0].rstrip("."), switches)
    return dict(sorted(found.items()))


def fish(program: str) -> Iterator[str]:
    yield f"function stepline; {program} $argv; end"
    for name, (purpose, switches) in commands().items():
        yield f"complete -c stepline -n __fish_use_subcommand -f -a {name} -d {shlex.quote(purpose)}"
        for switch in switches:
            yield f"complete -c stepline -n '__fish_seen_subcommand_from {name}' -l {switch[2:]}"
