"""`completion`: what it prints is a script of that shell, and completes commands and their options."""

import io
import shutil
import subprocess

import pytest
from django.core.management import call_command


def script(shell: str) -> str:
    out = io.StringIO()
    call_command("completion", shell, stdout=out)
    return out.getvalue()


def completed(*words: str) -> set[str]:
    """What bash offers for the last of these words."""
    line = " ".join(f"'{word}'" for word in ("stepline", *words))
    asking = f"COMP_WORDS=({line}); COMP_CWORD={len(words)}; _stepline; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("bash is not installed")
    done = subprocess.run([bash, "--norc", "-c", script("bash") + asking], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return set(done.stdout.split())


def test_bash_completes_commands() -> None:
    assert completed("la") == {"launch"}
    assert completed("") >= {
        "attach",
        "create_token",
        "export_run",
        "import_run",
        "prune_runs",
        "serve",
        "play_recording",
    }
    assert "migrate" not in completed(""), "that is Django's"


def test_bash_completes_the_options_of_a_command() -> None:
    assert completed("launch", "--inp") == {"--input", "--inputs"}
    assert completed("launch", "Nightly", "--f") == {"--follow", "--force-color"}
    assert completed("nothing", "--") == set()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_is_one_that_its_shell_can_read(shell: str) -> None:
    text = script(shell)
    assert "launch" in text
    assert "run-name" in text
    if program := shutil.which(shell):
        done = subprocess.run([program, "-n"], input=text, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
