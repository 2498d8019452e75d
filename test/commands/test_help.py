"""Every command has a help text with an example, and its own options accept the example."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, Optional

import pytest
import typer
from commands.conftest import Run
from typer.testing import CliRunner

from gaussian_yolo_node.commands import gaussian_yolo
from gaussian_yolo_node.commands.gaussian_yolo import app


def _commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if hasattr(command, "commands"):  # not isinstance: the click package of a group depends on typer's version
        for name, inner in command.commands.items():
            yield from _commands(inner, (*path, name))
    else:
        yield path, command


COMMANDS = [pytest.param(*found, id=" ".join(found[0])) for found in _commands(typer.main.get_command(app))]


@pytest.mark.parametrize(("path", "command"), COMMANDS)
def test_the_example_is_a_call_of_the_command(path: tuple[str, ...], command: Any) -> None:
    lines = [line.strip() for line in command.help.splitlines() if line.strip().startswith("Example: ")]
    assert len(lines) == 1
    words = shlex.split(lines[0].removeprefix("Example: "))
    assert words[: len(path) + 1] == ["gaussian-yolo", *path]
    command.make_context(" ".join(path), words[len(path) + 1 :])  # a usage error names the problem


@pytest.mark.parametrize(("path", "command"), COMMANDS)
def test_every_option_is_explained(path: tuple[str, ...], command: Any) -> None:
    assert [option.name for option in command.params if option.param_type_name == "option" and not option.help] == []


@pytest.mark.parametrize(("path", "command"), COMMANDS)
def test_no_option_is_cut_at_80_columns(path: tuple[str, ...], command: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = CliRunner().invoke(app, [*path, "--help"], prog_name="gaussian-yolo").output

    names = [name for option in command.params for name in (*option.opts, *option.secondary_opts) if "-" in name]
    assert [name for name in names if not re.search(rf"{name}(?![\w-])", shown)] == []
    assert "…" not in shown
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.parametrize("name", ["bag make", "operating-points", "noisy-student iterate"])
def test_every_command_is_listed(name: str) -> None:
    *group, last = name.split()
    assert f"  {last} " in CliRunner().invoke(app, [*group, "--help"]).output


def test_an_old_typer_gets_hints_that_it_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ubuntu 24.04's typer 0.9 has no unions written with |."""
    monkeypatch.setattr(gaussian_yolo, "_OLD_TYPER", True)

    def command(
        size: Annotated[int | None, typer.Option(help="Px.")] = None,
        names: Annotated[list[str], typer.Option(help="Some.")] = [],  # noqa: B006
    ) -> None:
        pass

    hints = gaussian_yolo._with_hints(command).__annotations__
    assert hints["size"].__origin__ == Optional[int]  # noqa: UP045
    assert not isinstance(hints["size"].__origin__, UnionType)
    assert hints["size"].__metadata__[0].help == "Px."
    assert hints["names"].__origin__ == list[str]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("gaussian-yolo ev", "evaluate"),
        ("gaussian-yolo bag in", "info"),
        ("gaussian-yolo detect --sc", "--score-threshold"),
    ],
)
def test_the_shell_completes(run: Run, monkeypatch: pytest.MonkeyPatch, words: str, expected: str) -> None:
    for name, value in (("_GAUSSIAN_YOLO_COMPLETE", "complete_bash"), ("COMP_WORDS", words)):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("COMP_CWORD", str(words.count(" ")))
    done = run()
    assert done.code == 0 and done.out.split() == [expected]
