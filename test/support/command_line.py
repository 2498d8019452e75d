"""Runs commands as a shell does: arguments in, exit code and output out."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NamedTuple

import pytest

from gaussian_yolo_node.commands.gaussian_yolo import main


class Result(NamedTuple):
    """Exit code, output and errors of a command."""

    code: int
    out: str
    err: str


Run = Callable[..., Result]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in this process; what C code prints is captured, too."""

    def run_command(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["gaussian-yolo", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        captured = capfd.readouterr()
        code = end.value.code
        assert code is None or isinstance(code, int)
        return Result(code or 0, captured.out, captured.err)

    return run_command
