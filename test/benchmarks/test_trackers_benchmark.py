"""The benchmark of trackers on detections made by hand; the package of other trackers is not installed for it."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

pytest.importorskip("trackeval", reason="trackeval is not installed (pip install --no-deps trackeval)")

from factories import make_detections

LABEL = "{} 0 0 1.5 {} 20 {} 60 1.5 1.6 3.9 1.0 1.5 20.0 1.5\n"
CLASSES = ("car", "pedestrian", "cyclist")


@pytest.fixture
def benchmark() -> ModuleType:
    return importlib.import_module("trackers")


def write_labels(folder: Path, *frames: str) -> Path:
    for number, text in enumerate(frames):
        (folder / f"{2 * number:06d}.txt").write_text(text)
    return folder


def test_labels_are_linked_by_overlap_within_a_class(benchmark: ModuleType, tmp_path: Path) -> None:
    first = LABEL.format("Car", 10, 60) + LABEL.format("Van", 300, 400) + LABEL.format("DontCare", 500, 900)
    second = LABEL.format("Cyclist", 10, 60) + LABEL.format("Car", 20, 70) + LABEL.format("Car", 300, 400)
    third = LABEL.format("Car", 300, 400)
    truths = benchmark.linked_truths(write_labels(tmp_path, first, second, third))
    assert list(truths) == [0, 2, 4]
    np.testing.assert_array_equal(truths[0].tracks, [0, 1, -1])
    np.testing.assert_array_equal(truths[2].tracks, [2, 0, 3])
    np.testing.assert_array_equal(truths[4].tracks, [3])


def test_a_row_for_each_variant_and_a_page(benchmark: ModuleType, tmp_path: Path) -> None:
    frames = {number: make_detections([[10 + number, 20, 60 + number, 60]], [0.9]) for number in range(8)}
    labels = [LABEL.format("Car", 10 + number, 60 + number) for number in range(0, 8, 2)]
    truths = benchmark.linked_truths(write_labels(tmp_path, *labels))
    rows = []
    for drive, drop in ((drive, drop) for drive in (benchmark.HELD_OUT, benchmark.CHOSEN_ON) for drop in (False, True)):
        for name, tracks, ms, nis in benchmark.our_tracks(frames, CLASSES, (375, 1242), 0.3):
            figures = benchmark.evaluate_tracks(truths, tracks, list(truths))[-1]
            assert (figures.tp, figures.fp, figures.switches) == (3, 0, 0)  # not confirmed in the first frame
            rows.append(benchmark.Row(drive, name, 0.3, drop, figures, ms, nis))
    page = benchmark.page(rows, "a model")
    assert page.count("\n| ours | 0.3 |") == 4 and page.count("\n| drive_0011 | ours |") == 2
    assert "100 objects" in page
