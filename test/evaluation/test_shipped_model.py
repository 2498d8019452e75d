"""What the shipped models' cards claim, measured on the drive that they never saw."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest

from gaussian_yolo_node.detector.detector import Detector
from gaussian_yolo_node.detector.model import DEFAULT_MODEL
from gaussian_yolo_node.evaluation.all_objects import KittiResult, evaluate
from gaussian_yolo_node.labels.labelled_frames import FramePredictions
from gaussian_yolo_node.labels.truths import read_kitti_labels

ENGINES = Path(__file__).resolve().parents[2] / "engines"
FLOAT = DEFAULT_MODEL.removesuffix("_int8")  # what the default was quantised from
MODELS = sorted(path.stem for path in ENGINES.glob("*.onnx"))
# A little below what the cards say: another processor rounds differently.
LEAST_CAR_AP = {0.5: 0.69, 0.7: 0.47}
COORDINATES = {"cx": "centre x", "cy": "centre y", "w": "width", "h": "height"}


@pytest.fixture(scope="module")
def drive(driving_dir: Path) -> Path:
    return driving_dir / "kitti" / "drive_0011"


@cache
def measured(drive: Path, model: str, runtime: str = "openvino") -> KittiResult:
    pytest.importorskip(runtime, reason=f"{runtime} is not installed (extra 'cpu')")
    with Detector.open(ENGINES / f"{model}.onnx", runtime, score_threshold=0.005) as detector:
        names = np.array(detector.card.classes)
        frames = []
        for path in sorted((drive / "image").iterdir()):
            found = detector(cv2.imread(str(path)))
            boxes, scores, sigmas = (a.astype(float) for a in (found.boxes, found.scores, found.sigmas))
            frames.append(FramePredictions(path.stem, boxes, scores, names[found.class_ids], sigmas))
    return evaluate(read_kitti_labels(drive / "label_2"), frames)


def car_ap(result: KittiResult, iou: float) -> float:
    return (result.at_common_iou if iou == 0.5 else result.at_kitti_iou)[0].all_point


def tables(model: str) -> list[list[dict[str, str]]]:
    """The tables of a model's page, each a list of rows by column heading."""
    found: list[list[dict[str, str]]] = []
    headings: list[str] = []
    for line in (ENGINES / f"{model}.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|"):
            headings = []
        elif not headings:
            headings = cells
            found.append([])
        elif not set(line) <= set("|-: "):
            found[-1].append(dict(zip(headings, cells, strict=True)))
    return found


def table(model: str, heading: str) -> list[dict[str, str]]:
    return next(rows for rows in tables(model) if rows and heading in rows[0])


def test_there_is_a_page_for_every_model() -> None:
    assert DEFAULT_MODEL in MODELS and FLOAT in MODELS
    assert all((ENGINES / f"{model.removesuffix('_int8')}.md").is_file() for model in MODELS)


@pytest.mark.parametrize("iou", LEAST_CAR_AP)
@pytest.mark.parametrize("model", [DEFAULT_MODEL, FLOAT])
def test_cars_are_found(drive: Path, model: str, iou: float) -> None:
    result = measured(drive, model)
    assert len(result.matched) == 91
    assert car_ap(result, iou) >= LEAST_CAR_AP[iou]


def test_the_runtimes_agree(drive: Path) -> None:
    found = [car_ap(measured(drive, DEFAULT_MODEL, runtime), 0.5) for runtime in ("openvino", "onnxruntime")]
    assert found[0] == pytest.approx(found[1], abs=0.01)


@pytest.mark.parametrize("iou", LEAST_CAR_AP)
def test_int8_finds_cars_as_float_does(drive: Path, iou: float) -> None:
    assert abs(car_ap(measured(drive, DEFAULT_MODEL), iou) - car_ap(measured(drive, FLOAT), iou)) <= 0.02


@pytest.mark.parametrize("coordinate", COORDINATES)
@pytest.mark.parametrize("model", [DEFAULT_MODEL, FLOAT])
def test_sigmas_cover_errors(drive: Path, model: str, coordinate: str) -> None:
    sigma = measured(drive, model).sigma
    assert sigma is not None
    one, two, _ = sigma.rows[coordinate].within
    assert 0.60 <= one <= 0.76
    assert 0.90 <= two <= 0.98


def test_unsure_boxes_lie_worse(drive: Path) -> None:
    sigma = measured(drive, DEFAULT_MODEL).sigma
    assert sigma is not None and len(sigma.correlations) == 2
    assert all(item.rho is not None and item.rho < -0.35 for item in sigma.correlations)


@pytest.mark.parametrize("model", MODELS)
def test_the_page_states_the_average_precision(drive: Path, model: str) -> None:
    """Another processor rounds its float layers differently, so to a point or what one object counts, or two points
    where boxes must fit closely."""
    result, kind = measured(drive, model), "int8" if model.endswith("_int8") else "OpenVINO bf16"
    claims = table(model.removesuffix("_int8"), "truths")
    assert [row["class"] for row in claims] == [row.name for row in result.at_common_iou]
    for claim, row in zip(claims, result.at_common_iou, strict=True):
        assert int(claim["truths"]) == row.truths
        assert float(claim[f"AP@0.5 {kind}"]) / 100 == pytest.approx(row.all_point, abs=max(0.01, 1 / row.truths))
    assert float(claims[0][f"AP@0.7 {kind}"]) / 100 == pytest.approx(car_ap(result, 0.7), abs=0.02)


@pytest.mark.parametrize("model", MODELS)
def test_the_page_states_the_coverage(drive: Path, model: str) -> None:
    sigma = measured(drive, model).sigma
    assert sigma is not None
    column = "int8, calibrated" if model.endswith("_int8") else "calibrated"
    claims = {row["coordinate"]: row[column] for row in table(model.removesuffix("_int8"), column)}
    for name, heading in COORDINATES.items():
        shares, rms = claims[heading].split("·")
        assert [float(share) / 100 for share in shares.split("/")] == pytest.approx(sigma.rows[name].within, abs=0.03)
        assert float(rms) == pytest.approx(sigma.rows[name].rms, abs=0.1)
