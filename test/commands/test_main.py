"""The start of gaussian-yolo, whatever typer there is: a command, or one line that says what to install."""

from __future__ import annotations

import json
import sys
from importlib.metadata import PackageNotFoundError

import pytest

from gaussian_yolo_node.commands import __main__ as start
from gaussian_yolo_node.commands import doctor_run, typer_version
from gaussian_yolo_node.runtime.tensorrt.board import Board

REPORT = doctor_run.Report(
    Board("cpu", "x86_64"), "3.12.3", (), (), {"onnxruntime": "ready"}, "csp_nano_driving: canvas 384x1248"
)
INSTALL = "python3 -m pip install 'typer>=0.12.5'"


def installed(monkeypatch: pytest.MonkeyPatch, version: str | None) -> None:
    def found(package: str) -> str:
        assert package == "typer"
        if version is None:
            raise PackageNotFoundError(package)
        return version

    monkeypatch.setattr(typer_version, "version", found)


@pytest.mark.parametrize(
    ("version", "fault"),
    [
        (None, f"gaussian-yolo needs typer, which is not installed: {INSTALL}"),
        ("0.4.0", f"gaussian-yolo needs typer 0.9 or newer, but typer 0.4.0 is installed: {INSTALL}"),
        ("0.8.99", f"gaussian-yolo needs typer 0.9 or newer, but typer 0.8.99 is installed: {INSTALL}"),
        ("0.9.0", ""),
        ("0.12.5", ""),
        ("0.100rc1", ""),
        ("1.0", ""),
    ],
)
def test_versions_of_typer(monkeypatch: pytest.MonkeyPatch, version: str | None, fault: str) -> None:
    installed(monkeypatch, version)
    assert typer_version.typer_fault() == fault


def test_without_typer_a_command_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    installed(monkeypatch, "0.4.0")
    monkeypatch.setattr(sys, "argv", ["gaussian-yolo", "detect", "drive.mp4"])
    with pytest.raises(SystemExit) as end:
        start.main()
    assert end.value.code == 2
    assert capsys.readouterr().err == f"error: {typer_version.typer_fault()}\n"


@pytest.mark.parametrize("arguments", [["doctor"], ["doctor", "--json"]])
def test_doctor_runs_without_typer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    installed(monkeypatch, None)
    monkeypatch.setattr(doctor_run, "examine", lambda: REPORT)
    monkeypatch.setattr(sys, "argv", ["gaussian-yolo", *arguments])
    start.main()
    captured = capsys.readouterr()
    assert captured.err == f"note: {typer_version.typer_fault()}\n"
    if "--json" in arguments:
        assert json.loads(captured.out)["runtimes"] == {"onnxruntime": "ready"}
    else:
        assert "runtime onnxruntime: ready" in captured.out


def test_doctor_prints_json_where_rich_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor_run, "examine", lambda: REPORT)
    monkeypatch.setattr(doctor_run, "find_spec", lambda name: None)
    doctor_run.run(as_json=False)
    assert json.loads(capsys.readouterr().out)["runtimes"] == REPORT.runtimes


def test_a_usable_typer_runs_the_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["gaussian-yolo", "--version"])
    with pytest.raises(SystemExit) as end:
        start.main()
    assert end.value.code == 0
    assert capsys.readouterr().out.startswith("gaussian-yolo ")
