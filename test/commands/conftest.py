"""Runs commands as a shell does: arguments in, exit code and output out."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from gaussian_yolo_node.commands.gaussian_yolo import main

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Exit code, output and errors of a command."""

    def run_command(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["gaussian-yolo", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        captured = capsys.readouterr()
        code = end.value.code
        assert code is None or isinstance(code, int)
        return code or 0, captured.out, captured.err

    return run_command
