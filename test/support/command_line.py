"""Runs commands as a shell does: arguments in, exit code and output out."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
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


REPOSITORY = Path(__file__).resolve().parents[2]
_APART = """
import json, sys
commands, without = map(json.loads, sys.argv[1:])
sys.modules.update(dict.fromkeys(without))
from gaussian_yolo_node.commands.gaussian_yolo import main
for words in commands:
    sys.argv = ["gaussian-yolo", *words]
    try:
        main()
    except SystemExit as end:
        for stream in (sys.stdout, sys.stderr):
            print("== ended with", end.code or 0, file=stream, flush=True)
"""


def run_apart(*commands: Sequence[object], without: Sequence[str] = (), **environment: str) -> list[Result]:
    """Run commands one after the other in a Python process of their own, which cannot import some modules."""
    given = [json.dumps([list(map(str, words)) for words in commands]), json.dumps(without)]
    path = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", _APART, *given],
        env=os.environ | {"PYTHONPATH": path} | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    out, err = (re.findall(r"(.*?)== ended with (\d+)\n", text, re.DOTALL) for text in (done.stdout, done.stderr))
    assert len(out) == len(err) == len(commands), done.stderr
    return [Result(int(code), text, errors) for (text, code), (errors, _) in zip(out, err, strict=True)]
