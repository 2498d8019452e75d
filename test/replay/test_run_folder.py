"""A run's folder: what is written is read back, and errors name the field."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gaussian_yolo_node.replay.run_folder import (
    RUN_FILE,
    ReplayCounters,
    ReplayedFrame,
    ReplayRun,
    ReplayRunError,
    read_run,
    write_run,
)

RUN = ReplayRun(
    bag="drive.mcap",
    image_topic="/camera/image_raw",
    mode="realtime",
    rate_factor=2.0,
    rate_hz=None,
    score_threshold=0.25,
    criterion="gaussian",
    model={"name": "tiny", "classes": ["car"]},
    model_hash="0123",
    runtime="OpenVINO",
    machine="a processor, 2 cores",
    command=("gaussian-yolo", "replay", "drive.mcap"),
    started="2026-01-01T00:00:00+00:00",
    elapsed_s=1.5,
    notes=("two images have no stamp",),
    counters=ReplayCounters(3, 1, 1, 1),
    diagnostics={"frames_received": "2"},
    frames=(
        ReplayedFrame("000.png", 10, 1242, 375, 0.0, 0.0125, 7),
        ReplayedFrame("001.png", 20, 1242, 375, 0.1),
        ReplayedFrame("2", 2, 0, 0, 0.2, failure="image encoding '16UC1' is not supported"),
    ),
)


@pytest.mark.parametrize(
    "run",
    [
        RUN,
        replace(RUN, frames=(), counters=ReplayCounters(0, 0, 0, 0), notes=(), diagnostics={}),
        replace(RUN, mode="lockstep", rate_hz=10.0, score_threshold=None, criterion="", model={}),
    ],
    ids=["three frames", "empty", "of a node that tells little"],
)
def test_what_is_written_is_read(tmp_path: Path, run: ReplayRun) -> None:
    path = write_run(tmp_path, run)
    assert read_run(tmp_path) == read_run(path) == run
    assert json.loads(path.read_text())["format"] == 1


def test_a_frame_is_answered_dropped_or_failed() -> None:
    answered, dropped, failed = RUN.frames
    assert answered.age_s == pytest.approx(0.0125)
    assert dropped.age_s is None and failed.age_s is None
    assert [frame.dropped for frame in RUN.frames] == [False, True, False]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"format": 2}, '"format" is 2', id="of a later version"),
        pytest.param({"mode": "fast"}, "mode must be one of lockstep, realtime, not 'fast'", id="unknown mode"),
        pytest.param({"rate_factor": "1"}, "rate_factor must be a number above 0, not '1'", id="text for a number"),
        pytest.param({"rate_factor": True}, "rate_factor must be a number above 0, not True", id="bool for a number"),
        pytest.param({"elapsed_s": float("nan")}, "elapsed_s must be a number at least 0, not nan", id="NaN"),
        pytest.param({"counters": {"played": 1}}, "counters.answered is missing", id="counter missing"),
        pytest.param({"frames": [3]}, "frames[0] must be a mapping, not 3", id="frame is a number"),
        pytest.param({"frames": [{"name": "0"}]}, "frames[0].stamp_ns is missing", id="frame without stamp"),
        pytest.param({"bag": None}, "bag must be a text, not None", id="no bag"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = write_run(tmp_path, RUN)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ReplayRunError, match=re.escape(f"{path}: {message}")):
        read_run(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"), [("{", "is not JSON"), ("[]", "must be a mapping"), (b"\xff", "not JSON")]
)
def test_a_file_that_is_no_run(tmp_path: Path, text: str | bytes, message: str) -> None:
    (tmp_path / RUN_FILE).write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(ReplayRunError, match=message):
        read_run(tmp_path)


def test_a_folder_without_a_run(tmp_path: Path) -> None:
    with pytest.raises(ReplayRunError, match=r"has no run\.json"):
        read_run(tmp_path)
    with pytest.raises(ReplayRunError, match="cannot be written"):
        write_run(tmp_path / "none", RUN)
