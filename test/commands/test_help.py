"""Every command has a help text with an example, and its own options accept the example."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import typer

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
