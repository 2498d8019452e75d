from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gaussian_yolo_node.evaluation.paired import pair
from gaussian_yolo_node.evaluation.position import (
    HEADINGS,
    Placed,
    cells,
    place_detections,
    position_figures,
    position_result,
    position_table,
    state_line,
    true_places,
)
from gaussian_yolo_node.frames.camera_calibration import Calibration
from gaussian_yolo_node.labels.annotations import DatasetError
from gaussian_yolo_node.labels.labelled_frames import FramePredictions, FrameTruths, GroundTruth, Truths
from gaussian_yolo_node.labels.truths import read_kitti_labels
from gaussian_yolo_node.position.camera import Camera, CameraPose
from gaussian_yolo_node.position.locate import Places, Positions, State

PROJECTION = np.array([[700.0, 0, 600, 70], [0, 700, 180, 0], [0, 0, 1, 0]])
CALIBRATION = Calibration(PROJECTION[:, :3], np.zeros(5), np.eye(3), PROJECTION)
CAMERA = Camera(PROJECTION[:, :3], (375, 1242), CameraPose.level(1.65))
LABEL = "{} 0.00 0 1.5 {:.2f} {:.2f} {:.2f} {:.2f} 1.5 1.6 3.9 {:.2f} 1.65 {:.2f} 1.57\n"
UNKNOWN = "DontCare -1 -1 -10 500 150 520 170 -1 -1 -1 -1000 -1000 -1000 -10\n"


def places(xy: list[tuple[float, float]], variance: float = 1.0) -> Places:
    array = np.array(xy, float).reshape(-1, 2)
    return Places(array, np.broadcast_to(variance * np.eye(2), (len(array), 2, 2)))


def test_errors_are_along_and_across_the_line_of_sight() -> None:
    # Objects at 10 m: ahead, to the left, and at 45 degrees.
    half = np.sqrt(50)
    truth = np.array([(10.0, 0.0), (0.0, 10.0), (half, half)])
    found = places([(11.0, 0.5), (0.5, 11.0), (half * 1.1, half * 1.1)])
    figures = position_figures(found, truth)
    assert figures.range_error == pytest.approx(0.1) and figures.range_bias == pytest.approx(0.1)
    assert figures.sideways_error == pytest.approx(0.5)
    assert figures.objects == figures.placed == 3


@pytest.mark.parametrize(
    ("sigma", "covered"),
    [(0.4, (0.0, 0.5)), (0.6, (0.5, 0.5)), (0.9, (0.5, 1.0)), (2.0, (1.0, 1.0)), (0.0, (0.0, 0.0))],
)
def test_coverage(sigma: float, covered: tuple[float, float]) -> None:
    truth = np.array([(10.0, 0.0), (20.0, 0.0)])
    figures = position_figures(places([(10.5, 0.0), (18.5, 0.0)], sigma**2), truth)
    assert figures.range_covered == covered
    assert figures.sideways_covered == (1.0, 1.0)


@pytest.mark.parametrize("count", [0, 2])
def test_objects_without_a_place(count: int) -> None:
    figures = position_figures(places([(np.nan, np.nan)] * count), np.ones((count, 2)))
    assert (figures.objects, figures.placed) == (count, 0)
    assert cells(figures) == (str(count), "0", *["-"] * (len(HEADINGS) - 2))


def test_true_places_are_those_of_this_camera() -> None:
    cuboids = np.array([[1.5, 1.6, 3.9, 2.0, 1.65, 20.0, 0.0]])
    # The reference camera is 0.1 m to the left of this one.
    np.testing.assert_allclose(true_places(cuboids, CALIBRATION, CAMERA.pose), [(20.0, -2.1)])


def test_results_by_class_range_and_witness() -> None:
    truth = np.array([(10.0, 0.0), (30.0, 0.0), (50.0, 0.0), (5.0, 0.0)])
    alone = places([(10.0, 0.0), (33.0, 0.0), (50.0, 0.0), (5.0, 0.0)])
    states = np.array([0, int(State.APART), 0, int(State.CUT_SIDE | State.APART)])
    found = places([(11.0, 0.0), (33.0, 0.0), (60.0, 0.0), (np.nan, np.nan)])
    positions = Positions(found.xy, found.covariance, found.covariance, np.zeros(4), states, {"height": alone})
    classes = np.array(["car", "pedestrian", "car", "car"])
    result = position_result([Placed(positions, truth, classes)] * 2)
    assert (result.near.objects, result.near.placed) == (6, 4)
    assert {name: figures.objects for name, figures in result.classes.items()} == {"car": 4, "pedestrian": 2}
    assert result.bands["40-60 m"].range_error == pytest.approx(0.2)
    assert result.bands["10-20 m"].objects == 0 and result.bands["0-10 m"].objects == 4
    assert result.witnesses["height"].placed == 6 and set(result.witnesses) == {"height"}
    assert state_line(result) == "states to 40 m: cut side 2, apart 4"
    assert position_table(result).row_count == len(result.rows) == 1 + 2 + 5 + 1
    assert result.to_dict()["near"]["placed"] == 4


def labelled(folder: Path, lines: str) -> GroundTruth:
    (folder / "000000.txt").write_text(lines)
    return read_kitti_labels(folder)


def prediction(boxes: list[tuple[float, ...]], sigma: float | None = 1.0) -> FramePredictions:
    sigmas = None if sigma is None else np.full((len(boxes), 4), sigma)
    return FramePredictions.of("000000", boxes, [0.9] * len(boxes), ["car"] * len(boxes), sigmas)


# A car 20 m ahead: its near side is at 18.05 m. The camera looks down on it, so the upper edge is that of the far side.
BOX = (569.0, 180 + 700 * 0.15 / 21.95, 631.0, 180 + 700 * 1.65 / 18.05)


def test_detections_are_placed_beside_their_objects(tmp_path: Path) -> None:
    truths = labelled(tmp_path, LABEL.format("Car", *BOX, -0.1, 20.0) + UNKNOWN)
    missed = (100.0, 100.0, 200.0, 160.0)
    placed = place_detections(pair(truths, [prediction([BOX, missed])]), CAMERA, CALIBRATION)
    assert placed.classes.tolist() == ["car"]
    np.testing.assert_allclose(placed.truth, [(20.0, 0.0)], atol=1e-9)
    np.testing.assert_allclose(placed.positions.xy, [(20.0, 0.0)], atol=0.3)


def test_no_detection_gives_empty_figures(tmp_path: Path) -> None:
    truths = labelled(tmp_path, LABEL.format("Car", *BOX, -0.1, 20.0))
    result = position_result([place_detections(pair(truths, [prediction([])]), CAMERA, CALIBRATION)])
    assert result.near.objects == 0 and result.classes == {}


def test_what_the_protocol_needs(tmp_path: Path) -> None:
    truths = labelled(tmp_path, LABEL.format("Car", *BOX, 0.0, 20.0))
    with pytest.raises(DatasetError, match="sigmas"):
        place_detections(pair(truths, [prediction([BOX], None)]), CAMERA, CALIBRATION)
    flat = GroundTruth.of([FrameTruths("000000", Truths.of([BOX], ["Car"]))])
    with pytest.raises(DatasetError, match="3-D boxes"):
        place_detections(pair(flat, [prediction([BOX])]), CAMERA, CALIBRATION)
