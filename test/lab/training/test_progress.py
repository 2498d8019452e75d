"""Progress display and history of a run."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path

import pytest
from rich.console import Console

from gaussian_yolo_node.lab.training import progress
from gaussian_yolo_node.lab.training.progress import HISTORY, History, RunProgress

LOSSES = {"box": 1.25, "objectness": 2.5}


def show(console: Console, shown: bool = True) -> None:
    """Show half of the second of four epochs of ten steps each."""
    with RunProgress(console, 4, 10, shown) as run:
        run.begin(1, 0)
        for step in range(1, 6):
            run.step(1, step, LOSSES, 0.001)
        run.epoch(2, LOSSES, 0.001)
        run.validation({"AP50 car": 0.8125, "AP car": 0.5, "mAP50": 0.8125, "epoch": 2})


def test_a_terminal_gets_a_bar() -> None:
    output = io.StringIO()
    show(Console(file=output, force_terminal=True, width=160, color_system=None))
    for part in ("epoch 2/4", "box 1.25  objectness 2.5  rate 0.001", "left", "AP50 car 0.8125  mAP50 0.8125"):
        assert part in output.getvalue()


def test_a_log_gets_lines(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 10_000, 40))  # a step takes 40 s
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    output = io.StringIO()
    with caplog.at_level(logging.INFO, "gaussian_yolo.train"):
        show(Console(file=output))
    assert not output.getvalue()
    within, again, done, validation = (record.getMessage() for record in caplog.records)
    assert within == "epoch 2/4  step 2/10  box 1.25  objectness 2.5  rate 0.001  left 18:40"
    assert again.startswith("epoch 2/4  step 4/10")
    assert done == "epoch 2/4  box 1.25  objectness 2.5  rate 0.001  4:00"
    assert validation == "epoch 2  validation  AP50 car 0.8125  AP car 0.5  mAP50 0.8125"


def test_the_other_processes_keep_silent(caplog: pytest.LogCaptureFixture) -> None:
    output = io.StringIO()
    with caplog.at_level(logging.INFO, "gaussian_yolo.train"):
        show(Console(file=output, force_terminal=True), shown=False)
    assert not output.getvalue() and not caplog.records


def test_history_goes_on_after_the_checkpoint(tmp_path: Path) -> None:
    history = History(tmp_path, {"train": 0, "validation": 0})
    for epoch in (1, 2, 3):
        history.add("train", epoch, {"box": epoch / 3})
        history.add("validation", epoch, {"AP50 car": 0.5, "epoch": epoch})
    with (tmp_path / HISTORY).open("a") as file:
        file.write('{"kind": "tra')  # killed while writing
    # The checkpoint was saved after the second epoch, before its validation.
    History(tmp_path, {"train": 2, "validation": 1}).add("validation", 2, {"AP50 car": 0.75})
    lines = [json.loads(line) for line in (tmp_path / HISTORY).read_text().splitlines()]
    assert lines == [
        {"kind": "train", "box": 1 / 3, "epoch": 1},
        {"kind": "validation", "AP50 car": 0.5, "epoch": 1},
        {"kind": "train", "box": 2 / 3, "epoch": 2},
        {"kind": "validation", "AP50 car": 0.75, "epoch": 2},
    ]
    History(tmp_path, {"train": 0, "validation": 0})
    assert not (tmp_path / HISTORY).read_text()
