"""The help texts: every command and option has one, in plain English, and they fit into 80 columns."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from trm_deploy import signature
from trm_deploy.cli.app import app

ROOT = Path(__file__).parents[2]
# What a stranger stumbles over, or what typer writes of its own accord.
IDIOMS = (
    r"\bso many\b", r"\bat the (most|least)\b", r"\bis no\b", r"\bstands\b", r"\blies\b", r"\bgoes with\b",
    r"\basked\b", r"^(Of|The same) ", r"<(bool|int|str|path|float)", r"\brange\b",
    r"\[[^\]]*<=", r"\bNone\b",
)  # fmt: skip


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The command and all below it, each with the words that call it."""
    yield path, command
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, (*path, name))


COMMANDS = dict(commands(typer.main.get_command(app)))
NAMES = [" ".join(path) or "trm-deploy" for path in COMMANDS]


def help_of(path: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERMINAL_WIDTH", "80")
    with pytest.raises(SystemExit, match="0"):
        app([*path, "--help"], prog_name="trm-deploy")
    return capsys.readouterr().out


@pytest.mark.parametrize("path", COMMANDS, ids=NAMES)
def test_every_option_has_a_plain_help_text(path: tuple[str, ...]) -> None:
    command = COMMANDS[path]
    texts = {"": command.help} | {"/".join(parameter.opts): parameter.help for parameter in command.params}
    for name, text in texts.items():
        assert text, name
        assert re.fullmatch(r"[A-Z].*\.", text, re.DOTALL), f"{name}: {text}"
        assert not [idiom for idiom in IDIOMS if re.search(idiom, text)], f"{name}: {text}"
    for parameter in command.params:
        if not getattr(parameter, "is_flag", False):
            assert parameter.metavar, f"{parameter.opts} shows typer's word for its type"


@pytest.mark.parametrize("path", COMMANDS, ids=NAMES)
def test_help_fits_into_80_columns(
    path: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = help_of(path, monkeypatch, capsys)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    assert not [idiom for idiom in IDIOMS if re.search(idiom, text, re.MULTILINE)]
    # Descriptions get half of the width or more.
    starts = [match.end() for line in lines if (match := re.match(r"  +-\S.*?  +(?=[A-Z])", line))]
    assert starts
    assert max(starts) <= 34


def test_defaults_and_choices_are_shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    export = " ".join(help_of(("export",), monkeypatch, capsys).split())
    run = " ".join(help_of(("run",), monkeypatch, capsys).split())
    assert f"--graph {'|'.join(signature.GRAPHS)} " in export
    assert f"--precision {'|'.join(signature.PRECISIONS)} " in export
    assert f"--precision {'|'.join(signature.MODEL_PRECISIONS)} " in run
    assert "int8" not in run
    assert "Random seed for the symmetry transforms. [default: 0]" in run
    assert "TensorRT builder optimization level, 0 to 5." in export
    assert "Output format. [default: onnx]" in export
    assert "Use only the first N puzzles." in help_of(("parity",), monkeypatch, capsys)


def test_what_help_says_of_a_default_is_the_default() -> None:
    """Modules that are too heavy to import for a help text have these; the text is held to them here."""
    from trm_deploy.runtimes.solving import scheduling
    from trm_deploy.train.data.generators import maze

    def shown(path: tuple[str, ...], name: str) -> str:
        (found,) = [parameter.show_default for parameter in COMMANDS[path].params if parameter.name == name]
        return str(found)

    assert shown(("run",), "batch").startswith(f"{scheduling.DEFAULT_SLOTS} ")
    assert shown(("data", "build", "maze"), "min_path").startswith(f"{maze.HARD} ")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_names_the_commands_and_choices(shell: str, tmp_path: Path) -> None:
    """The script that --show-completion prints calls the program back; so does this test."""
    environment = {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(ROOT),
        "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1",
    }

    def call(*arguments: str, **extra: str) -> str:
        code = "import sys; sys.argv[0] = 'trm-deploy'; from trm_deploy.cli import main; main()"
        return subprocess.run(
            [sys.executable, "-c", code, *arguments],
            capture_output=True,
            text=True,
            env={**environment, **extra},
            timeout=120,
        ).stdout

    script = call("--show-completion", shell)
    assert "_TRM_DEPLOY_COMPLETE" in script
    assert "trm-deploy" in script

    def completed(words: str) -> str:
        instruction = {"_TRM_DEPLOY_COMPLETE": f"complete_{shell}"}
        if shell == "bash":
            return call(**instruction, COMP_WORDS=words, COMP_CWORD=str(len(words.split(" ")) - 1))
        return call(**instruction, _TYPER_COMPLETE_ARGS=words, _TYPER_COMPLETE_FISH_ACTION="get-args")

    offered = completed("trm-deploy ")
    for *above, name in filter(None, COMMANDS):
        if not above:
            assert name in offered
    assert "unrolled" in completed("trm-deploy export --graph ")
    assert "--halt-threshold" in completed("trm-deploy run --halt")
