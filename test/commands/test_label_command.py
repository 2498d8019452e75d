"""`gaussian-yolo noisy-student label`: output, one-line errors, and resuming after Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

pytest.importorskip("pyarrow", reason="pyarrow is not installed (extra 'scale')")
pytest.importorskip("onnx", reason="onnx is not installed (extra 'test')")

from label_factory import (
    close_pipes,
    encoded,
    ended,
    held_up,
    make_folder,
    make_tar,
    plain_rows,
    reader_of,
    within_limit,
)

from gaussian_yolo_node.commands.gaussian_yolo import app
from gaussian_yolo_node.errors import install_line

REPOSITORY = Path(__file__).resolve().parents[2]


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["noisy-student", "label", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


def test_help_shows_an_example() -> None:
    code, shown, _ = run("--help")
    assert code == 0 and "Example: gaussian-yolo noisy-student label drives/monday" in " ".join(shown.split())


def test_labelling_tells_what_it_did(tmp_path: Path, tiny_model: Path) -> None:
    drive = make_folder(tmp_path / "drive", 5)
    (drive / "03.png").write_text("text")
    tar = make_tar(tmp_path / "a.tar", [("a.png", encoded(1)), ("b.png", encoded(2))])
    os.truncate(tar, 512 + len(encoded(1)) + 600)
    arguments = (drive, tar, "--teacher", tiny_model, "-o", tmp_path / "out", "--images-per-shard", 2)
    code, shown, told = run(*arguments)
    assert code == 0
    assert shown == (f"labelled: 5 images, 1 skipped, in 4 shards (0 of them done before): {tmp_path / 'out'}\n")
    note, skipped = told.splitlines()
    assert note.startswith("note: a.tar: it is cut short or damaged")
    assert skipped == "skipped: 03.png: not an image OpenCV can decode"
    assert len(plain_rows(tmp_path / "out")) == 5
    assert "(4 of them done before)" in run(*arguments)[1]


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_interrupted_it_goes_on(tmp_path: Path, tiny_model: Path, workers: int) -> None:
    drive = make_folder(tmp_path / "drive", 6)
    arguments = ["--teacher", str(tiny_model), "--images-per-shard", "2"]
    held = drive / "03.png"
    with held_up(held):
        command = subprocess.Popen(
            [sys.executable, "-m", "gaussian_yolo_node.commands", "noisy-student", "label", str(drive), *arguments,
             "-o", str(tmp_path / "out"), "--workers", str(workers)],
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, stderr=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip
        worker = reader_of(held)
        assert (worker == command.pid) == (workers == 1)
        within_limit((tmp_path / "out" / "part-00000.parquet").exists)
        os.killpg(command.pid, signal.SIGINT)  # as a terminal does: all of its processes receive it
        assert command.communicate()[1] == "interrupted\n"
        assert command.returncode == 130
        assert ended(worker)
    close_pipes()
    done = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert done[:2] == ["labels.json", "part-00000.parquet"] and "part-00001.parquet" not in done
    code, shown, _ = run(drive, *arguments, "-o", tmp_path / "out")
    assert code == 0 and f"labelled: 6 images, 0 skipped, in 3 shards ({len(done) - 1} of them" in shown
    assert run(drive, *arguments, "-o", tmp_path / "whole")[0] == 0
    assert plain_rows(tmp_path / "out") == plain_rows(tmp_path / "whole")


def test_without_ray(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    arguments = (make_folder(tmp_path / "drive", 1), "--teacher", tiny_model, "-o", tmp_path / "out")
    code, _, told = run(*arguments, "--engine", "ray")
    assert code == 2
    assert told == f"error: this command needs ray, which is not installed: {install_line('scale')}\n"
    assert run(*arguments)[0] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none"], "there is no source none"),
        (["{tmp}"], "folder {tmp} has no images"),
        (["{tmp}/*.tar"], "there is no tar {tmp}/*.tar"),
        (["drive", "--teacher", "none"], "there is no model 'none'"),
        (["drive", "--score-threshold", "1"], "score_threshold is 1.0; it must be at least 0 and below 1"),
        (["drive", "--address", "10.0.0.1:6379"], "address 10.0.0.1:6379 is a Ray cluster's: add --engine ray"),
    ],
)
def test_bad_input(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    make_folder(Path("drive"), 1)
    (tmp_path / "empty").mkdir()
    given = [argument.format(tmp=tmp_path / "empty") for argument in arguments]
    teacher = [] if "--teacher" in given else ["--teacher", tiny_model]
    code, shown, told = run(*given, *teacher, "-o", tmp_path / "out")
    assert (code, shown) == (2, "")
    assert told.startswith(f"error: {message.format(tmp=tmp_path / 'empty')}") and told.count("\n") == 1
