"""The page of the benchmark of positions, and that sizes and pose in the package are those it fits."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from types import ModuleType

import pytest

from gaussian_yolo_node.evaluation.position import PositionFigures, PositionResult
from gaussian_yolo_node.position.camera import CameraPose
from gaussian_yolo_node.position.class_sizes import CLASS_SIZES


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    pytest.importorskip("rich", reason="rich is not installed")
    return importlib.import_module("positions")


def test_the_page_has_a_row_for_each_figure(benchmark: ModuleType) -> None:
    near = PositionFigures(10, 8, 0.051, -0.02, (0.7, 0.95), 0.1, (0.6, 0.9))
    result = PositionResult(near, {"car": near}, {"0-10 m": PositionFigures(0, 0)}, {"height": near}, {"apart": 2})
    page = benchmark.report({"Some boxes": result}, [0.5, 0.6, 0.7], CameraPose.level(1.65), (0.5, 0.48), "a runtime")
    assert "## Some boxes" in page and "States to 40 m: apart 2." in page and "0.98 ms" in page
    assert "52 to 68 % in eight of ten drives (3 drives" in page
    assert "| to 40 m | 10 | 8 | 5.1 | -2.0 | 70 / 95 | 0.10 | 60 / 90 |" in page
    assert "| 0-10 m | 0 | 0 | - | - | - | - | - |" in page


def test_sizes_and_pose_are_those_of_the_labels(benchmark: ModuleType, driving_dir: Path) -> None:
    days = list(benchmark.read_days(driving_dir)[0].values())
    assert sum(day.tested.sum() for day in days) > 200  # what the fit leaves out
    for name, size in benchmark.fit_sizes(days).items():
        assert CLASS_SIZES[name] == size
    defaults = inspect.signature(CameraPose.level).parameters
    height, pitch, roll = benchmark.fit_spread(days)
    assert defaults["height_sigma"].default == round(height, 2)
    assert defaults["pitch_sigma"].default == round(pitch, 3)
    assert defaults["roll_sigma"].default == round(roll, 3)
