"""What of a sidecar's command is run again."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from gaussian_yolo_node.errors import ModelError
from gaussian_yolo_node.lab.export.tensorrt.options import BuildOptions, command_line
from gaussian_yolo_node.runtime.tensorrt.rebuilding import checked_arguments

ENGINE = Path("engines/car.engine")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"precision": "int8", "dla": 1, "max_batch": 8, "max_detections": 50},
        {"score_threshold": 0.25, "iou_threshold": 0.5, "variance_vote": True, "criterion": "confidence"},
        {"variance_vote": False, "input_size": (384, 1248)},
        {"compute_capabilities": ("86", "89")},
        {"score_threshold": 1e-05},
    ],
)
def test_what_the_builder_writes_is_taken(options: dict[str, object]) -> None:
    command = command_line("car.onnx", Path("elsewhere.engine"), BuildOptions(**options))
    arguments = checked_arguments(command, ENGINE)
    assert shlex.join(["gaussian-yolo", "build-engine", *arguments]) == command.replace("elsewhere.engine", str(ENGINE))


def test_frames_for_calibration_must_be_here(tmp_path: Path) -> None:
    words = ["gaussian-yolo", "build-engine", "car.onnx", "--calibration", str(tmp_path)]
    assert checked_arguments(shlex.join(words), ENGINE)[-2:] == ["--calibration", str(tmp_path)]


def test_other_outputs_are_left_out() -> None:
    command = "gaussian-yolo build-engine car.onnx --save-onnx /etc/passwd --output /etc/shadow"
    assert checked_arguments(command, ENGINE) == ["car.onnx", "-o", str(ENGINE)]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("", "not that of its builder"),
        ("gaussian-yolo", "not that of its builder"),
        ("gaussian-yolo build-engine", "not that of its builder"),
        ("rm -rf /home", "not that of its builder"),
        ("gaussian-yolo noisy-student label /home", "not that of its builder"),
        ("gaussian-yolo build-engine 'unclosed", "cannot be read"),
        ("gaussian-yolo build-engine --plugin x.so", "names no model"),
        ("gaussian-yolo build-engine car.onnx --plugin evil.so", "has --plugin"),
        ("gaussian-yolo build-engine car.onnx other.onnx", "has other.onnx"),
        ("gaussian-yolo build-engine car.onnx --precision=fp16", "has --precision=fp16"),
        ("gaussian-yolo build-engine car.onnx --precision", "has --precision ''"),
        ("gaussian-yolo build-engine car.onnx --max-batch 99999999999", "has --max-batch"),
        ("gaussian-yolo build-engine car.onnx --score-threshold nan", "has --score-threshold"),
        ("gaussian-yolo build-engine car.onnx --calibration", "are not on this machine"),
        ("gaussian-yolo build-engine car.onnx --calibration rtsp://me:pw@evil/x", "are not on this machine"),
        ("gaussian-yolo build-engine car.onnx --calibration 'filesrc location=/etc/passwd ! appsink'", "are not on"),
        ("gaussian-yolo build-engine car.onnx; reboot", "has reboot"),
    ],
)
def test_everything_else_is_refused(command: str, words: str) -> None:
    with pytest.raises(ModelError, match=r"car\.engine is not built again by itself") as refused:
        checked_arguments(command, ENGINE)
    assert words in str(refused.value)
    assert "pw@" not in str(refused.value)
