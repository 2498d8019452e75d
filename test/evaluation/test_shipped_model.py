"""What the shipped model's card claims, measured on the drive it never saw, through both runtimes."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from gaussian_yolo_node.detector.detector import Detector
from gaussian_yolo_node.detector.model import DEFAULT_MODEL
from gaussian_yolo_node.evaluation.kitti import KittiResult, evaluate, read_labels
from gaussian_yolo_node.evaluation.predictions import FramePredictions

ENGINES = Path(__file__).resolve().parents[2] / "engines"
LEAST_CAR_AP = 0.60


@pytest.fixture(scope="module")
def measured(driving_dir: Path) -> dict[str, KittiResult]:
    """The evaluation by runtime."""
    drive = driving_dir / "kitti" / "drive_0011"
    labels = read_labels(drive / "label_2")
    results = {}
    for runtime in ("openvino", "onnxruntime"):
        pytest.importorskip(runtime, reason=f"{runtime} is not installed (extra 'cpu')")
        with Detector.open(ENGINES / f"{DEFAULT_MODEL}.onnx", runtime, score_threshold=0.005) as detector:
            names = np.array(detector.card.classes)
            frames = []
            for path in sorted((drive / "image").iterdir()):
                found = detector(cv2.imread(str(path)))
                boxes, scores, sigmas = (a.astype(float) for a in (found.boxes, found.scores, found.sigmas))
                frames.append(FramePredictions(path.stem, boxes, scores, names[found.class_ids], sigmas))
        results[runtime] = evaluate(labels, frames)
    return results


def car_ap(result: KittiResult) -> float:
    return result.at_common_iou[0].all_point


def test_cars_are_found(measured: dict[str, KittiResult]) -> None:
    assert all(len(result.matched) == 91 for result in measured.values())
    assert all(car_ap(result) >= LEAST_CAR_AP for result in measured.values())


def test_the_runtimes_agree(measured: dict[str, KittiResult]) -> None:
    assert abs(car_ap(measured["openvino"]) - car_ap(measured["onnxruntime"])) <= 0.01


def test_the_card_tells_the_truth(measured: dict[str, KittiResult]) -> None:
    """Another processor rounds differently, so to a point of AP, and to three in a hundred of coverage."""
    card = (ENGINES / f"{DEFAULT_MODEL}.md").read_text(encoding="utf-8")
    result = measured["openvino"]
    for row in result.at_common_iou:
        claimed = re.search(rf"^\| {row.name} \| {row.truths} \| ([\d.]+) \|", card, re.MULTILINE)
        assert claimed and float(claimed[1]) / 100 == pytest.approx(row.all_point, abs=0.01)
    shares = re.search(r"([\d.]+) / ([\d.]+) / ([\d.]+) % of the coordinates", card)
    assert shares and result.sigma
    assert [float(share) / 100 for share in shares.groups()] == pytest.approx(result.sigma.within, abs=0.03)
