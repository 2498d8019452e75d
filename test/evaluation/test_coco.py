"""COCO's protocol compared with pycocotools called directly on files."""

from __future__ import annotations

import contextlib
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluation_factory import evaluate_protocol

from gaussian_yolo_node.labels.labelled_frames import FramePredictions, FrameTruths, GroundTruth, Truths
from gaussian_yolo_node.labels.predictions import read_predictions
from gaussian_yolo_node.labels.truths import read_ground_truth

pytest.importorskip("pycocotools", reason="pycocotools not installed")

CATEGORIES = {3: "car", 7: "truck", 9: "person"}
IMAGES = 12


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Random objects, some of them crowds, and jittered and invented boxes."""
    rng = np.random.default_rng(0)
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for image in range(100, 100 + IMAGES):
        for _ in range(int(rng.integers(0, 6))):
            x, y, w, h = *rng.uniform(0, 200, 2), *rng.uniform(20, 120, 2)
            category = int(rng.choice(list(CATEGORIES)))
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": category,
                    "bbox": [x, y, w, h],
                    "area": w * h,
                    "iscrowd": int(rng.random() < 0.15),
                }
            )
            for _ in range(int(rng.integers(0, 3))):
                box = (np.array([x, y, w, h]) + rng.normal(0, 6, 4)).tolist()
                results.append({"image_id": image, "category_id": category, "bbox": box, "score": float(rng.random())})
        box = [*rng.uniform(0, 200, 2).tolist(), 40.0, 40.0]
        results.append({"image_id": image, "category_id": 3, "bbox": box, "score": float(rng.random())})
    truth = {
        "images": [{"id": i, "file_name": f"{i:06d}.jpg"} for i in range(100, 100 + IMAGES)],
        "categories": [{"id": i, "name": name} for i, name in CATEGORIES.items()],
        "annotations": annotations,
    }
    paths = tmp_path / "truth.json", tmp_path / "results.json"
    for path, document in zip(paths, (truth, results), strict=True):
        path.write_text(json.dumps(document))
    return paths


def test_equals_pycocotools(files: tuple[Path, Path]) -> None:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(files[0]))
        official = COCOeval(truth, truth.loadRes(str(files[1])), "bbox")
        official.evaluate()
        official.accumulate()
        official.summarize()

    ground_truth = read_ground_truth(files[0])
    result = evaluate_protocol("coco", ground_truth, read_predictions(files[1], ground_truth))

    assert result.map == pytest.approx(official.stats[0], abs=1e-12)
    for key, place in (("0.5", 1), ("0.75", 2)):
        assert np.mean([of[key] for of in result.ap.values()]) == pytest.approx(official.stats[place], abs=1e-12)
    assert 0.05 < result.map < 0.95 and set(result.ap) == set(CATEGORIES.values())


def test_counts_leave_crowds_out() -> None:
    box, crowd = [0.0, 0.0, 50.0, 50.0], [100.0, 0.0, 300.0, 200.0]
    truths = FrameTruths("a", Truths.of([box, crowd, [0.0, 100.0, 50.0, 150.0]], ["car"] * 3, [False, True, False]))
    inside = [110.0, 10.0, 160.0, 60.0]
    boxes = np.array([box, inside, [400.0, 0.0, 450.0, 50.0], box])
    predictions = FramePredictions.of("a", boxes, [0.9, 0.8, 0.7, 0.3], np.array(["car"] * 4))

    result = evaluate_protocol("coco", GroundTruth.of([truths], "coco"), [predictions])

    assert [(row.iou, row.tp, row.fp, row.fn) for row in result.counts] == [(0.5, 1, 1, 1), (0.75, 1, 1, 1)]


def test_a_crowd_is_of_its_own_class() -> None:
    crowd, box = [0.0, 0.0, 200.0, 200.0], [300.0, 0.0, 350.0, 50.0]
    truths = FrameTruths("a", Truths.of([crowd, box, box], ["person", "person", "car"], [True, False, False]))
    inside = [10.0, 10.0, 60.0, 60.0]
    predictions = FramePredictions.of("a", [inside, inside], [0.9, 0.8], ["person", "car"])

    result = evaluate_protocol("coco", GroundTruth.of([truths], "coco"), [predictions])

    assert {row.name: row.fp for row in result.counts} == {"person": 0, "car": 1}


def test_what_kitti_ignores_is_a_crowd_of_every_class() -> None:
    boxes = [[0.0, 0.0, 200.0, 200.0], [300.0, 0.0, 350.0, 50.0], [300.0, 100.0, 350.0, 150.0]]
    truths = FrameTruths("a", Truths.of(boxes, ["DontCare", "Car", "Cyclist"]))
    inside = [10.0, 10.0, 60.0, 60.0]
    predictions = FramePredictions.of("a", [inside, inside], [0.9, 0.8], ["cyclist", "car"])

    result = evaluate_protocol("coco", GroundTruth.of([truths]), [predictions])

    assert {row.name: row.fp for row in result.counts} == {"cyclist": 0, "car": 0}


def test_without_a_detection_all_is_zero() -> None:
    truths = FrameTruths("a", Truths.of([[0.0, 0.0, 50.0, 50.0]], ["car"]))
    nothing = FramePredictions.of("a", np.empty((0, 4)), np.empty(0), np.empty(0, np.str_))

    result = evaluate_protocol("coco", GroundTruth.of([truths], "coco"), [nothing])

    assert result.map == 0 and not math.isnan(result.ap["car"]["0.5"])
